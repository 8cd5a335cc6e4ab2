"""minadv: adversarial attacks on neural networks, from scratch, on NumPy and CuPy."""

from minadv import data, evaluation, layers, losses, models, ops, training
from minadv.attacks.deepfool import deepfool
from minadv.attacks.evolution import differential_evolution
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
from minadv.autograd import Tensor, grad, gradcheck, jacobian, value_and_grad, vjp
from minadv.backend import BackendError, array_module, asarray, to_numpy, use_backend
from minadv.data import DataError
from minadv.training import SGD, Adam, fit

__version__ = "0.1.0"

__all__ = [
    "SGD",
    "Adam",
    "AttackResult",
    "BackendError",
    "DataError",
    "QueryGradient",
    "Tensor",
    "array_module",
    "asarray",
    "attack_image",
    "data",
    "deepfool",
    "differential_evolution",
    "estimate_gradient",
    "evaluation",
    "fgsm",
    "fit",
    "forge",
    "grad",
    "gradcheck",
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
    "saliency_map",
    "to_numpy",
    "training",
    "uniform_noise",
    "use_backend",
    "value_and_grad",
    "vjp",
]


def __getattr__(name: str):
    if name == "attack_image":  # draws, and so needs Matplotlib, which nothing else here does
        from minadv.images import attack_image

        return attack_image
    raise AttributeError(f"module 'minadv' has no attribute {name!r}")
