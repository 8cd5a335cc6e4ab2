"""minadv: adversarial attacks on neural networks, from scratch, on NumPy and CuPy."""

from minadv import data, evaluation, layers, losses, models, ops, training
from minadv.attacks import AttackResult, fgsm
from minadv.autograd import Tensor, grad, gradcheck, jacobian, value_and_grad, vjp
from minadv.backend import BackendError, array_module, asarray, to_numpy, use_backend
from minadv.data import DataError
from minadv.training import SGD, Adam, fit

__version__ = "0.1.0"

__all__ = [
    "SGD", "Adam", "AttackResult", "BackendError", "DataError", "Tensor", "array_module", "asarray", "data", "evaluation", "fgsm",
    "fit", "grad", "gradcheck", "jacobian", "layers", "losses", "models", "ops", "to_numpy", "training", "use_backend", "value_and_grad",
    "vjp",
]  # fmt: skip
