"""The one-pixel attack (D6): Su, Vargas & Sakurai 2019, *One pixel attack for fooling deep neural networks*."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from tqdm import trange

from minadv.attacks.evolution import Evolution
from minadv.attacks.goal import Goal
from minadv.attacks.result import AttackResult
from minadv.backend import array_module, like
from minadv.checks import check_count, check_images
from minadv.inference import are_probabilities, check_logits, on_a_copy
from minadv.parallel import in_chunks, is_thread_safe

__all__ = ["one_pixel"]

VALUES_PER_CALL = (
    2**22
)  # pixel values that one call of predict is given at most: 16 MB of float32, 5,349 images of 28x28


def one_pixel(
    predict: Callable,
    x,
    *,
    y=None,
    target=None,
    pixels: int = 1,
    population: int = 400,
    generations: int = 100,
    mutation: float | tuple[float, float] = 0.5,
    recombination: float = 1.0,
    strategy: str = "rand1",
    rng: np.random.Generator | int = 0,
    bounds: tuple[float, float] = (0.0, 1.0),
    progress: bool = False,
) -> AttackResult:
    r"""Search for a few pixels that, set to other values, change the prediction: differential evolution on the answers of ``predict``.

    .. math::
        \min_\delta \; p_y(x + \delta) \text{ (untargeted)}, \quad \max_\delta \; p_{target}(x + \delta) \text{ (targeted)},
        \quad \text{with at most } pixels \text{ pixels of } \delta \text{ not zero.}

    A candidate holds (row, column, a value per channel) for each pixel. Candidates are compared by the label's log-odds, which order them
    as its probability does and never saturate. Rows and columns are numbers in [0, H) and [0, W), rounded down: every pixel is as likely
    as another, and none lies outside. Values come from all of ``bounds``; a mutant beyond a bound is set to it, so black and white are
    reached exactly.

    All images evolve at once, a population each, and an image leaves with its first generation that holds a success. They share their
    random numbers (common random numbers): so the batch draws no more than one image does, and an image's result is the one that it
    would have alone with the same seed.

    Parameters
    ----------
    predict
        From images to logits or probabilities ``(N, K)``; nothing else is asked of it. Rows that are >= 0 and add up to 1 are taken for
        probabilities. Logits are better: of probabilities that were rounded to 0 and 1, none is better than another.
    x
        Images ``(N, H, W, C)``, or ``(N, D)``, D pixels in a row; float32 or float64, inside ``bounds``.
    y, target
        Exactly one: the labels to get away from, or those to reach; integers ``(N,)`` or one for all.
    pixels
        How many pixels may change; all channels of one place are one pixel. Where two of a candidate's pixels meet, the later wins.
    population
        Candidates per image, at least 4. The paper takes 400, document D 5,000.
    generations
        Populations evaluated per image at most, the first, random one included. The paper takes up to 100, document D 400.
    mutation, recombination, strategy
        As for :func:`~minadv.attacks.evolution.differential_evolution`. Recombination 1 takes the whole mutant, as both documents do.
    rng
        A generator or a seed.
    bounds
        The least and the largest pixel value.
    progress
        Whether to show a bar of the generations.

    Returns
    -------
    AttackResult
        ``steps``: generations used, 0 for an image that succeeds already and is returned unchanged. Where none succeeded, ``x_adv`` is the
        best candidate. ``queries``: ``population * steps``, and two more, for the image as it came and for ``x_adv``.

    Raises
    ------
    ValueError, TypeError
        If an argument, or what ``predict`` returns, is not as said here.
    """
    if not callable(predict):
        raise TypeError(f"predict must be callable, got {type(predict).__name__}")
    low, high = check_images(x, bounds)
    goal = Goal.of(x, y=y, target=target)
    generations = check_count("generations", generations)
    xp = array_module(x)
    grid = H, W, C = x.shape[1:] if x.ndim == 4 else (1, *x.shape[1:], 1)
    if check_count("pixels", pixels) > H * W:
        raise ValueError(f"pixels must be <= {H * W}, all that an image has, got {pixels}")
    lowest = np.tile(np.array([0, 0, *[low] * C], x.dtype), pixels)  # (pixels·(2 + C),)
    highest = np.tile(
        np.array([below(H, x.dtype), below(W, x.dtype), *[high] * C], x.dtype), pixels
    )
    settings = {
        "population": population,
        "mutation": mutation,
        "recombination": recombination,
        "strategy": strategy,
        "rng": rng,
    }
    evolution = Evolution(like(lowest, x), like(highest, x), problems=(len(x),), **settings)

    answer = partial(ask, predict)
    block = max(VALUES_PER_CALL // (H * W * C), 1)
    answers = in_blocks(answer, x, block=block)  # (N, K)
    goal.check_range(answers.shape[1])
    to_logits = log_probabilities if are_probabilities(answers) else unchanged

    def objective(genes, owner):  # (n, D), (n,) -> (n,)
        answers = answer(paint(x[owner], genes, grid))
        aim = goal[owner]
        return xp.where(
            aim.reached(answers.argmax(axis=1)), -xp.inf, -aim.score(to_logits(answers))
        )  # no score beats success

    x_adv, steps = x.copy(), xp.zeros(len(x), dtype=int)
    unsolved = ~goal.reached(answers.argmax(axis=1))
    image = xp.flatnonzero(unsolved)  # (B,), those still searched for
    evolution.keep(unsolved)
    for generation in trange(
        1, generations + 1, desc="one-pixel generations", disable=not progress
    ):
        if len(image) == 0:
            break
        trials = evolution.ask()  # (B, P, D)
        B, P, D = trials.shape
        values = in_blocks(objective, trials.reshape(B * P, D), xp.repeat(image, P), block=block)
        evolution.tell(trials, values.reshape(B, P))
        best, value = evolution.best()
        x_adv[image] = paint(x[image], best, grid)
        steps[image] = generation
        unsolved = value > -xp.inf
        image = image[unsolved]
        evolution.keep(unsolved)

    label = in_blocks(answer, x_adv, block=block).argmax(axis=1)
    return AttackResult(x, x_adv, label, goal.reached(label), steps, queries=2 + population * steps)


def paint(images, genes, grid):
    """``images``, ``(n, ...)``, with the pixels that ``genes`` ``(n, pixels·(2 + C))`` name set, in place; the later pixel wins."""
    xp = array_module(images)
    n, C = len(images), grid[-1]
    canvas = images.reshape(n, *grid)  # a view: at most axes of length 1 are added
    each = xp.arange(n)
    for pixel in genes.reshape(n, -1, 2 + C).swapaxes(0, 1):  # (n, 2 + C)
        row, column = pixel[:, 0].astype(int), pixel[:, 1].astype(int)
        canvas[each, row, column] = pixel[:, 2:]
    return images


def below(count: int, dtype):
    """The largest number below ``count``: rounded down it is the last index, ``count - 1``."""
    return np.nextafter(np.dtype(dtype).type(count), np.dtype(dtype).type(0))


def in_blocks(f, *arrays, block):
    """``f(*arrays)``, one block of examples after the other: so memory stays bounded, and ``predict`` is never asked twice at once."""
    parts = [
        f(*(a[i : i + block] for a in arrays)) for i in range(0, max(len(arrays[0]), 1), block)
    ]
    return array_module(*parts).concatenate(parts)


def ask(predict, images):
    """The answers ``(n, K)`` of ``predict``, checked. A model of this package runs on all cores; any other callable is called once."""
    if is_thread_safe(predict):
        answers = in_chunks(predict, predict, images)
    else:
        answers = like(on_a_copy(predict)(images), images)
    return check_logits(answers, len(images))


def log_probabilities(p):
    """Logits of the probabilities ``p``: the softmax of log p is p. A probability of 0 counts as the least above it."""
    xp = array_module(p)
    return xp.log(xp.maximum(p, xp.finfo(p.dtype).tiny))


def unchanged(logits):
    return logits
