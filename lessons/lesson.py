"""What the lessons share: the data chosen, trained models (cached), and where figures go.

A lesson says ``from lesson import ...`` and runs in three ways: by itself (``python lessons/02_fgsm.py --data mnist``), as a notebook, or
with all others (``python -m lessons``), which sets :data:`settings` first.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import CodeType, FunctionType

import numpy as np

import minadv
from minadv import data as datasets
from minadv import models, plotting, training
from minadv.defenses.vae import VAE, negative_elbo
from minadv.layers import Layer

HERE = Path(__file__).resolve().parent
DATA = ("sample", "digits", "mnist")


@dataclass
class Settings:
    """Where a lesson's images come from, what its random numbers start from, and where its figures go."""

    data: str = "sample"
    out: Path = HERE / "output"
    progress: bool = True
    seed: int = 0
    lesson: str = "notebook"  # the lesson that runs; the runner says which
    figures: list[Path] = field(default_factory=list)  # the figures saved so far
    measured: list[tuple] = field(default_factory=list)  # see measured


def options(description: str) -> argparse.ArgumentParser:
    """The options that a single lesson and the whole run have in common."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument(
        "--data",
        choices=DATA,
        default="sample",
        help="the images: 12,000 of MNIST (embedded), 8x8 digits (embedded, for a quick look), or all of MNIST",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="where all random numbers start: another run of it all"
    )
    parser.add_argument(
        "--backend",
        choices=("numpy", "cupy"),
        help="where to compute (unset: MINADV_BACKEND, else numpy)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=HERE / "output",
        help="folder for figures, printed text and trained models",
    )
    return parser


def _settings() -> Settings:
    """From the command line if a lesson is run by itself, else the defaults."""
    script = Path(sys.argv[0])
    if script.resolve().parent != HERE or script.stem in ("__main__", "lesson"):
        return Settings()
    arguments = options("A lesson of minadv.").parse_args()
    if arguments.backend:
        minadv.use_backend(arguments.backend)
    return Settings(arguments.data, arguments.out, seed=arguments.seed, lesson=script.stem)


settings = _settings()


@cache
def _load(name: str) -> datasets.Dataset:
    return {"sample": datasets.mnist_sample, "digits": datasets.digits, "mnist": datasets.mnist}[
        name
    ]()


def dataset() -> datasets.Dataset:
    """The images chosen by ``--data``: ``x_train, y_train, x_test, y_test``, pixels in [0, 1]."""
    return _load(settings.data)


def by_data(*, sample, digits, mnist=None):
    """The value meant for the images chosen by ``--data``; ``mnist`` is as ``sample`` where nothing else is said."""
    return {"sample": sample, "digits": digits, "mnist": sample if mnist is None else mnist}[
        settings.data
    ]


def seed(offset: int = 0) -> int:
    """A seed that moves with ``--seed``: each ``offset`` names another stream of random numbers."""
    return 1000 * settings.seed + offset


def rng(offset: int = 0) -> np.random.Generator:
    """A random generator seeded with :func:`seed`."""
    return np.random.default_rng(seed(offset))


def trained(name: str, model: Layer, x, y, **how) -> Layer:
    """``model`` after ``fit(model, x, y, **how)``, or with the weights that an earlier run of the same training left in ``<out>/models``.

    The file's name carries a digest of the weights before training, the data and the settings; a damaged file is replaced.
    """
    digest = hashlib.sha256(repr((model, described(how), x.shape, minadv.__version__)).encode())
    for array in (*model.parameters.values(), x, y):
        digest.update(minadv.to_numpy(array).tobytes())
    path = settings.out / "models" / f"{name}-{digest.hexdigest()[:16]}.npz"
    if path.exists():
        try:
            return models.load_weights(model, path)
        except ValueError as error:
            print(f"(training again: {error})", file=sys.stderr)
    training.fit(model, x, y, progress=settings.progress, **how)
    models.save_weights(model, path)
    return model


def described(value):
    """What a digest of settings needs to know: no addresses, but what a function does and what it encloses, and what an object holds."""
    if hasattr(value, "dtype"):
        return (
            str(value.dtype),
            value.shape,
            hashlib.sha256(minadv.to_numpy(value).tobytes()).hexdigest(),
        )
    if isinstance(value, dict):
        return {str(key): described(value[key]) for key in sorted(value, key=str)}
    if isinstance(value, list | tuple):
        return [described(each) for each in value]
    if isinstance(value, FunctionType):
        return (
            value.__qualname__,
            described(value.__code__),
            [described(cell.cell_contents) for cell in value.__closure__ or ()],
        )
    if isinstance(value, CodeType):
        return (
            value.co_code.hex(),
            value.co_names,
            [described(constant) for constant in value.co_consts],
        )
    return (
        (type(value).__qualname__, described(vars(value)))
        if hasattr(value, "__dict__")
        else repr(value)
    )


def trained_cnn(offset: int = 0) -> Layer:
    """Document D's CNN (D2), trained on the images chosen; ``offset`` names another start of the same training."""
    d = dataset()
    how = by_data(
        sample={"batch_size": 32, "epochs": 4},
        digits={"batch_size": 32, "epochs": 20},
        mnist={"batch_size": 256, "epochs": 10},
    )
    model = models.cnn(d.x_train.shape[1:], rng=seed(offset))
    return trained(f"cnn{offset}", model, d.x_train, d.y_train, rng=seed(offset), **how)


