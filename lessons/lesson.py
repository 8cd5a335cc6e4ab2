"""What the lessons share: the data chosen, trained models (cached), and where figures
go.

A lesson says ``from lesson import ...`` and runs in three ways: by itself
(``python lessons/02_fgsm.py --data mnist``), as a notebook, or with all others
(``python -m lessons``), which sets :data:`settings` first.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import html
import io
import os
import platform
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

import minadv
from minadv import data as datasets
from minadv import models, plotting, training
from minadv.defenses.vae import VAE, negative_elbo
from minadv.layers import Layer
from minadv.parallel import one_blas_thread

HERE = Path(__file__).resolve().parent
# In a checkout beside the lessons; an installed package is no place to write to.
IN_CHECKOUT = (HERE.parent / "pyproject.toml").exists()
OUT = HERE / "output" if IN_CHECKOUT else Path("lessons-output")
DATA = ("sample", "digits", "mnist")


@dataclass
class Settings:
    """A lesson's images, where its random numbers start, and where its figures go."""

    data: str = "sample"
    out: Path = OUT
    progress: bool = field(default_factory=sys.stderr.isatty)
    seed: int = 0
    lesson: str = "notebook"  # the lesson that runs; the runner says which
    figures: list[Path] = field(default_factory=list)  # the figures saved so far
    measured: list[tuple] = field(default_factory=list)  # see measured
    # the lesson's text, part of the key of its models; None: no cache
    source: bytes | None = None
    models: Path | None = None  # the cache of trained models (unset: <out>/models)
    show: Callable[[Shown], None] | None = (
        None  # shows a figure; the runner's, the kernel's, or print
    )
    # (lesson, figure) -> number
    numbers: dict[tuple[str, str], int] = field(default_factory=dict)
    calls: dict[tuple[str, str], int] = field(
        default_factory=dict
    )  # (lesson, training) -> how many


@dataclass(frozen=True)
class Shown:
    """A figure: its number, such as "2.3", file, alternative text, caption, and
    slider."""

    number: str
    path: Path
    alt: str
    caption: str
    frames: dict | None = None

    @property
    def title(self) -> str:
        """The number in words, and the caption."""
        return f"Figure {self.number}. {self.caption}"

    def html(self) -> str:
        """The still figure for a notebook: complete in itself, readable without any
        other file."""
        png = base64.b64encode(self.path.read_bytes()).decode()
        return (
            f'<figure id="figure-{self.number.replace(".", "-")}">'
            f'<img src="data:image/png;base64,{png}" alt="{html.escape(self.alt)}" '
            'style="max-width:100%">'
            f"<figcaption>{html.escape(self.title)}</figcaption></figure>"
        )


def options(description: str) -> argparse.ArgumentParser:
    """The options that a single lesson and the whole run have in common."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "--data",
        choices=DATA,
        default="sample",
        help="12,000 images of MNIST (embedded), 8x8 digits, or all of MNIST "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        help="where all random numbers start: another run of it all (default: "
        "%(default)s)",
    )
    parser.add_argument(
        "--backend",
        choices=("numpy", "cupy"),
        help="where to compute (default: MINADV_BACKEND, else numpy)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=OUT,
        help="folder for figures, printed text and trained models (default: "
        "%(default)s)",
    )
    return parser


def in_kernel() -> bool:
    """Whether this runs in a Jupyter kernel: there no bar is drawn and no model is
    cached."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")


def lesson_number(lesson: str) -> str:
    """A lesson's number: "2" of "02_fgsm", "F" of the frame, "S2" of solutions, else
    nothing."""
    if lesson.startswith("solutions/"):
        return "S" + lesson_number(lesson.removeprefix("solutions/"))
    if lesson.startswith("00_the_frame"):
        return "F"
    return str(int(lesson[:2])) if lesson[:2].isdigit() else ""


def lesson_name(script: Path) -> str:
    """What a script is called: "02_fgsm", or "solutions/02_fgsm"."""
    return (
        f"solutions/{script.stem}" if script.parent.name == "solutions" else script.stem
    )


