"""The defenses, one file per idea."""

from minadv.defenses.adversarial_training import adversarial_training, augment, mixed_loss
from minadv.defenses.detection import (
    Detector,
    Guarded,
    divergence,
    reconstruction_score,
    threshold_at,
)
from minadv.defenses.distillation import distill, soft_labels, tempered_cross_entropy
from minadv.defenses.interval_training import IntervalLoss, interval_training
from minadv.defenses.rbf import RBF, disagreement, rbf_network
from minadv.defenses.resizing import RandomResizing, resize
from minadv.defenses.vae import VAE, gaussian_kl, negative_elbo

__all__ = [
    "RBF",
    "VAE",
    "Detector",
    "Guarded",
    "IntervalLoss",
    "RandomResizing",
    "adversarial_training",
    "augment",
    "disagreement",
    "distill",
    "divergence",
    "gaussian_kl",
    "interval_training",
    "mixed_loss",
    "negative_elbo",
    "rbf_network",
    "reconstruction_score",
    "resize",
    "soft_labels",
    "tempered_cross_entropy",
    "threshold_at",
]
