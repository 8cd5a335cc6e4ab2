"""minadv: adversarial attacks on neural networks, from scratch, on NumPy and CuPy.

A first program::

    from minadv import data, fgsm, fit, models

    d = data.digits()  # 1,797 real handwritten digits, embedded
    model = models.mlp((8, 8, 1))
    fit(model, d.x_train, d.y_train, epochs=10, batch_size=8)
    print(fgsm(model, d.x_test, y=d.y_test, eps=0.1))  # so many of 360 succeeded

Where to go on:

- ``help(minadv.attacks)``: the vocabulary, and the arguments that all attacks share. The attacks
  themselves are names of this module: ``fgsm``, ``pgd``, ``deepfool``, ``jsma``, ``one_pixel`` ...
- ``minadv.defenses``: one file per defense. ``minadv.certify``: what no attack can change, proved.
- ``minadv.evaluation``, ``activations``, ``embedding`` and ``plotting``: judging and drawing.
  ``minadv.images``: files, and an attack in one call.
- ``minadv.autograd``, ``ops``, ``layers``, ``models``, ``training``: the networks underneath.
- ``minadv.external`` makes a model of a network of PyTorch, JAX or another framework.
- The folder ``lessons`` derives every idea; ``lessons/README.md`` maps them, and says what codes
  such as (A10, E5) mean. ``python -m lessons`` runs them all.
- The folder ``homework`` holds assignments with a grader, its ``README.md`` first.
- ``python -m minadv attack image.png`` attacks an image file, ``python -m minadv --help`` says how.
"""

import importlib

from minadv import (
    attacks,
    autograd,
    certify,
    data,
    evaluation,
    layers,
    losses,
    models,
    ops,
    training,
)
from minadv.attacks.apgd import apgd
from minadv.attacks.carlini_wagner import carlini_wagner
from minadv.attacks.deepfool import deepfool
from minadv.attacks.evolution import differential_evolution
from minadv.attacks.fab import fab
from minadv.attacks.fgsm import fgsm
from minadv.attacks.forging import forge
from minadv.attacks.iterative_fgsm import iterative_fgsm
from minadv.attacks.jsma import jsma
from minadv.attacks.noise import negative, uniform_noise
from minadv.attacks.one_pixel import one_pixel
from minadv.attacks.pgd import pgd
from minadv.attacks.query_gradient import QueryGradient, estimate_gradient
from minadv.attacks.result import AttackResult
from minadv.attacks.saliency import saliency_map
from minadv.attacks.square import square
from minadv.attacks.strongest import EnsembleResult, ensemble, strongest
from minadv.autograd import Tensor, grad, gradcheck, jacobian, value_and_grad, vjp
from minadv.backend import BackendError, array_module, asarray, to_numpy, use_backend
from minadv.data import DataError
from minadv.external import external
from minadv.training import SGD, Adam, fit

__version__ = "0.1.0"

__all__ = [
    "SGD",
    "Adam",
    "AttackResult",
    "BackendError",
    "DataError",
    "EnsembleResult",
    "QueryGradient",
    "Tensor",
    "activations",
    "apgd",
    "array_module",
    "asarray",
    "attack_image",
    "attacks",
    "autograd",
    "carlini_wagner",
    "certify",
    "data",
    "deepfool",
    "defenses",
    "differential_evolution",
    "embedding",
    "ensemble",
    "estimate_gradient",
    "evaluation",
    "external",
    "fab",
    "fgsm",
    "fit",
    "forge",
    "grad",
    "gradcheck",
    "images",
    "iterative_fgsm",
    "jacobian",
    "jsma",
    "layers",
    "losses",
    "models",
    "negative",
    "one_pixel",
    "ops",
    "pgd",
    "plotting",
    "saliency_map",
    "square",
    "strongest",
    "to_numpy",
    "training",
    "uniform_noise",
    "use_backend",
    "value_and_grad",
    "vjp",
]


# Imported when first used: some need Matplotlib or Pillow, which nothing else here does.
_LAZY = ("activations", "defenses", "embedding", "images", "plotting")


def __getattr__(name: str):
    if name == "attack_image":
        return importlib.import_module("minadv.images").attack_image
    if name in _LAZY:
        return importlib.import_module(f"minadv.{name}")
    raise AttributeError(f"module 'minadv' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
