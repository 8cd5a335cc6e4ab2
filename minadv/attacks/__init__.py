"""The attacks. Every one is also a name of :mod:`minadv` itself."""

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

__all__ = [
    "AttackResult",
    "QueryGradient",
    "deepfool",
    "differential_evolution",
    "estimate_gradient",
    "fgsm",
    "forge",
    "iterative_fgsm",
    "jsma",
    "negative",
    "one_pixel",
    "pgd",
    "saliency_map",
    "uniform_noise",
]
