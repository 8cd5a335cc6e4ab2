"""Resizing against exact fractions and PyTorch, and the wrapper against all that it could draw."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minadv import ops
from minadv.attacks.fgsm import fgsm
from minadv.attacks.pgd import pgd
from minadv.autograd import gradcheck, vjp
from minadv.backend import array_module, to_numpy
from minadv.defenses.resizing import RandomResizing, resize
from minadv.layers import Dense, Flatten, Sequential, Tanh
from minadv.models import cnn
from minadv.parallel import chunk_size
from tests.strategies import float_arrays, shapes

METHODS = ["nearest", "bilinear"]
sizes = st.integers(1, 12)


def images(shape=(2, 5, 4, 3), seed=0, dtype=np.float64):
    return np.random.default_rng(seed).uniform(size=shape).astype(dtype)


def smooth(shape, classes=3, dtype=np.float64, scale=1.0):
    rng = np.random.default_rng(0)
    dense = (
        Dense(int(np.prod(shape)), 6, rng=rng, dtype=dtype),
        Dense(6, classes, rng=rng, dtype=dtype),
    )
    dense[1].weight *= dtype(scale)
    return Sequential(Flatten(), dense[0], Tanh(), dense[1])


def exact_weights(old: int, new: int, method: str) -> list[dict[int, Fraction]]:
    """For each new pixel, which old pixels count how much: exact."""
    rows = []
    for i in range(new):
        center = (i + Fraction(1, 2)) * old / new
        if method == "nearest":
            rows.append({int(center): Fraction(1)})
            continue
        position = min(max(center - Fraction(1, 2), Fraction(0)), Fraction(old - 1))
        left = int(position)
        row = {left: 1 - (position - left)}
        if position > left:
            row[left + 1] = position - left
        rows.append(row)
    return rows


# --- resizing


@pytest.mark.parametrize("method", METHODS)
@given(old=st.tuples(sizes, sizes), new=st.tuples(sizes, sizes))
def test_each_pixel_is_the_weighted_sum_of_exact_fractions(method, old, new):
    x = images((1, *old, 1))
    by_row, by_column = (exact_weights(o, n, method) for o, n in zip(old, new, strict=True))
    expected = [
        [
            float(
                sum(
                    p * q * Fraction(x[0, i, j, 0])
                    for i, p in row.items()
                    for j, q in column.items()
                )
            )
            for column in by_column
        ]
        for row in by_row
    ]
    np.testing.assert_allclose(
        resize(x, new, method=method)[0, :, :, 0],
        expected,
        rtol=1e-14,
        atol=0 if method == "nearest" else 1e-15,
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ((5, 7), (5, 6)),
        ((8, 8), (7, 7)),
        ((28, 28), (25, 25)),
        ((6, 9), (13, 4)),
        ((1, 3), (4, 8)),
        ((331, 3), (299, 1)),
    ],
)
@pytest.mark.parametrize("method", METHODS)
def test_as_pytorch(method, old, new, dtype):
    torch = pytest.importorskip("torch")
    x = images((2, *old, 3), dtype=dtype)
    t = torch.from_numpy(x.transpose(0, 3, 1, 2).copy())
    how = (
        {"mode": "nearest-exact"}
        if method == "nearest"
        else {"mode": "bilinear", "align_corners": False}
    )
    expected = torch.nn.functional.interpolate(t, new, **how).numpy().transpose(0, 2, 3, 1)
    resized = resize(x, new, method=method)
    assert resized.dtype == dtype
    if method == "nearest":
        assert np.array_equal(resized, expected)
    else:  # PyTorch computes the places to look at in the images' own precision
        np.testing.assert_allclose(
            resized, expected, atol=1e-12 if dtype == np.float64 else 3e-7 * max(old)
        )


@pytest.mark.parametrize("method", METHODS)
@given(x=float_arrays(shapes(4, 4, 1, 4)))
def test_the_same_size_is_the_identity_bit_for_bit(method, x):
    assert resize(x, x.shape[1:3], method=method).tobytes() == x.tobytes()


@pytest.mark.parametrize("method", METHODS)
@given(x=float_arrays(shapes(4, 4, 1, 4), low=0.0, high=1.0), new=st.tuples(sizes, sizes))
def test_values_stay_within_those_of_the_image(method, x, new):
    x.flags.writeable = False
    resized = resize(x, new, method=method)
    assert (resized.shape, resized.dtype) == ((len(x), *new, x.shape[3]), x.dtype)
    room = 4 * np.finfo(x.dtype).eps if method == "bilinear" else 0
    low, high = x.min(axis=(1, 2)), x.max(axis=(1, 2))  # of each channel by itself
    assert (resized.min(axis=(1, 2)) >= low - room).all()
    assert (resized.max(axis=(1, 2)) <= high + room).all()


def test_a_ramp_stays_a_ramp():
    ramp = (
        np.tile((np.arange(8) + 0.5)[None, :, None, None], (1, 1, 3, 1)) / 8
    )  # the brightness at each pixel's center
    for new in (4, 6, 16):
        inside = slice(new // 8, -(new // 8) or None)  # beyond the outermost centers it is flat
        np.testing.assert_allclose(
            resize(ramp, (new, 3))[0, inside, 0, 0],
            ((np.arange(new) + 0.5) / new)[inside],
            rtol=1e-12,
        )


def test_mirror_images_are_resized_alike():
    x = images()
    for new in ((3, 7), (4, 4), (9, 2)):
        np.testing.assert_allclose(
            resize(x[:, ::-1, ::-1], new), resize(x, new)[:, ::-1, ::-1], rtol=1e-12
        )


@pytest.mark.parametrize("method", METHODS)
def test_gradients(method):
    x = images((1, 4, 3, 2))
    gradcheck(lambda x: resize(x, (3, 5), method=method), x)
    resized, pull = vjp(lambda x: resize(x, (7, 2), method=method), x)
    g = images(resized.shape, seed=1)
    np.testing.assert_allclose((resized * g).sum(), (x * pull(g)).sum(), rtol=1e-12)  # the adjoint
    _, pull = vjp(lambda x: resize(x, (4, 3), method=method), x)
    g = images(x.shape, seed=1)
    assert np.array_equal(pull(g), g)


# --- what is drawn


def all_views(x, shrunk, *, flips, method="bilinear"):
    """Every image that could be drawn: each size, each corner, flipped or not."""
    _, h, w, _ = x.shape
    for (rows, columns), flip in itertools.product(shrunk, flips):
        small = resize(x, (rows, columns), method=method)
        small = small[:, :, ::-1] if flip else small
        for top, left in itertools.product(range(h - rows + 1), range(w - columns + 1)):
            framed = np.zeros_like(x)
            framed[:, top : top + rows, left : left + columns] = small
            yield framed


@pytest.mark.parametrize(
    ("shape", "how", "shrunk", "flips"),
    [
        ((8, 8, 1), {}, [(7, 7)], (False, True)),
        ((8, 8, 2), {"flip": 0, "method": "nearest"}, [(7, 7)], (False,)),
        ((8, 8, 1), {"flip": 1}, [(7, 7)], (True,)),
        ((6, 6, 1), {"smallest": 0.5, "flip": 0}, [(3, 3), (4, 4), (5, 5)], (False,)),
        ((4, 8, 1), {"smallest": 0.5}, [(2, 4), (3, 6)], (False, True)),
        ((8, 3, 1), {"smallest": 0.7, "flip": 0}, [(6, 2), (7, 3)], (False,)),
        ((1, 1, 3), {}, [(1, 1)], (False,)),
        ((5, 5, 1), {"smallest": 1, "flip": 0}, [(5, 5)], (False,)),
        ((3, 3, 1), {"smallest": 0, "flip": 0}, [(1, 1), (2, 2)], (False,)),
    ],
)
def test_exactly_the_possible_views_are_drawn(shape, how, shrunk, flips):
    x = images((1, *shape))
    possible = [
        view.tobytes()
        for view in np.round(
            list(all_views(x, shrunk, flips=flips, method=how.get("method", "bilinear"))), 9
        )
        + 0.0
    ]
    drawn = np.round(RandomResizing(smooth(shape), shape, draws=400, **how).views(x), 9) + 0.0
    counts = dict.fromkeys(possible, 0)
    for view in drawn:
        counts[view.tobytes()] += 1  # a KeyError: no such view is possible
    assert min(counts.values()) > 0


def test_as_in_the_paper_the_sizes_are_299_to_330_of_331():
    defended = RandomResizing(smooth((331, 1, 1)), (331, 1, 1), draws=40)
    heights = defended.rows.any(axis=2).sum(axis=1)
    assert heights.min() >= 299
    assert heights.max() <= 330
    assert len(set(heights.tolist())) > 15


def test_sizes_corners_and_flips_are_equally_likely():
    defended = RandomResizing(
        smooth((6, 6, 1)), (6, 6, 1), draws=3000, smallest=0.5, method="nearest"
    )
    heights = defended.rows.any(axis=2).sum(axis=1)
    for size in (3, 4, 5):
        tops = defended.rows[heights == size].any(axis=2).argmax(axis=1)
        assert abs((heights == size).mean() - 1 / 3) < 0.05
        for top in range(7 - size):
            assert abs((tops == top).mean() - 1 / (7 - size)) < 0.08
    first = defended.columns.any(axis=2).argmax(axis=1)
    flipped = (
        defended.columns[np.arange(3000), first].argmax(axis=1) > 2
    )  # the leftmost column that is drawn is one of the right half
    assert abs(flipped.mean() - 0.5) < 0.05


def test_seeds_reproduce_and_differ():
    x, model = images((3, 8, 8, 1)), smooth((8, 8, 1))
    a, again, b = (
        RandomResizing(model, (8, 8, 1), rng=seed) for seed in (1, np.random.default_rng(1), 2)
    )
    assert np.array_equal(a(x), again(x))
    assert np.array_equal(a(x), a(x))
    assert not np.array_equal(a.rows, b.rows)
    assert not np.allclose(a(x), b(x))


# --- the average


def test_the_answer_is_the_mean_of_the_probabilities():
    x, model = images((3, 6, 5, 2)), smooth((6, 5, 2), scale=3)
    defended = RandomResizing(model, (6, 5, 2), draws=7, smallest=0.5)
    mean = np.mean([ops.softmax(model(view)) for view in defended.views(x)], axis=0)
    np.testing.assert_allclose(np.exp(defended(x)), mean, rtol=1e-12)
    alone = [defended(x[[i]])[0] for i in range(3)]
    np.testing.assert_allclose(defended(x), alone, rtol=1e-12)


def test_saturated_draws_only_vote_and_averaged_logits_keep_their_gradient():
    shape, x = (6, 6, 1), images((8, 6, 6, 1), dtype=np.float32)
    model = smooth(shape, dtype=np.float32, scale=5000)
    votes, sums = (
        RandomResizing(model, shape, draws=5, smallest=0.5, average=of)
        for of in ("probabilities", "logits")
    )
    assert ops.softmax(model(x)).min() == 0
    assert np.isfinite(votes(x)).all()
    assert votes(x).dtype == sums(x).dtype == np.float32
    np.testing.assert_allclose(
        sums(x), np.mean([model(view) for view in sums.views(x)], axis=0), rtol=1e-5
    )
    with pytest.warns(UserWarning, match="the gradient is exactly zero"):
        fgsm(votes, x, y=0, eps=0.1)
    assert (fgsm(sums, x, y=0, eps=0.1).l0 > 0).all()


def test_without_shrinking_and_flips_it_is_the_model():
    x, model = images((3, 6, 6, 1)), smooth((6, 6, 1))
    defended = RandomResizing(model, (6, 6, 1), smallest=1, flip=0, draws=4)
    np.testing.assert_allclose(defended(x), ops.log_softmax(model(x)), rtol=1e-12, atol=1e-14)
    mirrored = RandomResizing(model, (6, 6, 1), smallest=1, flip=1, draws=1)
    np.testing.assert_allclose(
        mirrored(x), ops.log_softmax(model(x[:, :, ::-1])), rtol=1e-12, atol=1e-14
    )


@pytest.mark.parametrize("average", ["probabilities", "logits"])
@pytest.mark.parametrize("method", METHODS)
def test_the_gradient_through_all_draws(method, average):
    defended = RandomResizing(
        smooth((4, 3, 2)), (4, 3, 2), draws=5, smallest=0.5, method=method, average=average
    )
    gradcheck(defended, images((2, 4, 3, 2)))


def test_attacks_take_it_for_a_model(xp):
    shape = (7, 8, 1)
    x = xp.asarray(images((20, *shape), dtype=np.float32))
    defended = RandomResizing(cnn(shape, 3), shape, draws=4)
    before = to_numpy(x).copy()
    for result in (fgsm(defended, x, y=0, eps=0.1), pgd(defended, x, y=0, eps=0.1, steps=3)):
        assert array_module(result.x_adv) is xp
        assert result.x_adv.dtype == np.float32
        assert float(result.linf.max()) <= 0.1
    assert array_module(defended.views(x), resize(x, (3, 9))) is xp
    assert defended(x[:0]).shape == (0, 3)
    assert np.array_equal(to_numpy(x), before)


def test_a_chunk_counts_all_draws():
    shape = (8, 8, 1)
    x, model = images((5, *shape), dtype=np.float32), cnn(shape)
    one, many = (RandomResizing(model, shape, draws=n) for n in (1, 8))
    of = shape, np.dtype(np.float32)
    assert (
        8 * one.activation_bytes(*of)
        == 8 * model.activation_bytes(*of)
        == many.activation_bytes(*of)
    )
    assert chunk_size(many, x) < chunk_size(one, x) == chunk_size(model, x)
    assert chunk_size(RandomResizing(lambda x: x, shape, draws=1), x) == chunk_size(lambda x: x, x)


# --- bad input


@pytest.mark.parametrize(
    ("x", "size", "how", "error", "message"),
    [
        (
            np.ones((5, 4, 3)),
            (2, 2),
            {},
            ValueError,
            r"x must be images \(N, H, W, C\), got \(5, 4, 3\)",
        ),
        ([[1.0]], (2, 2), {}, ValueError, r"x must be images \(N, H, W, C\), got list"),
        (np.ones((1, 0, 4, 3)), (2, 2), {}, ValueError, "x must be images"),
        (
            np.ones((1, 4, 4, 3), np.uint8),
            (2, 2),
            {},
            TypeError,
            "x must be floating point, got uint8",
        ),
        (images(), (0, 2), {}, ValueError, "size must be >= 1, got 0"),
        (images(), (2.0, 2), {}, TypeError, "size must be an integer, got 2.0"),
        (images(), 2, {}, ValueError, r"size must be \(rows, columns\), got 2"),
        (images(), (2, 2, 2), {}, ValueError, r"size must be \(rows, columns\), got \(2, 2, 2\)"),
        (
            images(),
            (2, 2),
            {"method": "cubic"},
            ValueError,
            "method must be 'nearest' or 'bilinear', got 'cubic'",
        ),
        (images(), (5, 4), {"method": "cubic"}, ValueError, "method must be"),
    ],
)
def test_what_cannot_be_resized(x, size, how, error, message):
    with pytest.raises(error, match=message):
        resize(x, size, **how)


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ({"shape": (8, 8)}, ValueError, r"shape must be \(H, W, C\), got \(8, 8\)"),
        ({"shape": 8}, ValueError, r"shape must be \(H, W, C\), got 8"),
        ({"shape": (8, 0, 1)}, ValueError, "shape must be >= 1, got 0"),
        ({"draws": 0}, ValueError, "draws must be >= 1, got 0"),
        ({"draws": 2.5}, TypeError, "draws must be an integer, got 2.5"),
        ({"smallest": 1.5}, ValueError, "smallest must be <= 1, got 1.5"),
        ({"smallest": -0.1}, ValueError, "smallest must be >= 0, got -0.1"),
        ({"flip": np.nan}, ValueError, "flip must be finite, got nan"),
        ({"flip": 2}, ValueError, "flip must be <= 1, got 2"),
        ({"method": "cubic"}, ValueError, "method must be 'nearest' or 'bilinear', got 'cubic'"),
        (
            {"average": "votes"},
            ValueError,
            "average must be 'probabilities' or 'logits', got 'votes'",
        ),
        ({"rng": "seed"}, TypeError, "rng must be"),
    ],
)
def test_what_cannot_be_drawn(wrong, error, message):
    with pytest.raises(error, match=message):
        RandomResizing(smooth((8, 8, 1)), **{"shape": (8, 8, 1), **wrong})


def test_images_of_another_shape():
    defended = RandomResizing(smooth((8, 8, 1)), (8, 8, 1))
    with pytest.raises(
        ValueError, match=r"x must be images \(N, 8, 8, 1\), got shape \(2, 7, 8, 1\)"
    ):
        defended(images((2, 7, 8, 1)))
    with pytest.raises(TypeError, match="x must be floating point, got int64"):
        defended(np.ones((2, 8, 8, 1), np.int64))
