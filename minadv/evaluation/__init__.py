r"""How good is a model, and how good is an attack: every number the documents report.

Images come from a data set, from an attack or from a random generator; a model judges them. So each
function takes the judge first, then where its images come from, then the true labels::

    accuracy(f, x, y)
    robust_accuracy(f, x, y, fgsm(f, x, y=y, eps=0.1), pgd(f, x, y=y, eps=0.1))
    certified_accuracy(f, x, y, eps=0.1)
    accuracy_curve(f, lambda eps: fgsm(g, x, y=y, eps=eps), y, epsilons)
    transfer_matrix([f, g], lambda model: fgsm(model, x, y=y, eps=0.1), y)

Two functions run whole evaluations. :func:`sweep` makes one table of many models, attacks and ε, on
one core or on a cluster. :func:`checklist` asks whether the numbers of an attack are to be
believed::

    sweep({"f": f, "g": g}, {"PGD": pgd}, x, y, epsilons=(0.05, 0.1)).save("table.csv")
    print(checklist(f, x, y, eps=0.1, attack=my_attack))

What is one value per example stays where the model's logits are (NumPy or CuPy); what is counted
over examples comes back as Python numbers or NumPy arrays. A statistic of nothing (no example, no
success, 0/0) raises :class:`ValueError`; nothing here returns NaN.
"""

from minadv.certify import certified_accuracy
from minadv.evaluation.accuracy import accuracy, confidence, robust_accuracy
from minadv.evaluation.binary import Outcomes, RocCurve, auc, outcomes, roc_curve
from minadv.evaluation.checklist import Checklist, Line, checklist
from minadv.evaluation.curves import EpsilonCurve, accuracy_curve, transfer_matrix
from minadv.evaluation.sizes import PerturbationSummary, Sizes, perturbation_summary
from minadv.evaluation.sweep import Row, Sweep, SweepFailure, sweep
from minadv.inference import logits, predict, probabilities

__all__ = [
    "Checklist",
    "EpsilonCurve",
    "Line",
    "Outcomes",
    "PerturbationSummary",
    "RocCurve",
    "Row",
    "Sizes",
    "Sweep",
    "SweepFailure",
    "accuracy",
    "accuracy_curve",
    "auc",
    "certified_accuracy",
    "checklist",
    "confidence",
    "logits",
    "outcomes",
    "perturbation_summary",
    "predict",
    "probabilities",
    "robust_accuracy",
    "roc_curve",
    "sweep",
    "transfer_matrix",
]
