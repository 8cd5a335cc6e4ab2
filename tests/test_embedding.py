import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minadv.backend import array_module, to_numpy
from minadv.embedding import (
    conditional_probabilities,
    joint_probabilities,
    kl_divergence,
    kl_gradient,
    pca,
    points,
    tsne,
)


def cloud(n=40, d=6, seed=0, dtype=np.float64):
    """Points without symmetries: every direction has a spread of its own."""
    rng = np.random.default_rng(seed)
    return (
        rng.normal(size=(n, d)) * np.arange(1, d + 1) @ rng.normal(size=(d, d)) + rng.normal(size=d)
    ).astype(dtype)


def clusters(per_cluster=25, d=10, distance=20.0, seed=0):
    """Three Gaussian clusters of unit spread, and which cluster each point is of."""
    rng = np.random.default_rng(seed)
    label = np.repeat(np.arange(3), per_cluster)
    return rng.normal(size=(len(label), d)) + distance * np.eye(3, d)[label], label


def rotation(d, seed=0):
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(d, d)))[0]


def problem(n=15, components=2, seed=0, scale=1.0):
    """P of a cloud, and a map that has nothing to do with it."""
    y = np.random.default_rng(seed + 1).normal(size=(n, components)) * scale
    return joint_probabilities(conditional_probabilities(cloud(n, seed=seed), 4.0)), y


def perplexities(conditional):
    return [
        2 ** -sum(p * math.log2(p) for p in row if p > 0)
        for row in conditional.astype(float).tolist()
    ]


def neighbor_purity(y, label):
    """The share of points whose nearest neighbor in the map has their label."""
    distance = ((y[:, None] - y) ** 2).sum(axis=2)
    np.fill_diagonal(distance, np.inf)
    return (label[distance.argmin(axis=1)] == label).mean()


def pairs(n):
    return [(i, j) for i in range(n) for j in range(n) if i != j]


def kl_by_loops(p, y):
    """KL(P || Q) pair by pair."""
    kernel = {(i, j): 1 / (1 + math.dist(y[i], y[j]) ** 2) for i, j in pairs(len(y))}
    z = sum(kernel.values())
    return sum(
        p[i, j] * math.log(p[i, j] / (kernel[i, j] / z)) for i, j in pairs(len(y)) if p[i, j] > 0
    )


def gradient_by_loops(p, y, exaggeration=1.0):
    """Equation 5 pair by pair."""
    kernel = {(i, j): 1 / (1 + math.dist(y[i], y[j]) ** 2) for i, j in pairs(len(y))}
    z = sum(kernel.values())
    gradient = np.zeros_like(y)
    for i, j in pairs(len(y)):
        gradient[i] += (
            4 * (exaggeration * p[i, j] - kernel[i, j] / z) * (y[i] - y[j]) * kernel[i, j]
        )
    return gradient


