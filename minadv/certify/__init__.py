r"""Guarantees: what no attack can change. Read this page first.

An attack that fails proves nothing: another one may succeed. A certificate is a proof for *every*
image of a ball. It is one-sided, too: an image that is not certified may still be safe. Between the
two lies the truth::

    certified_accuracy(model, x, y, eps=0.1) <= exact <= robust_accuracy(model, x, y, pgd(...))

To know the exact share, one has to solve an integer program for each image; that is NP-complete for
ReLU networks (Katz et al. 2017, *Reluplex*), and done for small ones (Tjeng et al. 2019,
*Evaluating robustness of neural networks with mixed integer programming*).

What there is
-------------
:func:`exact_radius`
    The length of the smallest change that turns a *linear* model: no bound, the number itself.
:func:`logit_bounds`, :func:`margin_bound`
    Numbers that the logits, and the margin of a label, keep to on the whole ball.
:func:`certified`, :func:`certified_accuracy`, :func:`certified_radius`
    Which images are safe, what share, and how far.
:class:`Smoothed`
    Another model made of yours, by a vote under noise, with a guarantee in the L2 norm that holds
    with a stated probability (Cohen et al. 2019).
:mod:`minadv.defenses.interval_training`
    How a network is trained so that much of it can be certified. A regular one has little.

Arguments of all of them
------------------------
model
    A :class:`~minadv.layers.Sequential` of Dense, convolutions, ReLU, LeakyReLU, pooling, Flatten,
    Normalize, or :class:`~minadv.models.LogisticRegression`. Anything else is refused by name: a
    bound needs to know what every layer does. (:class:`Smoothed` takes any model.)
x, y
    Images and labels, as for the attacks.
eps, norm, bounds
    The ball: :math:`\lVert x' - x \rVert \le \epsilon` as real numbers, in ``"linf"`` or ``"l2"``,
    and inside ``bounds``. Between the pixel values that floats can hold, every real one is meant.
method
    ``"intervals"`` carries a box from layer to layer (Gowal et al. 2018). ``"crown"`` carries
    linear functions from the last layer back to the image (Zhang et al. 2018). Its bounds are
    never looser. It takes longer, and no network with MaxPool.

Sound in floating point
-----------------------
A certificate that rounding can break is none (Jia & Rinard 2021, *Exploiting verified neural
networks via floating point numerical error*). These hold for the network as real numbers, *and* for
the logits that it computes in its own precision, in whatever order its sums are added up. How that
is proved is written in ``certify/steps.py``; the tests check it with ``fractions.Fraction``. What
is assumed: sums are rounded term by term (no TF32), and no value exceeds 1e100.
"""

from minadv.certify.bounds import Bounds, logit_bounds
from minadv.certify.judging import certified, certified_accuracy, certified_radius, margin_bound
from minadv.certify.linear import exact_radius
from minadv.certify.smoothing import ABSTAIN, Smoothed, SmoothedCertificate

__all__ = [
    "ABSTAIN",
    "Bounds",
    "Smoothed",
    "SmoothedCertificate",
    "certified",
    "certified_accuracy",
    "certified_radius",
    "exact_radius",
    "logit_bounds",
    "margin_bound",
]
