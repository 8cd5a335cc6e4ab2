"""The Square attack: random search with squares, on a model of which only the answers are seen.

Andriushchenko, Croce, Flammarion & Hein 2020, *Square Attack: a query-efficient black-box
adversarial attack via random search*.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import numpy as np
from tqdm import trange

from minadv.attacks.balls import BALLS, Ball, L2Ball
from minadv.attacks.black_box import BlackBox
from minadv.attacks.goal import Goal, Labels
from minadv.attacks.pixels import grid
from minadv.attacks.result import AttackResult
from minadv.attacks.scores import lead
from minadv.backend import Array, array_module, like
from minadv.checks import (
    check_choice,
    check_count,
    check_flag,
    check_images,
    check_number,
    check_rng,
)

# The paper's schedule: after so many of 10,000 steps the share of pixels in a square is halved.
HALVINGS = (10, 50, 200, 1000, 2000, 4000, 6000, 8000)
TILES = 5  # along each side of the first change under L2


def square(
    predict: Callable,
    x: Array,
    *,
    y: Labels | None = None,
    target: Labels | None = None,
    eps: float,
    norm: Literal["linf", "l2"] = "linf",
    steps: int = 5000,
    share: float = 0.8,
    rng: np.random.Generator | int = 0,
    bounds: tuple[float, float] = (0.0, 1.0),
    progress: bool = False,
) -> AttackResult:
    r"""Try a change in a random square, keep it if the model's answer gets worse, and repeat.

    .. math:: \hat x \leftarrow \hat x_{new} \text{ if } L(\hat x_{new}) < L(\hat x), \quad
        \hat x_{new} = \Pi_B(\hat x + \delta), \quad L = z_y - \max_{j \ne y} z_j

    B is the ball. Under :math:`L_\infty` every pixel of the square moves to the end of the ball,
    up or down by channel; the first change consists of vertical stripes. Under :math:`L_2`, change
    is taken from another square and put into this one. With ``target``, L is minus its log-odds.
    No gradient is asked for, so no masked one can mislead it.

    Parameters
    ----------
    predict
        From images to logits or probabilities (N, K); nothing else is used of it.
    eps, norm
        ε >= 0, the radius of the ball under ``"linf"`` or ``"l2"``. It holds as real numbers.
    steps
        How many candidates are tried at most, the first change included, >= 1.
    share
        The share of the pixels in the first squares, in (0, 1]. It is halved eight times.
    rng
        A generator or a seed. Squares and signs are drawn for all images alike. Thus an image's
        result does not depend on the rest of the batch.
    progress
        Whether to show a bar of the steps.
    x, y, target, bounds
        What all attacks share, and what they raise: see :mod:`minadv.attacks`.

    Returns
    -------
    AttackResult
        An image leaves with its first success. ``steps`` counts candidates, ``queries`` is
        ``steps + 2``. A failure is the best candidate.
    """
    bounds = check_images(x, bounds)
    goal = Goal.of(x, y=y, target=target)
    check_choice("norm", norm, *BALLS)
    ball = BALLS[norm](x, eps, bounds)
    steps, share = check_count("steps", steps), check_number("share", share, above=0, most=1)
    rng, progress = check_rng(rng), check_flag("progress", progress)
    xp, ask = array_module(x), BlackBox(predict, x, goal)
    first, then = FIRST_AND_THEN[norm]

    x_adv, taken = x.copy(), xp.zeros(len(x), dtype=int)
    highest = xp.full(len(x), -np.inf)  # −l*
    running = xp.flatnonzero(~goal.reached(ask.label))
    for i in trange(steps, desc="square", disable=not progress):  # algorithm 1, line 2
        if not len(running):
            break
        part, aim = ball[running], goal[running]
        h, w = sides(share, i / steps, x)  # line 3
        z = (then if i else first)(x_adv[running], part, h, w, rng)  # lines 4 and 5
        answers = ask.in_blocks(ask.answers, z)
        logits = ask.logits(answers)
        score = aim.score(logits) if goal.targeted else lead(aim, logits)  # line 6
        reached = aim.reached(answers.argmax(axis=1))
        better = (score > highest[running]) | reached  # line 7
        x_adv[running[better]], highest[running[better]] = z[better], score[better]
        taken[running] += 1
        running = running[~reached]

    label = ask.of(x_adv).argmax(axis=1)
    return AttackResult(x, x_adv, label, goal.reached(label), taken, queries=taken + 2)


def sides(share: float, past: float, x: Array) -> tuple[int, int]:
    """Height and width of the square when the share ``past`` of all steps is over.

    The side is limited by a smaller side of the image; then the square becomes a rectangle.
    """
    (H, W, _), halved = grid(x), sum(past * 10_000 > step for step in HALVINGS)
    side = math.sqrt(share / 2**halved * H * W)
    h, w = round(side * max(side / W, 1)), round(side * max(side / H, 1))
    return min(max(h, 1), H), min(max(w, 1), W)


def anywhere(rng, x: Array, h: int, w: int) -> tuple[slice, slice]:
    """A window of h by w pixels, uniformly drawn."""
    H, W, _ = grid(x)
    r, s = rng.integers(H - h + 1), rng.integers(W - w + 1)
    return slice(r, r + h), slice(s, s + w)


def canvas(z: Array) -> Array:
    """``z`` as (n, H, W, C), a copy."""
    return z.copy().reshape(len(z), *grid(z))


# --- the L∞ ball


def stripes(z: Array, ball: Ball, h: int, w: int, rng) -> Array:
    """Vertical stripes, one pixel wide, each at an end of the ball by channel."""
    _, W, C = grid(z)
    up = like(rng.random((1, 1, W, C)) < 0.5, z)
    low, high = canvas(ball.low), canvas(ball.high)
    return array_module(z).where(up, high, low).reshape(z.shape)


def square_of_one_sign(z: Array, ball: Ball, h: int, w: int, rng) -> Array:
    """Algorithm 2: a square at an end of the ball, by channel.

    Where an image has these values already, it gets those of the other ends: no query is wasted.
    """
    xp, (rows, columns), C = array_module(z), anywhere(rng, z, h, w), grid(z)[2]
    up = like(rng.random((1, 1, 1, C)) < 0.5, z)
    low, high = (canvas(end)[:, rows, columns] for end in (ball.low, ball.high))
    new = canvas(z)
    values = xp.where(up, high, low)
    same = (new[:, rows, columns] == values).all(axis=(1, 2, 3), keepdims=True)
    new[:, rows, columns] = xp.where(same, xp.where(up, low, high), values)
    return new.reshape(z.shape)


# --- the L2 ball


def tiles(z: Array, ball: L2Ball, h: int, w: int, rng) -> Array:
    """A change of size ε: five by five tiles, each a pair of bumps of opposite sign."""
    H, W, C = grid(z)
    change = np.zeros((H, W, C))
    for rows in np.array_split(np.arange(H), min(TILES, H)):
        for columns in np.array_split(np.arange(W), min(TILES, W)):
            sign = rng.choice([-1.0, 1.0], C)
            change[np.ix_(rows, columns)] = bumps(len(rows), len(columns), rng)[..., None] * sign
    change *= ball.eps / np.linalg.norm(change)
    return ball.project(z + like(change.astype(z.dtype), z).reshape(z.shape[1:]))


def moved_square(z: Array, ball: L2Ball, h: int, w: int, rng) -> Array:
    """Algorithm 3: all change of one square, and what ε has left, goes to another as bumps."""
    xp, C = array_module(z), grid(z)[2]
    to, off = anywhere(rng, z, h, w), anywhere(rng, z, h, w)
    sign = like(rng.choice([-1.0, 1.0], C), z)
    nu = canvas(z.astype(np.float64) - ball.x)  # line 1
    unused = xp.maximum(ball.eps**2 - (nu**2).sum(axis=(1, 2, 3)), 0)[:, None]  # line 4
    either = xp.zeros(grid(z)[:2], dtype=bool)
    either[to] = either[off] = True
    old = nu[:, *to]
    mixed = like(bumps(h, w, rng), z)[:, :, None] * sign + unit(old)  # line 7
    available = xp.sqrt((nu[:, either] ** 2).sum(axis=1) + unused / C)  # (n, C), line 8
    nu[:, *off] = 0  # line 9
    nu[:, *to] = unit(mixed) * available[:, None, None]
    return ball.project((ball.x + nu.reshape(z.shape)).astype(z.dtype))  # line 10


def unit(a: Array) -> Array:
    """``a``, (n, h, w, C), with each channel of each image divided by its L2 size."""
    size = array_module(a).sqrt((a**2).sum(axis=(1, 2), keepdims=True))
    return a / (size + (size == 0))


def bumps(h: int, w: int, rng) -> np.ndarray:
    """Equation 2: two bumps of opposite sign side by side, or one above the other; of L2 size 1."""
    if rng.random() < 0.5:
        eta = np.concatenate([bump(h, w // 2), -bump(h, w - w // 2)], axis=1)
    else:
        eta = np.concatenate([bump(h // 2, w), -bump(h - h // 2, w)], axis=0)
    return eta / np.linalg.norm(eta)


def bump(h: int, w: int) -> np.ndarray:
    """Highest in the middle, falling towards the edges."""
    n = max(h, w) // 2
    from_middle = [abs(np.arange(side) - side // 2) for side in (h, w)]
    M = n - np.maximum(from_middle[0][:, None], from_middle[1])
    return np.cumsum(1 / (n + 1 - np.arange(n + 1.0)) ** 2)[M]


FIRST_AND_THEN: dict[str, tuple[Callable, Callable]] = {
    "linf": (stripes, square_of_one_sign),
    "l2": (tiles, moved_square),
}