class TestPCA:
    @pytest.mark.parametrize("shape", [(50, 7), (7, 50), (20, 20)])
    def test_against_scikit_learn(self, shape):
        decomposition = pytest.importorskip("sklearn.decomposition")
        x = cloud(*shape)
        theirs = decomposition.PCA(5, svd_solver="full").fit(x)
        ours = pca(x, 5)
        signs = np.sign((ours.components * theirs.components_).sum(axis=1, keepdims=True))
        np.testing.assert_allclose(ours.mean, theirs.mean_, rtol=1e-12)
        np.testing.assert_allclose(ours.components, signs * theirs.components_, atol=1e-9)
        np.testing.assert_allclose(ours.explained_variance, theirs.explained_variance_, rtol=1e-10)
        np.testing.assert_allclose(
            ours.explained_variance_ratio, theirs.explained_variance_ratio_, rtol=1e-10
        )
        np.testing.assert_allclose(
            ours.transform(x), theirs.transform(x) * signs.T, atol=1e-9 * np.abs(x).max()
        )

    @settings(max_examples=25, deadline=None)
    @given(st.integers(2, 12), st.integers(1, 12), st.integers(0, 1000), st.data())
    def test_what_defines_it(self, n, d, seed, data):
        x = cloud(n, d, seed)
        k = data.draw(st.integers(1, min(n, d)))
        fitted = pca(x, k)
        z = fitted.transform(x)
        scale = float(((x - x.mean(axis=0)) ** 2).sum()) + 1e-12
        np.testing.assert_allclose(fitted.components @ fitted.components.T, np.eye(k), atol=1e-12)
        np.testing.assert_allclose(z.sum(axis=0), 0, atol=1e-10 * math.sqrt(scale))
        # uncorrelated, of the variance claimed, in falling order
        np.testing.assert_allclose(
            z.T @ z / (n - 1), np.diag(fitted.explained_variance), atol=1e-12 * scale
        )
        assert (np.diff(fitted.explained_variance) <= 1e-12 * scale).all()
        # Pythagoras: what the projection loses and what it keeps add up to all there is
        lost = ((x - fitted.inverse_transform(z)) ** 2).sum()
        np.testing.assert_allclose(
            lost, scale * (1 - fitted.explained_variance_ratio.sum()), atol=1e-10 * scale
        )

    def test_no_other_plane_keeps_more(self):
        x = cloud(60, 5)
        kept = pca(x).explained_variance.sum()
        centered = x - x.mean(axis=0)
        for seed in range(50):
            plane = rotation(5, seed)[:2]
            assert ((centered @ plane.T) ** 2).sum() / 59 <= kept

    def test_all_components_reconstruct(self):
        x = cloud(9, 5)
        fitted = pca(x, 5)
        np.testing.assert_allclose(
            fitted.inverse_transform(fitted.transform(x)), x, atol=1e-12 * np.abs(x).max()
        )
        np.testing.assert_allclose(fitted.explained_variance_ratio.sum(), 1)

    def test_new_points_on_the_fitted_axes(self):
        x = cloud()
        fitted, change = pca(x, 3), cloud(seed=1)
        moved = fitted.transform(x + change) - fitted.transform(x)
        np.testing.assert_allclose(moved, change @ fitted.components.T, atol=1e-9)
        assert fitted.transform(x[:1]).shape == (1, 3)

    def test_the_sign_does_not_depend_on_the_data_upside_down_or_shuffled(self):
        x = cloud()
        fitted = pca(x, 4)
        for other in (-x, x[::-1].copy(), np.random.default_rng(1).permutation(x)):
            np.testing.assert_allclose(pca(other, 4).components, fitted.components, atol=1e-9)
        largest = np.abs(fitted.components).argmax(axis=1)
        assert (fitted.components[np.arange(4), largest] > 0).all()

    def test_images_keep_their_shape(self):
        images = cloud(12, 18).reshape(12, 3, 3, 2)
        fitted, flat = pca(images, 4), pca(images.reshape(12, 18), 4)
        assert fitted.mean.shape == (3, 3, 2)
        assert fitted.components.shape == (4, 3, 3, 2)
        z = fitted.transform(images)
        assert np.array_equal(z, flat.transform(images.reshape(12, 18)))
        np.testing.assert_allclose(
            fitted.inverse_transform(z).reshape(12, 18), flat.inverse_transform(z), atol=1e-12
        )

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_data_that_do_not_vary(self, dtype):
        x = np.full((1000, 3), 0.1, dtype)
        fitted = pca(x)
        assert np.array_equal(fitted.mean, x[0])
        assert not fitted.explained_variance.any()
        assert not fitted.explained_variance_ratio.any()
        assert not fitted.transform(x).any()

    def test_float32_far_from_the_origin(self):
        x = (1000 + np.random.default_rng(0).random((5000, 3)) * (1, 0.5, 0.25)).astype(np.float32)
        fitted, exact = pca(x), pca(x.astype(np.float64))
        assert {
            a.dtype
            for a in (
                fitted.mean,
                fitted.components,
                fitted.explained_variance,
                fitted.transform(x),
            )
        } == {x.dtype}
        assert (
            fitted.explained_variance_ratio.dtype
            == fitted.inverse_transform(fitted.transform(x)).dtype
            == np.float32
        )
        np.testing.assert_allclose(fitted.mean, exact.mean, rtol=1e-7)
        np.testing.assert_allclose(fitted.explained_variance, exact.explained_variance, rtol=1e-4)
        np.testing.assert_allclose(fitted.components, exact.components, atol=1e-3)

    def test_backends(self, xp):
        x = cloud(30, 12).reshape(30, 2, 6)
        here, there = pca(x, 3), pca(xp.asarray(x), 3)
        z = there.transform(xp.asarray(x))
        for ours, other in [
            (here.components, there.components),
            (here.transform(x), z),
            (here.mean, there.mean),
        ]:
            assert array_module(other) is xp
            np.testing.assert_allclose(to_numpy(other), ours, atol=1e-9)
        np.testing.assert_allclose(
            to_numpy(there.inverse_transform(z)),
            here.inverse_transform(here.transform(x)),
            atol=1e-9,
        )

    @pytest.mark.parametrize(
        ("x", "components", "error", "says"),
        [
            (
                [[1.0, 2.0], [3.0, 4.0]],
                1,
                TypeError,
                "x must be a float32 or float64 array, got list",
            ),
            (np.ones((3, 2), int), 1, TypeError, "got int64"),
            (np.ones(3), 1, ValueError, r"at least two axes.*\(3,\)"),
            (np.ones((1, 3)), 1, ValueError, r"at least two examples.*\(1, 3\)"),
            (np.ones((3, 0)), 1, ValueError, r"at least one feature.*\(3, 0\)"),
            (np.array([[1.0, np.nan], [0.0, 1.0]]), 1, ValueError, "finite"),
            (np.ones((3, 5)), 4, ValueError, "components must be <= 3, got 4"),
            (np.ones((3, 5)), 0, ValueError, "components must be >= 1, got 0"),
            (np.ones((3, 5)), 1.0, TypeError, "components must be an integer, got 1.0"),
            (np.ones((3, 5)), True, TypeError, "components must be an integer, got True"),
        ],
    )
    def test_wrong_input(self, x, components, error, says):
        with pytest.raises(error, match=says):
            pca(x, components)

    def test_wrong_points(self):
        fitted = pca(cloud(10, 4))
        with pytest.raises(ValueError, match=r"x must have features of shape \(4,\).*\(5,\)"):
            fitted.transform(cloud(10, 5))
        with pytest.raises(
            ValueError, match=r"z must have one column per component, \(M, 2\), got shape \(10, 4\)"
        ):
            fitted.inverse_transform(cloud(10, 4))