def _settings() -> Settings:
    """From the command line if a lesson is run by itself, else the defaults."""
    if in_kernel():
        _one_thread.__enter__()
        notebook = os.environ.get(
            "JPY_SESSION_NAME", "notebook"
        )  # Jupyter says so, VS Code does not
        return Settings(progress=False, lesson=Path(notebook).stem)
    script = Path(sys.argv[0])
    if script.resolve().parent not in (HERE, HERE / "solutions") or script.stem in (
        "__main__",
        "lesson",
    ):
        return Settings()
    parser = options("A lesson of minadv.")
    arguments = parser.parse_args()
    source = script.read_bytes()
    result = Settings(
        arguments.data,
        arguments.out,
        seed=arguments.seed,
        lesson=lesson_name(script.resolve()),
        source=source,
    )
    start(parser, arguments)
    _one_thread.__enter__()
    return result


def start(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    """Choose the backend and load the images; trouble is one line, and exit status
    2."""
    for stream in (sys.stdout, sys.stderr):
        # a terminal without "ε" shows "?", and a lesson goes on
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    try:
        minadv.use_backend(
            arguments.backend or os.environ.get("MINADV_BACKEND") or "numpy"
        )
        _load(arguments.data)
    except (minadv.BackendError, minadv.DataError, ValueError, OSError) as error:
        parser.error(str(error))


@cache
def _load(name: str) -> datasets.Dataset:
    return {
        "sample": datasets.mnist_sample,
        "digits": datasets.digits,
        "mnist": datasets.mnist,
    }[name]()


one_trains = nullcontext()  # a lock where lessons run side by side, see runner.py
# A lesson run by itself computes as in the run of all: see pages/cells.py's execute.
_one_thread = one_blas_thread()
settings = _settings()


def dataset() -> datasets.Dataset:
    """The images chosen by ``--data``: ``x_train, y_train, x_test, y_test``, pixels in
    [0, 1]."""
    return _load(settings.data)


def by_data(*, sample, digits, mnist=None):
    """The value meant for the images chosen by ``--data``; ``mnist`` is ``sample`` if
    not given."""
    return {
        "sample": sample,
        "digits": digits,
        "mnist": sample if mnist is None else mnist,
    }[settings.data]


def seed(offset: int = 0) -> int:
    """A seed that moves with ``--seed``: each ``offset`` names another stream of random
    numbers."""
    return 1000 * settings.seed + offset


def rng(offset: int = 0) -> np.random.Generator:
    """A random generator seeded with :func:`seed`."""
    return np.random.default_rng(seed(offset))


def _sources() -> bytes:
    """A digest of the code of a training but for the lesson: package, this file,
    libraries."""
    digest = hashlib.sha256()
    package = Path(minadv.__file__).parent
    for path in (*sorted(package.rglob("*.py")), Path(__file__)):
        digest.update(
            f"{path.name}\0{path.stat().st_size}\0".encode() + path.read_bytes()
        )
    digest.update(repr((sys.version, platform.platform(), np.__version__)).encode())
    return digest.digest()


SOURCES = _sources()  # read now: a file changed later is not the code that runs


def trained(name: str, model: Layer, x, y, **how) -> Layer:
    """``model`` after ``fit(model, x, y, **how)``, or as the same call left it in
    ``<out>/models``.

    The same call: the same sources of the package, of this file and of the lesson, the
    same libraries, data, seed, backend, first weights and arrays, and the same place
    among the lesson's calls of this name. Any change trains anew.
    """
    key = (settings.lesson, name)
    settings.calls[key] = settings.calls.get(key, 0) + 1
    return _trained(
        name, model, x, y, how, (*key, settings.calls[key], settings.source)
    )


def _trained(
    name: str, model: Layer, x, y, how: dict, call: tuple, *, shared: bool = False
) -> Layer:
    """Train or load; the file's name carries a digest of what went in and of what came
    out."""
    first = {**model.arrays, "x": x, "y": y}
    key = repr((call, settings.data, settings.seed, _digest(first))).encode()
    key = hashlib.sha256(SOURCES + key).hexdigest()[:16]
    folder = settings.models or settings.out / "models"
    cached = settings.source is not None and not in_kernel()
    if cached and _loaded(model, folder, f"{name}-{key}"):
        return model
    with one_trains if shared else nullcontext():
        if cached and _loaded(model, folder, f"{name}-{key}"):  # trained meanwhile
            return model
        history = training.fit(model, x, y, progress=settings.progress, **how)
        if getattr(history, "interrupted", False):
            raise KeyboardInterrupt
        if cached:
            for path in folder.glob(f"{name}-{key}-*.npz"):
                path.unlink(missing_ok=True)
            models.save_weights(
                model, folder / f"{name}-{key}-{_digest(model.arrays)[:16]}.npz"
            )
    return model


def _loaded(model: Layer, folder: Path, start: str) -> bool:
    """Whether a file whose name starts so held the weights of ``model``, which has them
    now."""
    for path in folder.glob(f"{start}-*.npz"):
        weights = dict(model.arrays)
        try:
            models.load_weights(model, path)
        except (ValueError, OSError):
            continue  # damaged, or just replaced by a run beside this one
        if path.stem == f"{start}-{_digest(model.arrays)[:16]}":
            return True
        model.arrays = weights  # not what was saved under this name
    return False


def _digest(arrays: dict) -> str:
    """SHA-256 of named arrays: where they lie, types, shapes, bytes."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = minadv.to_numpy(arrays[name])
        digest.update(
            repr((name, type(arrays[name]).__name__, array.dtype, array.shape)).encode()
        )
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _shared(name: str, model: Layer, x, y, **how) -> Layer:
    """A training written in this file: the lesson's text is not part of its key.

    Of lessons that run side by side, one trains and the others wait, and then load.
    """
    return _trained(name, model, x, y, how, ("shared", name), shared=True)


def trained_cnn(offset: int = 0) -> Layer:
    """Document D's CNN (D2), trained on the images chosen; ``offset`` names another
    start."""
    d = dataset()
    how = by_data(
        sample={"batch_size": 32, "epochs": 4},
        digits={"batch_size": 32, "epochs": 20},
        mnist={"batch_size": 256, "epochs": 3},
    )
    model = models.cnn(d.x_train.shape[1:], rng=seed(offset))
    return _shared(f"cnn{offset}", model, d.x_train, d.y_train, rng=seed(offset), **how)


def trained_mlp(offset: int = 0) -> Layer:
    """Document B's network (B3), trained as there: Adam 0.001, batch 8 (sample: 16), 10
    epochs."""
    d = dataset()
    how = by_data(
        sample={"batch_size": 16, "epochs": 10},
        digits={"batch_size": 8, "epochs": 10},
        mnist={"batch_size": 8, "epochs": 10},
    )
    model = models.mlp(d.x_train.shape[1:], rng=seed(offset))
    return _shared(f"mlp{offset}", model, d.x_train, d.y_train, rng=seed(offset), **how)


def trained_vae(latent: int) -> VAE:
    """An autoencoder of so many latent numbers (D10), trained on the clean images
    chosen."""
    d = dataset()
    vae = VAE(d.x_train.shape[1:], latent=latent, filters=(16, 32), rng=seed())
    how = by_data(
        sample={"batch_size": 64, "epochs": 5, "optimizer": training.Adam(0.002)},
        digits={"batch_size": 32, "epochs": 40, "optimizer": training.Adam(0.003)},
        mnist={"batch_size": 64, "epochs": 1, "optimizer": training.Adam(0.002)},
    )
    return _shared(
        f"vae{latent}", vae, d.x_train, d.x_train, loss=negative_elbo, rng=seed(), **how
    )


def measured(
    item: str, what: str, value: float, *, stated: str = "", form: str = ".3g"
) -> None:
    """Print a number that was measured, and keep it for the table of the whole run.

    ``item``: the documents' item, or a lesson's own topic. ``what``: in words, the same
    in every run (no number that the run itself made stands in it). ``value``: a number,
    so that runs with other seeds give a mean and a spread. ``stated``: what the
    document states, if it does. ``form``: how to print the number, such as ``".1%"``.
    """
    settings.measured.append((settings.lesson, item, what, stated, float(value), form))
    said = f"the document says {stated}, here " if stated else ""
    print(f"[{item}] {what}: {said}{value:{form}}")


def save(figure: Figure, name: str, alt: str, caption: str = "") -> None:
    """Save ``figure`` as ``<out>/<lesson>/<name>.png`` and show it, numbered, where it
    stands.

    ``alt`` says what is seen, for those who cannot see it; ``caption`` says what to see
    in it. Markdown and ``$math$`` work in captions.
    """
    _show(figure, name, alt, caption or alt, None)


def _show(
    figure: Figure, name: str, alt: str, caption: str, frames: dict | None
) -> None:
    key = (settings.lesson, name)
    here = sum(lesson == settings.lesson for lesson, _ in settings.numbers)
    number = settings.numbers.setdefault(key, here + 1)
    path = settings.out / settings.lesson / f"{name}.png"
    plotting.save(figure, path, alt=alt)
    settings.figures.append(path)
    number = f"{lesson_number(settings.lesson)}.{number}".lstrip(".")
    shown = Shown(
        number, path, " ".join(alt.split()), " ".join(caption.split()), frames
    )
    if settings.show:
        settings.show(shown)
    elif in_kernel():
        from IPython.display import HTML, display

        display(HTML(shown.html()))
    else:
        print(f"[{shown.title} {path}]")


def slider(
    name: str,
    frames: Sequence,
    values: Sequence,
    says: Sequence[str],
    *,
    symbol: str,
    label: str,
    still: Figure | None = None,
    alt: str,
    caption: str,
) -> None:
    """A figure to move through: frames computed now, and a slider in the page that
    flips them.

    On paper, in a notebook, in a script and without JavaScript the still figure stands
    alone.

    Parameters
    ----------
    name : str
        The still figure's file, as in :func:`save`.
    frames : sequence of N images (H, W), (H, W, 1) or (H, W, 3), or of N matplotlib
    Figures
        What is seen at each place of the slider: pixels in [0, 1], or Figures of one
        size. About 20 to 40 frames are enough.
    values : sequence of N numbers or strings
        What the slider stands at, such as 0.05 or "step 3"; numbers are printed with
        ``:.3g``.
    says : sequence of N sentences
        What is seen there, for eyes and screen readers alike: "Read as 3, with
        probability 99 %."
    symbol : str
        What is written before the value, such as "ε"; it may be empty.
    label : str
        The slider's name in words: "size ε of the change".
    still : Figure, optional
        The figure for paper. Unset: five images, evenly spaced, or the last Figure.
    alt, caption : str
        Of the still figure, as in :func:`save`.

    Raises
    ------
    ValueError
        Unless ``frames``, ``values`` and ``says`` are of one length, at least 2.

    Examples
    --------
    >>> slider("grows", images, epsilons, sentences, symbol="ε", label="size ε",
    ...        alt="A seven that fades into noise.", caption="Move ε: see the label.")
    """
    n = len(frames)
    if n < 2 or len(values) != n or len(says) != n:
        raise ValueError(
            "frames, values and says must have one length, at least 2, "
            f"got {n}, {len(values)} and {len(says)}"
        )
    names = [v if isinstance(v, str) else f"{float(v):.3g}" for v in values]
    names = [f"{symbol} = {v}" if symbol else v for v in names]
    if still is None and isinstance(frames[0], Figure):
        still = frames[-1]
    elif still is None:
        some = np.linspace(0, n - 1, min(n, 5)).round().astype(int)
        still = _strip([frames[i] for i in some], [names[i] for i in some])
    pngs = [base64.b64encode(_png(frame)).decode() for frame in frames]
    _show(
        still,
        name,
        alt,
        caption,
        {"label": label, "values": names, "says": list(says), "pngs": pngs},
    )


def _png(frame) -> bytes:
    """A frame as a PNG: an image pixel by pixel, a Figure as it is drawn on the
    screen."""
    content = io.BytesIO()
    if isinstance(frame, Figure):
        frame.set_dpi(100)
        canvas = FigureCanvasAgg(frame)
        canvas.draw()  # once; `savefig` lays it out twice
        Image.fromarray(np.asarray(canvas.buffer_rgba())).save(content, "png")
    else:
        pixels = np.asarray(minadv.to_numpy(frame), dtype=float)
        pixels = np.round(255 * pixels.clip(0, 1)).astype(np.uint8)
        Image.fromarray(pixels[..., 0] if pixels.shape[2:] == (1,) else pixels).save(
            content, "png"
        )
    return content.getvalue()


def _strip(frames: list, names: list[str]) -> Figure:
    """A few images in a row, each under its value."""
    figure = Figure(figsize=(1.7 * len(frames), 2.1), layout="constrained")
    for axes, frame, title in zip(
        figure.subplots(1, len(frames)), frames, names, strict=True
    ):
        axes.imshow(np.squeeze(minadv.to_numpy(frame)), cmap="gray", vmin=0, vmax=1)
        axes.set_title(title, fontsize=10)
        axes.axis("off")
    return figure
