"""What an attack may raise instead of the log-odds margin: the lead, and Croce and Hein's ratio.

A score is called as ``score(goal, logits)``, and returns one number per image that rises towards
success. It can be differentiated: see :func:`minadv.attacks.goal.score_gradient`. The usual score
is :meth:`minadv.attacks.goal.Goal.score`.
"""

from __future__ import annotations

import numpy as np

from minadv import ops
from minadv.attacks.goal import Goal
from minadv.autograd import raw
from minadv.backend import Array, array_module


def lead(goal: Goal, logits):
    r"""How far the attack leads, in logits: :math:`z_t - \max_{j \ne t} z_j`, positive in success.

    Without a target it is :math:`\max_{j \ne y} z_j - z_y`. Carlini and Wagner's f is minus this.
    """
    ahead = _above(logits, _likeliest_other(raw(logits), goal.label), goal.label)
    return -ahead if goal.targeted else ahead


def dlr(goal: Goal, logits):
    r"""The difference of logits ratio (Croce & Hein 2020, equation 6), away from y or to a target.

    .. math:: \frac{\max_{j \ne y} z_j - z_y}{z_{\pi_1} - z_{\pi_3}}, \qquad \text{with a target: }
        \frac{z_t - \max_{j \ne t} z_j}{z_{\pi_1} - (z_{\pi_3} + z_{\pi_4}) / 2}

    π sorts the logits, the largest first. Multiplying all logits by a positive number, or adding
    one to all, changes nothing. It takes three classes, with a target four. The targeted form is
    equation 7 with the likeliest other class in place of y, so that it is positive in success.
    """
    return lead(goal, logits) / (_spread_to_fourth if goal.targeted else _spread_to_third)(logits)


def dlr_towards(goal: Goal, logits, rival: Array):
    r"""Equation 7: :math:`(z_t - z_y) / (z_{\pi_1} - (z_{\pi_3} + z_{\pi_4}) / 2)`, t the rival.

    Success is any label but y, but the way leads to the rival. It takes four classes.
    """
    return _above(logits, rival, goal.label) / _spread_to_fourth(logits)


# By how many units in the last place of the largest logit a logit may change with the rest of the
# batch (matrix products of another shape add up in another order). Measured on MNIST: up to 15.
LOGIT_ROUNDING = 32


def least_lead(logits: Array) -> Array:
    """The lead that rounding cannot undo, (n,): a success by more is one in whatever batch."""
    unit = LOGIT_ROUNDING * float(np.finfo(logits.dtype).eps)
    return unit * abs(logits).max(axis=1)


def leads(goal: Goal, logits: Array) -> Array:
    """Whether the attack leads by more than rounding, (n,)."""
    return lead(goal, logits) > least_lead(logits)


def _likeliest_other(z, label):
    own = label[:, None] == array_module(z).arange(z.shape[1])
    return array_module(z).where(own, -np.inf, z).argmax(axis=1)


def _above(logits, k, j):
    """z_k − z_j, one class of each image each."""
    n = array_module(k).arange(len(k))
    return ops.getitem(logits, (n, k)) - ops.getitem(logits, (n, j))


def _spread_to_third(logits):
    pi = (-raw(logits)).argsort(axis=1)
    return _above(logits, pi[:, 0], pi[:, 2]) + _smallest(logits)


def _spread_to_fourth(logits):
    pi = (-raw(logits)).argsort(axis=1)
    to_third, to_fourth = (_above(logits, pi[:, 0], pi[:, i]) for i in (2, 3))
    return 0.5 * (to_third + to_fourth) + _smallest(logits)


def _smallest(logits) -> float:
    """Keeps a fraction finite where the largest logits are all equal."""
    return float(np.finfo(raw(logits).dtype).tiny) * 2.0**40
