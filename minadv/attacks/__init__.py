r"""The attacks. Read this page first: it explains what all of them share.

Each attack is one function on one page, and also a name of :mod:`minadv` itself::

    result = fgsm(model, x, y=y, eps=0.1)      # away from y
    result = fgsm(model, x, target=6, eps=0.1) # towards the six
    result.success.mean(), result.x_adv        # the share that is fooled, and the images

Which attack
------------
inside a ball of radius ε
    :func:`fgsm` (one step), :func:`iterative_fgsm`, :func:`pgd` (random starts), :func:`apgd`
    (finds its step size). :func:`strongest` runs several attacks, one after the other.
the smallest change
    :func:`deepfool` (fast), :func:`fab`, :func:`carlini_wagner` (L2), :func:`jsma` (few pixels).
queries alone
    :func:`square` (inside a ball), :func:`one_pixel` (few pixels); and each of the above on a
    :class:`QueryGradient`, which estimates what they follow.
any image that the model takes for the target
    :func:`forge`.
to compare with
    :func:`uniform_noise`, :func:`negative`.

Vocabulary
----------
goal
    Away from a label (``y``, untargeted; success: label ≠ y) or to one (``target``; success:
    label = target). Stated once, in ``goal.py``.
score
    What a gradient attack raises: the log-odds margin of success, :math:`z_t - \log \sum_{j \ne t}
    e^{z_j}` for a target t, and minus that of y. It rises where the loss against y rises, and
    never saturates. :func:`carlini_wagner` and, on request, :func:`apgd` raise other scores
    (``scores.py``).
ball
    The images that an attack with an ε may return (``balls.py``):
    :math:`\lVert x_{adv} - x \rVert \le \epsilon`, as real numbers, and inside ``bounds``.
running
    The images still under attack, as indices into the batch (see below).
result
    An :class:`AttackResult`: ``x_adv``, ``label``, ``success``, ``steps``, ``queries``, and the
    sizes of the change, ``linf``, ``l2`` and ``l0`` (``result.py``).
queries
    The images that a black-box attack has asked the model about.

Arguments of every attack
-------------------------
model
    Any callable from images to logits (N, K), floating-point numbers before the softmax. A
    gradient attack differentiates it, so it is made of layers or of :mod:`minadv.ops`;
    :class:`QueryGradient` turns any other predictor into such a model, and
    :class:`~minadv.external.external` a network of PyTorch, JAX or another framework.
x
    Images (N, H, W, C) or vectors (N, D), float32 or float64, inside ``bounds``. Never changed.
y, target
    Exactly one, where an attack takes both: integers (N,), or one integer for all images.
bounds
    The least and the largest pixel value, (0.0, 1.0) by default. Values beyond them by a few units
    in the last place, as of images normalized in float32, are accepted; ``bounds`` then reach as
    far as they do.
rng
    Where chance has a part: a :class:`numpy.random.Generator` or a seed, 0 by default.

Sizes (``eps``, ``alpha``, ``clip``, ``theta``) are in pixel values, in units of ``bounds``.

An argument that is not as said here, and a model whose logits or gradient are not finite or of
another shape, raise a :class:`ValueError` or :class:`TypeError` that names it. A
:class:`UserWarning` says that the model seems to return probabilities, or that its gradient is
exactly zero for some images.

An attack as an argument
------------------------
Functions that are handed an attack call ``attack(model, x, y=...)``, or ``target=...``; settings
are fixed beforehand, ``functools.partial(pgd, eps=0.1)``. A loss that is handed in is called as
``loss(logits, y)``, and returns one number per example. The types are ``Attack``,
``TargetedAttack`` and ``Loss`` of :mod:`minadv.protocols`.

The loop
--------
Attacks that search (:func:`pgd`, :func:`apgd`, :func:`deepfool`, :func:`jsma`, :func:`one_pixel`,
:func:`square` ...) all drop the images that are done from the batch in this way::

    running = xp.flatnonzero(~done)            # (n,), indices into the batch
    for _ in range(steps):
        if not len(running):
            break
        z = step(x_adv[running], goal[running])
        x_adv[running], taken[running] = z, taken[running] + 1
        running = running[still]               # still: booleans (n,)

An image that succeeds as it came is returned unchanged with 0 steps. :func:`fgsm`,
:func:`iterative_fgsm` and :func:`forge` take all their steps in any case. :func:`fab` and
:func:`carlini_wagner` go on after a success, for a smaller one. :func:`strongest` does with attacks
what these do with steps: an image that fell to one is not shown to the next.

Alone or in a batch
-------------------
Attacks give an image what it would get alone: chance is shared, nothing is averaged. But a matrix
product of another shape adds up in another order, which changes the last bits of the *model's*
logits. What is left of this in ``x_adv``, for values in [0, 1] (96 images of MNIST, MLP and CNN,
float32):

- :func:`negative`, :func:`uniform_noise` (for the first images of a batch): equal to the bit.
- :func:`fgsm`, :func:`iterative_fgsm`, :func:`pgd` (linf), :func:`jsma`, :func:`one_pixel`: equal
  to the bit in all cases measured. They use signs and orders, which only a near tie changes.
- :func:`apgd` (linf), :func:`square` (linf): likewise (32 images).
- :func:`deepfool`: within 6e-7. In either case its label is not y.
- :func:`carlini_wagner`: within 5e-7 (32 images, 400 steps). :func:`apgd` (l2): within 5e-7.
  :func:`square` (l2): largest 1e-5.
- :func:`fab`: median 2e-7; under l2 an image may come to another boundary, 0.04 was seen.
- :func:`pgd` (l2): median 6e-8, largest 3e-4.
- :func:`forge`: median 4e-7, largest 8e-4; with large steps more, 0.13 was seen.

What A1 ... E11 mean
--------------------
Codes in parentheses name an item of the five documents that this project teaches.
``lessons/README.md`` lists the documents and all items, with the lesson and the function for each.
"""

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

__all__ = [
    "AttackResult",
    "EnsembleResult",
    "QueryGradient",
    "apgd",
    "carlini_wagner",
    "deepfool",
    "differential_evolution",
    "ensemble",
    "estimate_gradient",
    "fab",
    "fgsm",
    "forge",
    "iterative_fgsm",
    "jsma",
    "negative",
    "one_pixel",
    "pgd",
    "saliency_map",
    "square",
    "strongest",
    "uniform_noise",
]