class TestProbabilities:
    @pytest.mark.parametrize("perplexity", [1, 1.5, 5, 20.0, 38, 39])
    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_the_perplexity_is_reached(self, perplexity, dtype):
        conditional = conditional_probabilities(cloud(dtype=dtype), perplexity)
        assert conditional.dtype == dtype
        np.testing.assert_allclose(perplexities(conditional), perplexity, rtol=3e-5)
        np.testing.assert_allclose(conditional.sum(axis=1), 1, rtol=1e-5)
        assert not conditional.diagonal().any()

    @settings(max_examples=30, deadline=None)
    @given(st.integers(2, 30), st.integers(0, 1000), st.integers(-30, 30), st.floats(0, 1))
    def test_at_any_scale(self, n, seed, exponent, share):
        perplexity = 1 + share * (n - 2)
        x = cloud(n, 3, seed)
        x[0] *= 1000  # an outlier: the others look like one point to it
        conditional = conditional_probabilities(x * 2.0**exponent, perplexity)
        np.testing.assert_allclose(perplexities(conditional), perplexity, rtol=3e-5)
        np.testing.assert_allclose(conditional, conditional_probabilities(x, perplexity), atol=1e-9)

    def test_gaussian_of_one_width_per_point(self):
        x = cloud(12, 3)
        distance = ((x[:, None] - x) ** 2).sum(axis=2)
        conditional = conditional_probabilities(x, 4.0)
        for i in range(12):
            j = np.delete(np.arange(12), i)
            # log p_{j|i} is a line in the squared distance, of negative slope
            (slope, _), residual, *_ = np.polyfit(
                distance[i, j], np.log(conditional[i, j]), 1, full=True
            )
            assert slope < 0
            assert residual < 1e-16 * len(j)

    def test_two_points_at_unequal_distances(self):
        # of three points on a line, the middle one picks its neighbors with probability p and 1 -
        # p, whose entropy is known
        p = conditional_probabilities(np.array([[0.0], [1.0], [3.0]]), 1.7)[1]
        assert p[0] > p[2]
        assert -p[0] * math.log2(p[0]) - p[2] * math.log2(p[2]) == pytest.approx(
            math.log2(1.7), abs=1e-4
        )

    @settings(max_examples=20, deadline=None)
    @given(st.integers(0, 1000), st.floats(-100, 100))
    def test_moved_rotated_mirrored(self, seed, shift):
        x = cloud(20, 4, seed)
        conditional = conditional_probabilities(x, 5.0)
        for other in (x + shift, x @ rotation(4, seed), x * (-1, 1, 1, 1)):
            np.testing.assert_allclose(
                conditional_probabilities(other, 5.0), conditional, atol=1e-8
            )

    def test_shuffled(self):
        x = cloud()
        order = np.random.default_rng(0).permutation(len(x))
        conditional = conditional_probabilities(x, 7.0)
        np.testing.assert_allclose(
            conditional_probabilities(x[order], 7.0), conditional[np.ix_(order, order)], atol=1e-12
        )

    def test_float32_of_tight_clusters_far_apart(self):
        x, label = clusters(distance=1e4)
        x = x.astype(np.float32)
        exact = conditional_probabilities(x.astype(np.float64), 10.0)
        np.testing.assert_allclose(conditional_probabilities(x, 10.0), exact, atol=2e-5)

    def test_equidistant_points_are_equally_likely(self):
        # no perplexity but N - 1 = 5 is possible
        conditional = conditional_probabilities(np.eye(6), 2.0)
        np.testing.assert_allclose(conditional, (1 - np.eye(6)) / 5, rtol=1e-15)

    def test_more_duplicates_than_the_perplexity(self):
        x = np.concatenate([np.zeros((10, 3)), cloud(5, 3) + 100])
        conditional = conditional_probabilities(x, 4.0)
        np.testing.assert_allclose(conditional[:10, :10], (1 - np.eye(10)) / 9, atol=1e-12)
        assert not conditional[:10, 10:].any()
        np.testing.assert_allclose(perplexities(conditional)[:10], 9)

    def test_joint(self):
        conditional = conditional_probabilities(cloud(), 5.0)
        p = joint_probabilities(conditional)
        assert np.array_equal(p, p.T)
        assert p.sum() == pytest.approx(1, rel=1e-12)
        assert p.sum(axis=1).min() >= 1 / 80 - 1e-15
        assert p[3, 8] == pytest.approx((conditional[3, 8] + conditional[8, 3]) / 80)

    @pytest.mark.parametrize("perplexity", [2.0, 10.0, 30.0])
    def test_against_scikit_learn(self, perplexity):
        theirs = pytest.importorskip("sklearn.manifold._t_sne")
        x = cloud(60)
        distance = ((x[:, None] - x) ** 2).sum(axis=2)
        p = joint_probabilities(conditional_probabilities(x, perplexity))
        condensed = theirs._joint_probabilities(distance, perplexity, 0)  # i < j
        np.testing.assert_allclose(
            p[np.triu_indices(60, 1)], condensed, rtol=1e-2, atol=1e-9
        )  # theirs in float32

    def test_chunks_do_not_matter(self, monkeypatch):
        x = cloud()
        whole = conditional_probabilities(x, 5.0)
        monkeypatch.setattr(points, "BLOCK_BYTES", 3 * 8 * len(x))  # three rows
        np.testing.assert_allclose(conditional_probabilities(x, 5.0), whole, atol=2e-5)

    def test_backends(self, xp):
        x = cloud(25)
        x[:5] = x[0]
        conditional = conditional_probabilities(xp.asarray(x), 4.0)
        assert array_module(conditional) is xp
        np.testing.assert_allclose(
            to_numpy(conditional), conditional_probabilities(x, 4.0), atol=1e-10
        )
        p = joint_probabilities(conditional)
        np.testing.assert_allclose(
            to_numpy(p), joint_probabilities(conditional_probabilities(x, 4.0)), atol=1e-10
        )

    @pytest.mark.parametrize(
        ("perplexity", "error", "says"),
        [
            (
                40,
                ValueError,
                "perplexity must be <= N - 1 = 39, the number of neighbors a point has, got 40",
            ),
            (39.5, ValueError, "perplexity must be <= N - 1 = 39"),
            (0.5, ValueError, "perplexity must be >= 1, got 0.5"),
            (math.nan, ValueError, "perplexity must be finite, got nan"),
            (math.inf, ValueError, "perplexity"),
            ("5", TypeError, "perplexity must be a number, got '5'"),
        ],
    )
    def test_wrong_perplexity(self, perplexity, error, says):
        with pytest.raises(error, match=says):
            conditional_probabilities(cloud(), perplexity)

    def test_not_square(self):
        with pytest.raises(ValueError, match=r"conditional must be \(N, N\), got shape \(3, 4\)"):
            joint_probabilities(np.ones((3, 4)))