def trained_mlp(offset: int = 0) -> Layer:
    """Document B's network (B3), trained on the images chosen as there: Adam 0.001, batch 8, 10 epochs (16 on the sample)."""
    d = dataset()
    how = by_data(
        sample={"batch_size": 16, "epochs": 10},
        digits={"batch_size": 8, "epochs": 10},
        mnist={"batch_size": 8, "epochs": 10},
    )
    model = models.mlp(d.x_train.shape[1:], rng=seed(offset))
    return trained(f"mlp{offset}", model, d.x_train, d.y_train, rng=seed(offset), **how)


def trained_vae(latent: int) -> VAE:
    """An autoencoder of so many latent numbers (D10), trained on the clean images chosen."""
    d = dataset()
    filters = by_data(sample=(16, 32), digits=(16, 32), mnist=(32, 64))
    vae = VAE(d.x_train.shape[1:], latent=latent, filters=filters, rng=seed())
    how = by_data(
        sample={"batch_size": 64, "epochs": 5, "optimizer": training.Adam(0.002)},
        digits={"batch_size": 32, "epochs": 40, "optimizer": training.Adam(0.003)},
        mnist={"batch_size": 128, "epochs": 5},
    )
    return trained(f"vae{latent}", vae, d.x_train, d.x_train, loss=negative_elbo, rng=seed(), **how)


def measured(item: str, what: str, value: float, *, stated: str = "", form: str = ".3g") -> None:
    """Print a number that was measured, and keep it for the table of the whole run.

    ``item``: the documents' item, or a lesson's own topic. ``what``: in words, the same in every run (no number that
    the run itself made stands in it). ``value``: a number, so that runs with other seeds give a mean and a spread.
    ``stated``: what the document states, if it does. ``form``: how to print the number, such as ``".1%"``.
    """
    settings.measured.append((settings.lesson, item, what, stated, float(value), form))
    said = f"the document says {stated}, here " if stated else ""
    print(f"[{item}] {what}: {said}{value:{form}}")


def save(figure, name: str, alt: str, caption: str = "") -> None:
    """Save ``figure`` as ``<out>/<lesson>/<name>.png`` and show it, numbered, where it stands in the lesson.

    ``alt`` says what is seen, for those who cannot see it; ``caption`` says what to see in it. Markdown and ``$math$``
    work in captions.
    """
    path = settings.out / settings.lesson / f"{name}.png"
    plotting.save(figure, path, alt=alt)
    settings.figures.append(path)
    print(f"[figure {path.name}: {caption or alt}]")


def on_mnist() -> bool:
    """Whether the lesson runs at the documents' own sizes."""
    return settings.data == "mnist"


def compare(item: str, what: str, stated: str, measured: str):
    """Print a number that a document states next to the one measured here; :func:`measured` takes its place."""
    print(f"[{item}] {what}: the document says {stated}, here {measured}")
