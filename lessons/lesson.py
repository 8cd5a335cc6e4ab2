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

import minadv
from minadv import data as datasets
from minadv import models, plotting, training
from minadv.defenses.vae import VAE, negative_elbo
from minadv.layers import Layer

HERE = Path(__file__).resolve().parent
DATA = ("digits", "mnist")


@dataclass
class Settings:
    """Where a lesson's images come from and where its figures go."""

    data: str = "digits"
    out: Path = HERE / "output"
    progress: bool = True
    figures: list[Path] = field(default_factory=list)  # the figures saved so far
    compared: list[tuple[str, str, str, str]] = field(default_factory=list)  # see compare


def options(description: str) -> argparse.ArgumentParser:
    """The options that a single lesson and the whole run have in common."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument(
        "--data",
        choices=DATA,
        default="digits",
        help="the images: embedded digits, or MNIST at the documents' sizes",
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
    if Path(sys.argv[0]).resolve().parent != HERE or Path(sys.argv[0]).stem in (
        "__main__",
        "lesson",
    ):
        return Settings()
    arguments = options("A lesson of minadv.").parse_args()
    if arguments.backend:
        minadv.use_backend(arguments.backend)
    return Settings(arguments.data, arguments.out)


settings = _settings()


@cache
def _load(name: str) -> datasets.Dataset:
    return getattr(datasets, name)()


def dataset() -> datasets.Dataset:
    """The images chosen by ``--data``: ``x_train, y_train, x_test, y_test``, pixels in [0, 1]."""
    return _load(settings.data)


def on_mnist() -> bool:
    """Whether the lesson runs at the documents' own sizes."""
    return settings.data == "mnist"


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


def trained_cnn() -> Layer:
    """Document D's CNN (D2), trained on the images chosen: batch 256 and 10 epochs on MNIST, batch 32 and 20 epochs on the digits."""
    d = dataset()
    how = {"batch_size": 256, "epochs": 10} if on_mnist() else {"batch_size": 32, "epochs": 20}
    return trained("cnn", models.cnn(d.x_train.shape[1:]), d.x_train, d.y_train, **how)


def trained_mlp() -> Layer:
    """Document B's network (B3), trained on the images chosen as there: Adam 0.001, batch 8, 10 epochs."""
    d = dataset()
    return trained(
        "mlp", models.mlp(d.x_train.shape[1:]), d.x_train, d.y_train, batch_size=8, epochs=10
    )


def trained_vae(latent: int) -> VAE:
    """An autoencoder of so many latent numbers (D10), trained on the clean images chosen: 40 epochs on the digits, 5 on MNIST."""
    d = dataset()
    vae = VAE(d.x_train.shape[1:], latent=latent, filters=(32, 64) if on_mnist() else (16, 32))
    how = (
        {"batch_size": 128, "epochs": 5}
        if on_mnist()
        else {"batch_size": 32, "epochs": 40, "optimizer": training.Adam(0.003)}
    )
    return trained(f"vae{latent}", vae, d.x_train, d.x_train, loss=negative_elbo, **how)


def compare(item: str, what: str, stated: str, measured: str):
    """Print a number that a document states next to the one measured here, and keep it for the table of the whole run."""
    settings.compared.append((item, what, stated, measured))
    print(f"[{item}] {what}: the document says {stated}, here {measured}")


def save(figure, name: str, alt: str):
    """Save ``figure`` as ``<out>/<lesson>/<name>.png`` with its alternative text, and return it, so that a notebook shows it."""
    lesson = Path(sys._getframe(1).f_globals.get("__file__", "notebook")).stem
    path = settings.out / lesson / f"{name}.png"
    plotting.save(figure, path, alt=alt)
    settings.figures.append(path)
    print(f"[figure {path.name}: {alt}]")
    return figure