class TestDivergence:
    @settings(max_examples=20, deadline=None)
    @given(
        st.integers(6, 12),
        st.integers(1, 3),
        st.integers(0, 1000),
        st.sampled_from([1e-4, 1.0, 30.0]),
        st.sampled_from([1.0, 12.0]),
    )
    def test_against_loops(self, n, components, seed, scale, exaggeration):
        p, y = problem(n, components, seed, scale)
        assert kl_divergence(p, y) == pytest.approx(kl_by_loops(p, y), rel=1e-10, abs=1e-13)
        expected = gradient_by_loops(p, y, exaggeration)
        np.testing.assert_allclose(
            kl_gradient(p, y, exaggeration),
            expected,
            rtol=1e-9,
            atol=1e-12 * np.abs(expected).max(),
        )

    @settings(max_examples=15, deadline=None)
    @given(st.integers(0, 1000), st.sampled_from([0.3, 1.0, 10.0]))
    def test_gradient_by_finite_differences(self, seed, scale):
        p, y = problem(8, seed=seed, scale=scale)
        h = 1e-5 * scale
        numeric = np.zeros_like(y)
        for place in np.ndindex(*y.shape):
            step = np.zeros_like(y)
            step[place] = h
            numeric[place] = (kl_divergence(p, y + step) - kl_divergence(p, y - step)) / (2 * h)
        np.testing.assert_allclose(kl_gradient(p, y), numeric, rtol=1e-5, atol=1e-9 / scale)

    def test_zero_exactly_where_the_map_is_right(self):
        _, y = problem()
        q = 1 / (1 + ((y[:, None] - y) ** 2).sum(axis=2))
        np.fill_diagonal(q, 0)
        q /= q.sum()
        assert kl_divergence(q, y) == pytest.approx(0, abs=1e-14)
        np.testing.assert_allclose(kl_gradient(q, y), 0, atol=1e-15)
        assert kl_divergence(q, y * 1.1) > 0

    def test_all_points_in_one_place(self):
        # Q is uniform: log N(N - 1) less the entropy of P
        p, y = problem()
        entropy = -sum(p[pair] * math.log(p[pair]) for pair in pairs(15) if p[pair] > 0)
        assert kl_divergence(p, 0 * y) == pytest.approx(math.log(15 * 14) - entropy, rel=1e-12)
        assert not kl_gradient(p, 0 * y).any()

    def test_moved_and_rotated(self):
        p, y = problem()
        turn = rotation(2)
        assert kl_divergence(p, y @ turn + 3) == pytest.approx(kl_divergence(p, y), rel=1e-12)
        np.testing.assert_allclose(
            kl_gradient(p, y @ turn + 3), kl_gradient(p, y) @ turn, atol=1e-13
        )
        np.testing.assert_allclose(
            kl_gradient(p, y).sum(axis=0), 0, atol=1e-15
        )  # action and reaction

    def test_two_points_far_apart_in_float32(self):
        # each other's only neighbor, at a distance that is lost when 1 is added to its kernel: P =
        # Q still
        p, y = np.array([[0, 0.5], [0.5, 0]], np.float32), np.array([[0, 0], [1e6, 0]], np.float32)
        assert kl_divergence(p, y) == pytest.approx(0, abs=1e-6)
        assert np.isfinite(kl_gradient(p, y)).all()

    def test_float32(self):
        p, y = problem(40, scale=40.0)
        p32, y32 = p.astype(np.float32), y.astype(np.float32)
        exact = kl_gradient(p32.astype(float), y32.astype(float))
        assert kl_gradient(p32, y32).dtype == np.float32
        np.testing.assert_allclose(kl_gradient(p32, y32), exact, atol=1e-5 * np.abs(exact).max())
        assert kl_divergence(p32, y32) == pytest.approx(kl_divergence(p, y), rel=1e-6)

    def test_against_scikit_learn(self):
        theirs = pytest.importorskip("sklearn.manifold._t_sne")
        p, y = problem(30, scale=5.0)
        kl, gradient = theirs._kl_divergence(y.ravel(), p[np.triu_indices(30, 1)], 1, 30, 2)
        assert kl_divergence(p, y) == pytest.approx(kl, rel=1e-9)
        np.testing.assert_allclose(kl_gradient(p, y).ravel(), gradient, rtol=1e-9, atol=1e-14)

    def test_chunks_do_not_matter(self, monkeypatch):
        p, y = problem(30)
        whole = kl_divergence(p, y), kl_gradient(p, y)
        monkeypatch.setattr(points, "BLOCK_BYTES", 7 * 8 * 30)  # seven rows
        assert kl_divergence(p, y) == pytest.approx(whole[0], rel=1e-13)
        np.testing.assert_allclose(kl_gradient(p, y), whole[1], atol=1e-14)

    def test_backends(self, xp):
        p, y = problem()
        there = xp.asarray(p), xp.asarray(y)
        assert isinstance(kl_divergence(*there), float)
        assert kl_divergence(*there) == pytest.approx(kl_divergence(p, y), rel=1e-12)
        np.testing.assert_allclose(
            to_numpy(kl_gradient(*there, 12.0)), kl_gradient(p, y, 12.0), atol=1e-12
        )

    def test_shapes_that_do_not_fit(self):
        p, y = problem()
        for function in (kl_divergence, kl_gradient):
            with pytest.raises(
                ValueError,
                match=r"y \(N, components\), got shapes \(15, 15\) and \(14, 2\)",
            ):
                function(p, y[1:])


