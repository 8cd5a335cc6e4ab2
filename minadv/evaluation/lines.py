"""The lines of the checklist: each repeats the attack with one thing changed."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from minadv import inference, losses, models
from minadv.attacks.pgd import pgd
from minadv.backend import array_module, like
from minadv.evaluation.trial import Trial
from minadv.evaluation.watching import Watched
from minadv.numerics import length_and_direction, rows
from minadv.training import fit

LOOKED_AT = 16  # images whose gradients are compared with queries
DIRECTIONS = 64  # random directions for each
# A step in all pixel values at once, in widths of the bounds: the slope of a network of ReLU hardly
# changes on the way, and a difference of logits keeps four digits in float32.
STEP = 1e-3
PARALLEL = 0.9  # the least cosine of two gradients that agree
EPOCHS = 20  # of the substitute


@dataclass(frozen=True)
class Line:
    """One line of the checklist.

    ``passed``: True, False, or None where the attack cannot be asked. ``found``: what was measured,
    in words; ``numbers``: the same, by name; shares from 0 to 1. ``meaning``: what it means if the
    line fails.
    """

    name: str
    passed: bool | None
    found: str
    meaning: str
    numbers: dict[str, float] = field(default_factory=dict)


def zero_gradients(t: Trial, slack: float) -> Line:
    """One step of the attack, watched."""
    watched = Watched(t.model)
    t.images(watched, steps=1)
    share = watched.zero_share()
    meaning = "A gradient of zero moves nothing: the attack never started."
    if share is None:
        return Line("zero gradients", None, "the attack asks for no gradient", meaning)
    found = f"{share:.1%} of the gradients are exactly zero"
    return Line("zero gradients", share <= slack, found, meaning, {"zero": share})


def gradient(t: Trial, rng: np.random.Generator) -> Line:
    """The gradient that the attack follows, along random directions, against queries."""
    meaning = "What the attack follows is not the slope of this model's margin."
    cosines = []
    for i in range(min(LOOKED_AT, len(t.x))):
        watched = Watched(t.model)
        t.images(watched, t.x[i : i + 1], t.y[i : i + 1], steps=1)
        if watched.seen:
            cosines.append(_cosine(t, *watched.seen[0], t.y[i], rng))
    if not cosines:
        return Line("gradient", None, "the attack asks for no gradient", meaning)
    cosine = float(np.median(cosines))
    found = f"cosine {cosine:.3f} with the slope that queries show (median)"
    return Line("gradient", cosine >= PARALLEL, found, meaning, {"cosine": cosine})


def _cosine(t: Trial, x, g, label, rng) -> float:
    r"""How parallel :math:`g^\top d` and :math:`m(x + d/2) - m(x - d/2)` are, over random d.

    With an angle α between g and the margin's gradient this is near cos α. A loss may rise or fall
    with the margin, so the sign is left out.
    """
    xp, (low, high) = array_module(x), t.bounds
    signs = like(rng.choice([-1.0, 1.0], (DIRECTIONS, *x.shape[1:])), x)
    step = (STEP * (high - low) * signs).astype(x.dtype)
    above, below = xp.clip(x + step, low, high), xp.clip(x - step, low, high)
    labels = xp.full(DIRECTIONS, int(label))
    m = [losses.margin(inference.logits(t.model, images), labels) for images in (above, below)]
    measured = (m[0].astype(float) - m[1]).reshape(1, -1)
    moved = rows(above.astype(float) - below)
    direction = length_and_direction(rows(g).astype(float))[1][0]
    expected = (moved @ direction).reshape(1, -1)
    one, other = length_and_direction(measured)[1], length_and_direction(expected)[1]
    return abs(float((one * other).sum()))


def bound(t: Trial, images) -> Line:
    """The size of the changes, measured."""
    difference = rows(images.astype(float) - t.x)
    sizes = length_and_direction(difference)[0] if t.norm == "l2" else abs(difference)
    largest, low, high = float(sizes.max()), *t.bounds
    spare = 1e-6 * (high - low)  # other code's rounding
    inside = float(images.min()) >= low - spare and float(images.max()) <= high + spare
    found = f"changes of at most {largest:.6g}, " + ("inside" if inside else "OUTSIDE") + " bounds"
    meaning = "What leaves the ball or the bounds is no success at this eps."
    passed = inside and largest <= t.eps + spare
    return Line("the ball", passed, found, meaning, {"largest": largest})


def more_steps(t: Trial, slack: float, steps: int, base: float) -> Line:
    """One step, as many as given, and twice as many."""
    meaning = "An attack that gets weaker by going on does not climb the loss."
    if "steps" not in t.settings:
        return Line("more steps", None, "the attack takes no steps=", meaning)
    counts = sorted({1, steps, 2 * steps})
    left = [base if n == steps else t.left(steps=n) for n in counts]
    return _never_rises("more steps", [f"{n}" for n in counts], left, slack, meaning, "steps")


def larger_eps(t: Trial, slack: float, base: float, unbounded: float) -> Line:
    """Half of eps, eps, twice eps, and no bound at all."""
    sizes = sorted({min(t.eps * factor, t.unbounded) for factor in (0.5, 1, 2)} | {t.unbounded})
    left = [base if e == t.eps else unbounded if e == t.unbounded else t.left(eps=e) for e in sizes]
    meaning = "A larger ball holds the smaller one, so the attack misses what is there."
    return _never_rises("larger eps", [f"{e:.3g}" for e in sizes], left, slack, meaning, "eps")


def _never_rises(name, at: list[str], left: list[float], slack, meaning, what) -> Line:
    rise = max([b - a for a, b in zip(left, left[1:], strict=False)], default=0.0)
    found = f"{' -> '.join(f'{a:.1%}' for a in left)} right at {what} {', '.join(at)}"
    numbers = {f"{what}={a}": share for a, share in zip(at, left, strict=True)}
    return Line(name, rise <= slack, found, meaning, numbers)


def no_bound(t: Trial, slack: float, left: float) -> Line:
    """Any image may be made of any other."""
    found = f"{left:.1%} stay right at eps = {t.unbounded:.3g}, where any image may be made"
    meaning = "Without a bound every label can be reached, so the attack is broken."
    return Line("no bound", left <= slack, found, meaning, {"left": left})


def restarts(t: Trial, slack: float, survivors, seeds: list[int]) -> Line:
    """The same attack from other seeds."""
    meaning = "The attack stops at local optima: give it more restarts before believing it."
    if "rng" not in t.settings:
        return Line("restarts", None, "the attack takes no rng=", meaning)
    left = survivors
    for seed in seeds:
        left = left & t.survive(t.images(rng=seed))
    gain = t.of_all(survivors) - t.of_all(left)
    found = f"{len(seeds)} more starts find {gain:.1%} more of the images"
    return Line("restarts", gain <= slack, found, meaning, {"gain": gain})


def transfer(t: Trial, slack: float, base: float, substitute, steps: int, seed: int) -> Line:
    """Images made by PGD for another network, shown to this one."""
    if substitute is None:
        substitute = trained_on_answers(t, seed)
    made = pgd(
        substitute,
        t.x,
        y=t.y,
        eps=t.eps,
        steps=steps,
        early_stop=False,
        norm=t.norm,
        bounds=t.bounds,
        rng=seed,
    )
    left = t.of_all(t.survive(made.x_adv))
    found = f"{left:.1%} stay right under images made for another network, {base:.1%} under this"
    meaning = "Who sees the weights cannot do worse than who does not: the gradient is masked."
    return Line("transfer", left >= base - slack, found, meaning, {"left": left})


def trained_on_answers(t: Trial, seed: int):
    """A small network that has learned the model's labels of the images given (Papernot 2017)."""
    substitute = models.mlp(t.every.shape[1:], t.classes, rng=seed, dtype=t.every.dtype)
    own = substitute.parameters
    substitute.parameters = {name: like(value, t.every) for name, value in own.items()}
    labels = inference.predict(t.model, t.every)
    fit(substitute, t.every, labels, epochs=EPOCHS, rng=seed, progress=False)
    return substitute


def noise(t: Trial, slack: float, base: float, draws: int, rng: np.random.Generator) -> Line:
    """Steps of full length in random directions."""
    ball = t.ball(t.x, t.eps, t.bounds)
    left = t.survive(t.x)
    for _ in range(draws):
        drawn = like(rng.standard_normal(t.x.shape).astype(t.x.dtype), t.x)
        step = (t.eps * ball.steepest(drawn)).astype(t.x.dtype)
        left = left & t.survive(ball.project(t.x + step))
    share = t.of_all(left)
    found = f"{share:.1%} stay right under the worst of {draws} draws, {base:.1%} under the attack"
    meaning = "A search that is beaten by chance searches in the wrong place."
    return Line("random noise", share >= base - slack, found, meaning, {"left": share})
