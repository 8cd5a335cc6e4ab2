"""Detection: divergences by loops and SciPy, thresholds left one out, and the guarded model where
rounding is at its worst."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minadv import gradcheck
from minadv.attacks.pgd import pgd
from minadv.backend import to_numpy
from minadv.defenses.detection import (
    FLOOR,
    Detector,
    Guarded,
    divergence,
    reconstruction_score,
    threshold_at,
)
from minadv.defenses.vae import VAE
from minadv.models import mlp
from tests.strategies import float_arrays, images


@pytest.fixture
def pair():
    rng = np.random.default_rng(0)
    return rng.random((3, 4, 4, 1)), rng.random((3, 4, 4, 1))


# --- divergence


def test_divergence_by_hand():
    """Ink 3 : 1 against 1 : 1 is log 2 − H(1/4), but for the 0.0001 that each pixel has more."""
    x, made = np.array([[0.75, 0.25]]), np.array([[0.5, 0.5]])
    p = [(0.75 + FLOOR) / (1 + 2 * FLOOR), (0.25 + FLOOR) / (1 + 2 * FLOOR)]
    expected = math.log(2) + sum(q * math.log(q) for q in p)
    np.testing.assert_allclose(divergence(x, made), [expected])
    assert expected == pytest.approx(0.130812, abs=1e-3)


@given(
    images(dtype=np.float64).flatmap(
        lambda x: st.tuples(st.just(x), float_arrays(x.shape, np.float64, 0, 1))
    )
)
def test_divergence_agrees_with_scipy(both):
    entropy = pytest.importorskip("scipy.stats").entropy
    x, made = both
    flat = [images.reshape(len(x), -1) + FLOOR for images in both]
    np.testing.assert_allclose(divergence(x, made), entropy(*flat, axis=1), rtol=1e-6, atol=1e-12)


@given(images())
def test_divergence_from_itself_is_zero_and_never_negative(x):
    rounding = 1e-5 if x.dtype == np.float32 else 1e-12
    np.testing.assert_allclose(divergence(x, x), 0, atol=rounding)
    assert (divergence(x, x[..., ::-1]) >= -rounding).all()


def test_divergence_is_of_the_input_from_the_reconstruction(pair):
    """Ink where the reconstruction has none costs much; a reconstruction's ink where the input has
    none, little."""
    line, nothing_there = np.zeros((1, 8, 8, 1)), np.full((1, 8, 8, 1), 0.5)
    line[:, 3] = 1
    nothing_there[:, 3] = 0
    assert divergence(line, nothing_there)[0] > 8
    half = line / 2 + np.roll(line, 1, axis=1) / 2
    np.testing.assert_allclose(divergence(line, half), math.log(2), atol=0.02)
    assert divergence(half, line)[0] > 3
    gradcheck(divergence, *(0.1 + image for image in pair))


def test_divergence_runs_where_the_images_are(xp, pair):
    here = divergence(*pair)
    there = divergence(*map(xp.asarray, pair))
    np.testing.assert_allclose(to_numpy(there), here)
    assert divergence(*(image.astype(np.float32) for image in pair)).dtype == np.float32


# --- threshold


def flagged(scores: list, rate: float) -> int:
    """How many of n + 1 scores exceed the threshold found from the other n."""
    others = [np.array(scores[:i] + scores[i + 1 :], float) for i in range(len(scores))]
    return sum(score > threshold_at(rest, rate) for score, rest in zip(scores, others, strict=True))


@given(st.permutations(range(12)), st.integers(1, 11))
def test_threshold_left_one_out_is_exceeded_by_exactly_the_stated_share(scores, count):
    assert flagged(scores, count / 12) == count
    if count < 11:
        assert flagged(scores, (count + 0.9) / 12) == count


@given(st.lists(st.integers(0, 4), min_size=2, max_size=15), st.floats(0.01, 1))
def test_threshold_left_one_out_with_ties(scores, rate):
    n = len(scores) - 1
    if rate * (n + 1) < 1:
        with pytest.raises(
            ValueError, match=rf"at least 1 / \(n \+ 1\) = {1 / (n + 1):.3g} with n = {n} scores"
        ):
            threshold_at(np.array(scores[:-1], float), rate)
    else:
        assert flagged(scores, rate) <= rate * (n + 1)


@given(float_arrays(st.integers(1, 30).map(lambda n: (n,))), st.floats(0.5, 1))
def test_threshold_is_one_of_the_scores(scores, rate):
    threshold = threshold_at(scores, rate)
    assert threshold in scores.tolist()
    n, exceeding = len(scores), int((scores > threshold).sum())
    assert (exceeding + 1) / (n + 1) <= rate  # as if the next one exceeded it, too
    lower = scores[scores < threshold]
    if len(lower):  # the next score down would promise too little
        assert ((scores > lower.max()).sum() + 1) / (n + 1) > rate


def test_threshold_keeps_its_rate_on_fresh_images():
    """Of 400 calibrations on 99 clean scores each: 5 % of fresh ones exceed the threshold, and the
    share varies as it must."""
    rng = np.random.default_rng(0)
    fresh = np.sort(rng.gamma(2, size=100_000))
    thresholds = [threshold_at(rng.gamma(2, size=99), 0.05) for _ in range(400)]
    rates = 1 - np.searchsorted(fresh, thresholds, side="right") / len(fresh)
    assert rates.mean() == pytest.approx(
        0.05, abs=4 * math.sqrt(0.05 * 0.95 / 101 / 400)
    )  # the share is Beta(5, 95)
    assert rates.std() == pytest.approx(math.sqrt(0.05 * 0.95 / 101), rel=0.15)


def test_threshold_at_the_ends():
    scores = np.array([3.0, 1.0, 2.0, 5.0])
    assert threshold_at(scores, 1) == 1
    assert threshold_at(scores, 0.2) == 5
    assert threshold_at(scores, 0.4) == 3
    assert threshold_at(np.array([7.0]), 0.5) == 7
    assert threshold_at(np.full(9, 2.0), 0.1) == 2
    assert threshold_at(np.arange(99.0), 0.29) == 70  # 29 / 100: no rounding on the way
    assert scores.tolist() == [3, 1, 2, 5]
    for rate in (0, 0.19):
        with pytest.raises(
            ValueError,
            match=r"false_positive_rate must be at least 1 / \(n \+ 1\) = 0.2 with n = 4 scores",
        ):
            threshold_at(scores, rate)


# --- detector


def brightness(x):
    return x.mean(axis=(1, 2, 3))


def test_detector_fires_above_its_threshold(xp):
    x = xp.asarray(
        np.linspace(0, 1, 600, dtype=np.float32)[:, None, None, None]
        * np.ones((1, 2, 2, 1), np.float32)
    )
    detector = Detector(brightness, 0.5)
    np.testing.assert_allclose(to_numpy(detector.scores(x)), np.linspace(0, 1, 600), rtol=1e-6)
    assert to_numpy(detector(x)).tolist() == [False] * 300 + [True] * 300
    assert detector(x[:0]).shape == (0,)
    at_threshold = Detector(brightness, float(brightness(x)[300]))
    assert int(at_threshold(x).sum()) == 299


def test_detector_does_not_depend_on_the_batch():
    vae = VAE((8, 8, 1), filters=(2, 3), hidden=4)
    x = np.random.default_rng(0).random((700, 8, 8, 1), dtype=np.float32)  # several chunks
    detector = Detector(reconstruction_score(vae), 0.3)
    one_by_one = np.concatenate([detector.scores(x[i : i + 1]) for i in range(0, 700, 50)])
    np.testing.assert_allclose(detector.scores(x)[::50], one_by_one, rtol=1e-5)
    np.testing.assert_allclose(detector.scores(x), divergence(x, vae.reconstruct(x)), rtol=1e-5)


def test_detector_calibrated_on_real_scores(xp):
    vae = VAE((8, 8, 1), filters=(2, 3), hidden=4)
    x = xp.asarray(np.random.default_rng(0).random((99, 8, 8, 1), dtype=np.float32))
    detector = Detector.calibrated(reconstruction_score(vae), x, false_positive_rate=0.05)
    assert int(detector(x).sum()) == 4  # (4 + 1) / (99 + 1)
    assert type(detector.threshold) is float
    with pytest.raises(dataclasses.FrozenInstanceError):
        detector.threshold = 2.0


# --- classifier and detector as one

LARGE = st.floats(-(2.0**100), 2.0**100, width=32)


@given(
    logits=st.lists(st.lists(LARGE, min_size=3, max_size=3), min_size=1, max_size=5),
    threshold=st.sampled_from([0.0, -0.25, 1e-6, 0.3, 1e4]) | st.floats(-100, 100),
    away=st.integers(-2, 2),
    sharpness=st.sampled_from([1.0, 10.0, 1e4]),
)
def test_the_last_class_wins_exactly_where_the_detector_fires(logits, threshold, away, sharpness):
    """Also one float away from the threshold, beside logits of 2^100, of which a small number more
    would be rounded off."""
    logits = np.array(logits, np.float32)
    score = np.float32(threshold)
    for _ in range(abs(away)):
        score = np.nextafter(score, np.float32(math.copysign(math.inf, away)))
    detector = Detector(lambda x: np.full(len(x), score), threshold)
    x = np.zeros((len(logits), 1, 1, 1), np.float32)
    label = Guarded(lambda x: logits, detector, sharpness=sharpness)(x).argmax(axis=1)
    assert detector(x).tolist() == [away > 0] * len(x)
    np.testing.assert_array_equal(label, np.where(away > 0, 3, logits.argmax(axis=1)))


def test_guarded_value_and_gradient(pair):
    """The classifier's logits less the largest, then the weighed excess; and nothing that cannot be
    differentiated."""
    vae = VAE((4, 4, 1), filters=(2, 3), hidden=4, dtype=np.float64)
    model = mlp((4, 4, 1), 3, hidden=5, dtype=np.float64)
    detector = Detector(reconstruction_score(vae), 0.4)
    x = pair[0]
    both = Guarded(model, detector, sharpness=7.0)(x)
    z = model(x)
    np.testing.assert_allclose(both[:, :3], z - z.max(axis=1, keepdims=True))
    np.testing.assert_allclose(both[:, 3], 7 * (detector.scores(x) - 0.4))
    gradcheck(Guarded(model, detector, sharpness=7.0), x)


def test_an_attack_on_the_pair_fools_both(xp):
    """The classifier says 1 if the lower half is bright, the detector stops what is bright on the
    whole: so darken the upper half."""
    x = xp.asarray(np.full((6, 2, 2, 1), 0.5, np.float32))
    weight = xp.asarray(np.float32([[0, 0], [0, 0], [0, 1], [0, 1]]))
    bias = xp.asarray(np.float32([0, -1.05]))

    def lower_half(x):
        return x.reshape(len(x), 4) @ weight + bias

    guarded = Guarded(lower_half, Detector(brightness, 0.5))
    alone = pgd(lower_half, x, target=1, eps=0.1, random_start=False, early_stop=False).x_adv
    assert to_numpy(lower_half(alone).argmax(axis=1)).tolist() == [1] * 6
    assert to_numpy(guarded(alone).argmax(axis=1)).tolist() == [2] * 6
    together = pgd(guarded, x, target=1, eps=0.1, random_start=False).x_adv
    assert to_numpy(lower_half(together).argmax(axis=1)).tolist() == [1] * 6
    assert not bool(guarded.detector(together).any())


# --- bad input


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda x: divergence(x, x[:, :3]),
            ValueError,
            r"reconstruction must have the shape of x, \(3, 4, 4, 1\), got \(3, 3, 4, 1\)",
        ),
        (
            lambda x: threshold_at(np.ones(3), "0.1"),
            TypeError,
            "false_positive_rate must be a number",
        ),
        (
            lambda x: threshold_at(np.ones(3), -0.1),
            ValueError,
            "false_positive_rate must be >= 0, got -0.1",
        ),
        (
            lambda x: threshold_at(np.ones(3), 5),
            ValueError,
            "false_positive_rate must be <= 1, got 5",
        ),
        (
            lambda x: threshold_at(np.ones(3), math.nan),
            ValueError,
            "false_positive_rate must be finite",
        ),
        (lambda x: threshold_at(np.ones(0), 0.5), ValueError, "with n = 0 scores"),
        (
            lambda x: threshold_at(np.ones((3, 1)), 0.5),
            ValueError,
            r"scores must be finite numbers \(N,\), got shape \(3, 1\)",
        ),
        (lambda x: threshold_at(np.array([1, math.nan]), 0.5), ValueError, "some not finite"),
        (lambda x: Detector(brightness, math.inf), ValueError, "threshold must be finite"),
        (lambda x: Detector(brightness, None), TypeError, "threshold must be a number"),
        (
            lambda x: Detector(lambda x: brightness(x) * math.nan, 1.0)(x),
            ValueError,
            "some not finite",
        ),
        (
            lambda x: Detector(lambda x: x, 1.0)(x),
            ValueError,
            r"scores must be finite numbers \(N,\), got shape \(3, 4, 4, 1\)",
        ),
        (
            lambda x: Detector(lambda x: x.reshape(-1), 1.0)(x),
            ValueError,
            r"score must return one number per image, \(3,\)",
        ),
        (
            lambda x: Guarded(mlp, Detector(brightness, 1.0), sharpness=0),
            ValueError,
            "sharpness must be > 0, got 0",
        ),
        (
            lambda x: Guarded(mlp, Detector(brightness, 1.0), sharpness="1"),
            TypeError,
            "sharpness must be a number",
        ),
    ],
)
def test_bad_input(pair, call, error, message):
    with pytest.raises(error, match=message):
        call(pair[0])