class TestTSNE:
    def test_algorithm_1_step_by_step(self):
        x = cloud(20)
        y = np.random.default_rng(0).normal(size=(20, 2))
        schedule = {
            "learning_rate": 30.0,
            "early_exaggeration": 4.0,
            "exaggeration_steps": 5,
            "momentum": (0.3, 0.9),
        }
        result = tsne(x, perplexity=5.0, steps=12, init=y, **schedule)
        p = joint_probabilities(conditional_probabilities(x, 5.0))
        before, gains = y, np.ones_like(y)
        for t in range(12):
            gradient = gradient_by_loops(p, y, 4.0 if t < 5 else 1.0)
            velocity = y - before
            gains = np.maximum(
                np.where(np.sign(gradient) == -np.sign(velocity), gains + 0.2, gains * 0.8), 0.01
            )
            before, y = y, y + (0.3 if t < 5 else 0.9) * velocity - 30.0 * gains * gradient
        np.testing.assert_allclose(result.embedding, y - y.mean(axis=0), atol=1e-9)
        assert result.kl == pytest.approx(kl_by_loops(p, y), rel=1e-9)

    def test_what_it_returns(self):
        x = cloud(dtype=np.float32)
        copy = x.copy()
        result = tsne(x, perplexity=5.0, steps=120, exaggeration_steps=60)
        assert result.embedding.shape == (40, 2)
        assert result.embedding.dtype == result.perplexity.dtype == np.float32
        np.testing.assert_allclose(result.perplexity, 5.0, rtol=1e-4)
        np.testing.assert_allclose(result.embedding.mean(axis=0), 0, atol=1e-4)
        p = joint_probabilities(conditional_probabilities(x, 5.0))
        assert result.kl == kl_divergence(p, result.embedding)
        assert result.kl < result.kl_history[-1] < result.kl_history[0]
        assert len(result.kl_history) == 3  # after 0, 50 and 100 steps
        assert np.array_equal(x, copy)

    def test_history_ends_at_the_end(self):
        result = tsne(cloud(), perplexity=5.0, steps=50)
        assert len(result.kl_history) == 2
        assert result.kl_history[-1] == result.kl
        start = tsne(cloud(), perplexity=5.0, steps=0)
        assert start.kl_history.tolist() == [start.kl] == [result.kl_history[0]]

    def test_starts_from_pca(self):
        x = cloud()
        y, z = tsne(x, perplexity=5.0, steps=0).embedding, pca(x).transform(x)
        np.testing.assert_allclose(y[:, 0].std(), 1e-4)
        np.testing.assert_allclose(y / y[0, 0], z / z[0, 0])

    def test_seeds(self):
        def embed(rng):
            return tsne(cloud(), perplexity=5.0, steps=5, init="random", rng=rng).embedding

        assert np.array_equal(embed(3), embed(3))
        assert np.array_equal(embed(3), embed(np.random.default_rng(3)))
        assert not np.allclose(embed(3), embed(4), atol=1e-6)
        start = tsne(cloud(500, 2), steps=0, init="random").embedding
        assert start.std() == pytest.approx(1e-4, rel=0.1)

    @pytest.mark.parametrize(("early_exaggeration", "rate"), [(12.0, 5.0), (4.0, 15.0)])
    def test_learning_rate(self, early_exaggeration, rate):
        settings = {"perplexity": 5.0, "steps": 3, "early_exaggeration": early_exaggeration}
        automatic, given = (
            tsne(cloud(60), **settings),
            tsne(cloud(60), **settings, learning_rate=rate),
        )
        assert np.array_equal(automatic.embedding, given.embedding)

    @pytest.mark.parametrize("init", ["pca", "random"])
    def test_clusters_stay_apart(self, init):
        x, label = clusters()
        y = tsne(x, perplexity=10.0, steps=400, exaggeration_steps=150, init=init).embedding
        assert neighbor_purity(y, label) == 1
        centers = np.stack([y[label == k].mean(axis=0) for k in range(3)])
        spread = max(np.linalg.norm(y[label == k] - centers[k], axis=1).max() for k in range(3))
        assert (
            min(np.linalg.norm(centers[a] - centers[b]) for a, b in [(0, 1), (0, 2), (1, 2)])
            > 1.5 * spread
        )

    def test_digits_against_scikit_learn(self):
        manifold, datasets = (
            pytest.importorskip("sklearn.manifold"),
            pytest.importorskip("sklearn.datasets"),
        )
        x, label = (a[:250] for a in datasets.load_digits(return_X_y=True))
        z = pca(x).transform(x)
        start = (z / z[:, 0].std() * 1e-4).astype(np.float32)
        ours = tsne(x, perplexity=20.0, steps=500, init=start)
        theirs = manifold.TSNE(
            perplexity=20.0, max_iter=500, init=start, method="exact", n_iter_without_progress=500
        )
        theirs.fit(x)
        assert ours.kl <= 1.03 * theirs.kl_divergence_
        assert (
            neighbor_purity(ours.embedding, label)
            >= neighbor_purity(theirs.embedding_, label) - 0.02
        )

    def test_shuffled(self):
        x = cloud()
        order = np.random.default_rng(0).permutation(len(x))
        y, shuffled = (tsne(a, perplexity=5.0, steps=30).embedding for a in (x, x[order]))
        np.testing.assert_allclose(shuffled, y[order], atol=1e-7 * np.abs(y).max())

    def test_images(self):
        x = cloud(20, 8)
        flat, images = (
            tsne(a, perplexity=5.0, steps=10).embedding for a in (x, x.reshape(20, 2, 2, 2))
        )
        np.testing.assert_allclose(images, flat, atol=1e-12)

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_duplicates(self, dtype):
        x = cloud(dtype=dtype)
        x[:12] = x[0]
        result = tsne(x, perplexity=5.0, steps=300, exaggeration_steps=100)
        assert np.isfinite(result.embedding).all()
        assert neighbor_purity(result.embedding, np.arange(40) < 12) >= 0.95
        np.testing.assert_allclose(result.perplexity[:12], 11, rtol=1e-4)

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_points_that_are_all_equal(self, dtype):
        result = tsne(np.full((40, 5), 0.1, dtype), perplexity=5.0, steps=60)
        assert not result.embedding.any()
        assert result.kl == pytest.approx(0, abs=1e-5)
        np.testing.assert_allclose(result.perplexity, 39, rtol=1e-5)

    @pytest.mark.parametrize("components", [1, 3])
    def test_other_dimensions(self, components):
        x, label = clusters()
        result = tsne(x, components=components, perplexity=10.0, steps=300, exaggeration_steps=150)
        assert result.embedding.shape == (75, components)
        assert neighbor_purity(result.embedding, label) >= 0.95

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_no_clusters_to_exaggerate(self, dtype):
        # 50 neighbors of 60: exaggerated attraction draws all points into one, in float32 even
        # exactly, where the gradient is 0
        x = cloud(60, dtype=dtype)
        result = tsne(x, perplexity=50.0, steps=400, exaggeration_steps=200)
        without = tsne(x, perplexity=50.0, steps=200, exaggeration_steps=0)
        assert result.kl_history[4] == pytest.approx(result.kl_history[0], rel=1e-5)
        assert result.kl == pytest.approx(without.kl, rel=0.02)
        assert without.kl < 0.5 * without.kl_history[0]

    def test_float32_and_float64_agree_at_first(self):
        x = cloud(dtype=np.float32)
        y32, y64 = (tsne(a, perplexity=5.0, steps=20).embedding for a in (x, x.astype(np.float64)))
        np.testing.assert_allclose(y32, y64, atol=1e-3 * np.abs(y64).max())

    def test_backends(self, xp):
        x = cloud(30)
        for init in ("pca", "random"):
            here, there = (tsne(a, perplexity=5.0, steps=15, init=init) for a in (x, xp.asarray(x)))
            assert array_module(there.embedding) is array_module(there.perplexity) is xp
            np.testing.assert_allclose(
                to_numpy(there.embedding), here.embedding, atol=1e-7 * np.abs(here.embedding).max()
            )
            np.testing.assert_allclose(there.kl_history, here.kl_history, rtol=1e-8)
        start = xp.asarray(cloud(30, 2))
        copy = to_numpy(start).copy()
        tsne(xp.asarray(x), perplexity=5.0, steps=2, init=start)
        assert np.array_equal(to_numpy(start), copy)

    def test_silent_unless_asked(self, capsys):
        tsne(cloud(), perplexity=5.0, steps=2)
        assert capsys.readouterr() == ("", "")
        tsne(cloud(), perplexity=5.0, steps=2, progress=True)
        assert "2/2" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("arguments", "error", "says"),
        [
            ({"perplexity": 40}, ValueError, "perplexity must be <= N - 1 = 39"),
            ({"components": 0}, ValueError, "components must be >= 1, got 0"),
            ({"components": 7}, ValueError, "components must be <= 6, got 7"),
            ({"steps": -1}, ValueError, "steps must be >= 0, got -1"),
            ({"steps": 10.0}, TypeError, "steps must be an integer, got 10.0"),
            ({"exaggeration_steps": -1}, ValueError, "exaggeration_steps must be >= 0, got -1"),
            ({"early_exaggeration": 0.5}, ValueError, "early_exaggeration must be >= 1, got 0.5"),
            ({"learning_rate": -1.0}, ValueError, "learning_rate must be >= 0, got -1.0"),
            ({"learning_rate": math.nan}, ValueError, "learning_rate must be finite, got nan"),
            ({"learning_rate": "fast"}, TypeError, "learning_rate must be a number, got 'fast'"),
            ({"momentum": (0.5,)}, ValueError, r"momentum must be two numbers.*\(0.5,\)"),
            ({"momentum": (0.5, 1.5)}, ValueError, "momentum must be <= 1, got 1.5"),
            (
                {"init": "spectral"},
                ValueError,
                "init must be 'pca', 'random' or an array.*'spectral'",
            ),
            (
                {"init": np.ones((3, 2))},
                ValueError,
                r"init must have the shape of the map, \(40, 2\), got \(3, 2\)",
            ),
            ({"init": 5}, TypeError, "init must be a float32 or float64 array, got int"),
        ],
    )
    def test_wrong_input(self, arguments, error, says):
        with pytest.raises(error, match=says):
            tsne(cloud(), **{"perplexity": 5.0, **arguments})
