"""Models, and how weights are kept.

Each model is a :class:`~minadv.layers.base.Sequential` from images to logits (N, K).
Probabilities are their softmax.
"""

from minadv.models.documents import LogisticRegression, cnn, deep_cnn, mlp, separable_cnn
from minadv.models.residual import resnet, resnet18
from minadv.weights import load_weights, save_weights

__all__ = [
    "LogisticRegression",
    "cnn",
    "deep_cnn",
    "load_weights",
    "mlp",
    "resnet",
    "resnet18",
    "save_weights",
    "separable_cnn",
]
