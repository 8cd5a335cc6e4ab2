"""The attacks, one file per idea."""

from minadv.attacks.common import AttackResult
from minadv.attacks.fgsm import fgsm

__all__ = ["AttackResult", "fgsm"]
