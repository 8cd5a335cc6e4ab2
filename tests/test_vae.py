"""The autoencoder: against integrals over z, finite differences with the noise held fixed, and
PyTorch's distributions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minadv import Adam, fit, gradcheck, ops
from minadv.backend import to_numpy
from minadv.defenses.vae import VAE, gaussian_kl, negative_elbo
from minadv.models import load_weights, save_weights
from tests.strategies import float_arrays


def small_vae(shape=(4, 5, 2), latent=2) -> VAE:
    """A VAE of a few hundred weights in float64, its biases away from 0 and so its ReLUs away from
    their kinks."""
    vae = VAE(shape, latent=latent, filters=(2, 3), hidden=4, rng=1, dtype=np.float64)
    rng = np.random.default_rng(2)
    vae.parameters = {
        name: p + 0.1 * rng.standard_normal(p.shape) for name, p in vae.parameters.items()
    }
    return vae


class Noise:
    """A generator whose next numbers are ``values``."""

    def __init__(self, values: np.ndarray):
        self.values = values

    def standard_normal(self, shape):
        return self.values.reshape(shape)


@pytest.fixture
def images():
    return np.random.default_rng(0).random((3, 4, 5, 2))


# --- KL divergence


@given(mu=st.floats(-3, 3), log_var=st.floats(-4, 2))
def test_gaussian_kl_is_the_integral(mu, log_var):
    z = np.linspace(mu - 40, mu + 40, 200_001)
    log_q = -0.5 * ((z - mu) ** 2 / math.exp(log_var) + log_var + math.log(2 * math.pi))
    log_p = -0.5 * (z**2 + math.log(2 * math.pi))
    integral = float((np.exp(log_q) * (log_q - log_p)).sum() * (z[1] - z[0]))
    assert float(gaussian_kl(np.array([[mu]]), np.array([[log_var]]))[0]) == pytest.approx(
        integral, abs=1e-8
    )


def test_gaussian_kl_closed_forms():
    assert gaussian_kl(np.zeros((2, 3)), np.zeros((2, 3))).tolist() == [0, 0]
    mu = np.array([[3.0, 4.0], [0.0, 1.0]])
    np.testing.assert_allclose(
        gaussian_kl(mu, np.zeros((2, 2))), [12.5, 0.5]
    )  # ‖mu‖² / 2 at unit variance
    np.testing.assert_allclose(
        gaussian_kl(np.zeros((1, 1)), np.full((1, 1), math.log(4))), [0.5 * (4 - 1 - math.log(4))]
    )


@given(mu=float_arrays((3, 2), np.float64, -5, 5), log_var=float_arrays((3, 2), np.float64, -5, 5))
def test_gaussian_kl_agrees_with_torch(mu, log_var):
    torch = pytest.importorskip("torch")
    normal = torch.distributions.Normal
    q, p = normal(torch.from_numpy(mu), torch.from_numpy(np.exp(0.5 * log_var))), normal(0.0, 1.0)
    expected = torch.distributions.kl_divergence(q, p).sum(dim=1).numpy()
    np.testing.assert_allclose(gaussian_kl(mu, log_var), expected, rtol=1e-9, atol=1e-9)


def test_gaussian_kl_gradient():
    rng = np.random.default_rng(0)
    gradcheck(gaussian_kl, rng.normal(size=(3, 2)), rng.normal(size=(3, 2)))


# --- ELBO


def test_negative_elbo_is_the_evidence_and_what_q_misses_of_the_posterior():
    """E_q[loss] = −log p(x) + KL(q(z) ‖ p(z|x)): integrals over the noise on the left, over z on
    the right."""
    vae = small_vae(latent=1)
    x = np.random.default_rng(0).random((1, 4, 5, 2)).round()
    epsilon, step = np.linspace(-9, 9, 4001, retstep=True)
    losses = negative_elbo(
        vae.apply(vae.parameters, x.repeat(4001, axis=0), Noise(epsilon)), x.repeat(4001, axis=0)
    )
    expected_loss = (
        float((np.exp(-0.5 * epsilon**2) * losses).sum()) * step / math.sqrt(2 * math.pi)
    )

    _, mu, log_var = (float(v.reshape(-1)[0]) for v in vae(x))
    z, dz = np.linspace(-20, 20, 8001, retstep=True)
    pixels = vae.decode(z[:, None])
    log_likelihood = (x * np.log(pixels) + (1 - x) * np.log1p(-pixels)).sum(axis=(1, 2, 3))
    log_joint = log_likelihood - 0.5 * (z**2 + math.log(2 * math.pi))
    log_evidence = float(ops.logsumexp(log_joint)) + math.log(dz)
    log_q = -0.5 * ((z - mu) ** 2 / math.exp(log_var) + log_var + math.log(2 * math.pi))
    gap = float((np.exp(log_q) * (log_q - (log_joint - log_evidence))).sum() * dz)

    assert expected_loss == pytest.approx(-log_evidence + gap, abs=1e-5)
    assert expected_loss > -log_evidence + 1e-3  # a bound, and here no tight one


@pytest.mark.parametrize("seed", [None, 7])
def test_gradients_by_finite_differences(images, seed):
    """With respect to every weight and to the image, the noise being the same each time."""
    vae = small_vae()
    names = list(vae.parameters)

    def loss(x, *parameters):
        rng = None if seed is None else np.random.default_rng(seed)
        return negative_elbo(vae.apply(dict(zip(names, parameters, strict=True)), x, rng), x)

    inside = 0.1 + 0.8 * images  # a step of h stays in [0, 1]
    gradcheck(loss, inside, *vae.parameters.values())


def test_reconstruction_has_a_gradient(images):
    gradcheck(small_vae().reconstruct, images)


# --- reparametrisation


def test_reparametrisation(images):
    """z = mu + sigma · epsilon with the generator's own next numbers; without a generator, z =
    mu."""
    vae = small_vae()
    logits, mu, log_var = vae(images)
    np.testing.assert_array_equal(ops.sigmoid(logits), vae.decode(mu))
    drawn, mu_again, log_var_again = vae.apply(vae.parameters, images, np.random.default_rng(3))
    np.testing.assert_array_equal([mu_again, log_var_again], [mu, log_var])
    epsilon = np.random.default_rng(3).standard_normal(mu.shape)
    np.testing.assert_allclose(
        ops.sigmoid(drawn), vae.decode(mu + np.sqrt(np.exp(log_var)) * epsilon), rtol=1e-12
    )
    assert not np.allclose(ops.sigmoid(drawn), vae.decode(mu))


def test_seeds_reproduce():
    x = np.random.default_rng(0).random((40, 4, 4, 1), dtype=np.float32)

    def trained(weights, training):
        vae = VAE((4, 4, 1), filters=(2, 2), hidden=4, rng=weights)
        fit(vae, x, x, loss=negative_elbo, epochs=2, batch_size=8, rng=training, progress=False)
        return np.concatenate([p.reshape(-1) for p in vae.parameters.values()])

    first = trained(1, 1)
    np.testing.assert_array_equal(first, trained(1, 1))
    assert (first != trained(1, 2)).any()
    assert (first != trained(2, 1)).any()


# --- the model


@pytest.mark.parametrize("shape", [(28, 28, 1), (8, 8, 1), (7, 9, 3), (5, 4, 2), (1, 1, 1)])
@pytest.mark.parametrize("latent", [1, 2, 5])
def test_shapes(shape, latent):
    vae = VAE(shape, latent=latent, filters=(3, 4), hidden=5)
    x = np.random.default_rng(0).random((2, *shape), dtype=np.float32)
    logits, mu, log_var = vae(x)
    assert (logits.shape, mu.shape, log_var.shape) == (x.shape, (2, latent), (2, latent))
    made = vae.reconstruct(x)
    assert made.shape == x.shape
    assert (made > 0).all()
    assert (made < 1).all()
    assert vae.decode(mu).shape == x.shape
    assert vae.reconstruct(x[:0]).shape == (0, *shape)
    assert negative_elbo(vae(x), x).shape == (2,)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dtype_is_kept(dtype):
    vae = VAE((8, 8, 1), filters=(2, 2), hidden=4, dtype=dtype)
    x = np.random.default_rng(0).random((2, 8, 8, 1)).astype(dtype)
    given_parameters = {name: p.copy() for name, p in vae.parameters.items()}
    outputs = [
        *vae.apply(vae.parameters, x, np.random.default_rng(0)),
        vae.reconstruct(x),
        negative_elbo(vae(x), x),
    ]
    assert [v.dtype for v in outputs] == [dtype] * 5
    for name, p in vae.parameters.items():
        np.testing.assert_array_equal(p, given_parameters[name])


def test_runs_where_its_weights_are(xp):
    vae = VAE((8, 8, 1), filters=(2, 3), hidden=4, rng=3)
    x = np.random.default_rng(0).random((6, 8, 8, 1), dtype=np.float32)
    fit(
        vae,
        xp.asarray(x),
        xp.asarray(x),
        loss=negative_elbo,
        epochs=2,
        batch_size=4,
        rng=5,
        progress=False,
    )
    here = VAE((8, 8, 1), filters=(2, 3), hidden=4, rng=3)
    here.parameters = {name: to_numpy(p) for name, p in here.parameters.items()}
    fit(here, x, x, loss=negative_elbo, epochs=2, batch_size=4, rng=5, progress=False)
    np.testing.assert_allclose(
        to_numpy(vae.reconstruct(xp.asarray(x))), here.reconstruct(x), atol=1e-4
    )


def test_learns_what_the_images_have_in_common():
    """The upper or the lower half is light, in noise: the autoencoder tells which half, and leaves
    the noise out."""
    rng = np.random.default_rng(0)
    upper = np.arange(4)[:, None, None] // 2 == np.arange(200)[:, None, None, None] % 2
    pure = np.where(upper, 0.9, 0.1) * np.ones((200, 4, 4, 1))
    noisy = (pure + rng.uniform(-0.1, 0.1, pure.shape)).astype(np.float32)
    vae = VAE((4, 4, 1), filters=(8, 8), hidden=16)
    history = fit(
        vae,
        noisy,
        noisy,
        loss=negative_elbo,
        optimizer=Adam(0.01),
        epochs=30,
        batch_size=20,
        progress=False,
    )
    assert history.loss[-1] < history.loss[0]

    def distance(a, b):
        return float(((a - b) ** 2).mean())

    made = vae.reconstruct(noisy)
    assert distance(made, pure) < distance(noisy, pure)
    left = noisy.transpose(0, 2, 1, 3)  # it has never seen a light left half
    assert distance(vae.reconstruct(left), left) > 10 * distance(made, noisy)


def test_weights_on_disk(tmp_path, images):
    vae = small_vae()
    other = load_weights(
        VAE((4, 5, 2), filters=(2, 3), hidden=4, rng=9, dtype=np.float64),
        save_weights(vae, tmp_path / "vae.npz"),
    )
    np.testing.assert_array_equal(other.reconstruct(images), vae.reconstruct(images))
    with pytest.raises(
        ValueError, match=r"vae\.npz: .*encoder\.7\.weight has shape \(4, 4\), expected \(4, 6\)"
    ):
        load_weights(
            VAE((4, 5, 2), latent=3, filters=(2, 3), hidden=4, dtype=np.float64),
            tmp_path / "vae.npz",
        )


def test_activation_bytes():
    vae = VAE((8, 8, 1), filters=(2, 3), hidden=4, latent=2)
    encoder = (
        2 * 4 * 4 * 2 + 2 * 2 * 2 * 3 + 12 + 2 * 4 + 4
    )  # each convolution and dense layer twice, for its ReLU
    decoder = 2 * 4 + 2 * 12 + 12 + 2 * 4 * 4 * 2 + 8 * 8
    assert vae.activation_bytes((8, 8, 1), np.float32) == 4 * (encoder + decoder)
    assert vae.activation_bytes((8, 8, 1), np.float64) == 8 * (encoder + decoder)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: VAE((8, 8)), ValueError, r"shape must be \(H, W, C\)"),
        (lambda x: VAE((8, 0, 1)), ValueError, "shape must be >= 1, got 0"),
        (lambda x: VAE((8, 8.0, 1)), TypeError, "shape must be an integer, got 8.0"),
        (lambda x: VAE((8, 8, 1), latent=0), ValueError, "latent must be >= 1, got 0"),
        (lambda x: VAE((8, 8, 1), latent=True), TypeError, "latent must be an integer"),
        (lambda x: VAE((8, 8, 1), hidden=-1), ValueError, "hidden must be >= 1, got -1"),
        (lambda x: VAE((8, 8, 1), filters=(3,)), ValueError, "filters must be .first, second."),
        (lambda x: VAE((8, 8, 1), filters=(3, 0)), ValueError, "filters must be >= 1, got 0"),
        (
            lambda x: small_vae()(x[:, :, :4]),
            ValueError,
            r"x must be images \(N, 4, 5, 2\), got shape \(3, 4, 4, 2\)",
        ),
        (
            lambda x: small_vae().reconstruct(x[0]),
            ValueError,
            r"x must be images \(N, 4, 5, 2\), got shape \(4, 5, 2\)",
        ),
        (
            lambda x: small_vae().decode(x[:, 0, 0, :1]),
            ValueError,
            r"Dense expects \(N, 2\), got \(3, 1\)",
        ),
        (
            lambda x: negative_elbo(small_vae()(x), 255 * x),
            ValueError,
            r"x must lie in \[0, 1\], got values from",
        ),
        (lambda x: negative_elbo(small_vae()(x), x - np.nan), ValueError, "x must lie in"),
    ],
)
def test_bad_input(images, call, error, message):
    with pytest.raises(error, match=message):
        call(images)
