r"""A convolutional variational autoencoder (D10).

Kingma & Welling 2014, *Auto-encoding variational Bayes*.

An encoder maps an image x to a normal distribution over a few latent numbers z. A decoder maps z
back to an image. Trained on clean images only, it reconstructs any input as a similar clean image.
"""

from __future__ import annotations

import numpy as np

from minadv import losses, ops
from minadv.autograd import raw
from minadv.backend import like
from minadv.checks import check_count, check_counts, check_rng
from minadv.layers import (
    Composite,
    Conv2D,
    ConvTranspose2D,
    Dense,
    Flatten,
    Layer,
    ReLU,
    Reshape,
    Sequential,
)

__all__ = ["VAE", "gaussian_kl", "negative_elbo"]


class VAE(Composite):
    r"""Encoder, reparametrization and decoder.

    The reparametrization is :math:`z = \mu + \sigma \epsilon` with :math:`\epsilon \sim N(0, 1)`.

    ``vae(x)`` and ``vae.apply(parameters, x, rng)`` return ``(logits, mu, log_var)``. ``logits`` of
    the reconstructed pixels have the shape of x. ``mu`` and ``log_var``, the mean and the log
    variance of z, are (N, latent). With ``rng``, a generator (training), ε is drawn from it.
    Without, z is the mean.

    Parameters
    ----------
    shape : (H, W, C)
        Of images in [0, 1].
    latent : int
        How many latent numbers (2 in D10).
    filters : pair of int
        Of the two convolutions of stride 2.
    hidden : int
        Units between them and z.
    rng : numpy.random.Generator or int
        Draws the initial weights.
    dtype : dtype
        Of the weights.

    Raises
    ------
    ValueError, TypeError
        For a wrong argument, which is named, and for images of another shape.
    """

    def __init__(
        self,
        shape: tuple,
        *,
        latent: int = 2,
        filters: tuple = (32, 64),
        hidden: int = 64,
        rng=0,
        dtype=np.float32,
    ):
        h, w, c = self.shape = check_counts("shape", shape, "H", "W", "C")
        a, b = check_counts("filters", filters, "first", "second")
        self.latent, hidden = check_count("latent", latent), check_count("hidden", hidden)
        small = (-(-h // 4), -(-w // 4))  # what two stride-2 convolutions leave
        rng = check_rng(rng)
        relu = {"rng": rng, "init": "he", "dtype": dtype}
        linear = {"rng": rng, "init": "glorot", "dtype": dtype}
        self.encoder = Sequential(
            Conv2D(c, a, 3, stride=2, padding="same", **relu),
            ReLU(),
            Conv2D(a, b, 3, stride=2, padding="same", **relu),
            ReLU(),
            Flatten(),
            Dense(small[0] * small[1] * b, hidden, **relu),
            ReLU(),
            Dense(hidden, 2 * self.latent, **linear),  # mu and log_var
        )
        self.decoder = Sequential(
            Dense(self.latent, hidden, **relu),
            ReLU(),
            Dense(hidden, small[0] * small[1] * b, **relu),
            ReLU(),
            Reshape(*small, b),
            ConvTranspose2D(b, a, 3, stride=2, padding="same", **relu),
            ReLU(),
            ConvTranspose2D(a, c, 3, stride=2, padding="same", **linear),
        )

    def children(self) -> dict[str, Layer]:
        """Both halves, so that parameters are called ``"encoder.0.weight"``, ..."""
        return {"encoder": self.encoder, "decoder": self.decoder}

    def apply(self, parameters, x, rng=None):
        own = self.by_child(parameters)
        if raw(x).shape[1:] != self.shape:
            raise ValueError(
                f"x must be images (N, {', '.join(map(str, self.shape))}), got shape {raw(x).shape}"
            )
        mu, log_var = self._split(self.encoder.apply(own["encoder"], x, rng))
        z = mu
        if rng is not None:
            epsilon = rng.standard_normal(raw(mu).shape).astype(raw(mu).dtype)
            z = mu + ops.exp(0.5 * log_var) * like(epsilon, raw(mu))
        return self._crop(self.decoder.apply(own["decoder"], z, rng)), mu, log_var

    def _split(self, encoded):
        return encoded[:, : self.latent], encoded[:, self.latent :]

    def _crop(self, logits):
        h, w, _ = self.shape  # the decoder's sizes are multiples of 4
        return logits[:, :h, :w]

    def decode(self, z):
        """The images (N, H, W, C) for latent vectors ``z`` (N, latent). Differentiable.

        Pixels are in (0, 1).
        """
        return ops.sigmoid(self._crop(self.decoder(z)))

    def reconstruct(self, x):
        """The reconstruction of images ``x`` from the mean of z. Differentiable.

        It has the shape of ``x``, and pixels in (0, 1).
        """
        return ops.sigmoid(self(x)[0])

    def activation_bytes(self, shape: tuple, dtype) -> int:
        """What one example needs (for :func:`minadv.parallel.chunk_size`)."""
        return self.encoder.activation_bytes(shape, dtype) + self.decoder.activation_bytes(
            (self.latent,), dtype
        )


def gaussian_kl(mu, log_var):
    r"""KL divergence of :math:`N(\mu, \sigma^2)` from :math:`N(0, 1)`, over all latent numbers.

    It is :math:`\tfrac{1}{2} \sum (\mu^2 + \sigma^2 - 1 - \log \sigma^2)`.
    ``mu`` and ``log_var``, :math:`\log \sigma^2`: (N, latent). Returns nats, (N,); differentiable.
    """
    return 0.5 * ops.sum(mu * mu + ops.exp(log_var) - 1.0 - log_var, axis=1)


def negative_elbo(answer: tuple, x):
    r"""The VAE's loss per example, (N,): minus the evidence lower bound.

    .. math:: -\log p(x \mid z) + KL \left( N(\mu, \sigma^2) \, \Vert \, N(0, 1) \right)

    The first term, the reconstruction, is the binary cross-entropy of all pixels for the one z
    that was drawn. The second is :func:`gaussian_kl`.

    ``answer``: what :class:`VAE` returns, ``(logits, mu, log_var)``. ``x``: images in [0, 1].
    It is a loss for :func:`minadv.training.fit`, with the images as their own labels:
    ``fit(vae, x, x, loss=negative_elbo)``. Raises :class:`ValueError` for pixels outside [0, 1].
    """
    pixels = raw(x)
    if len(x) and not (float(pixels.min()) >= 0 and float(pixels.max()) <= 1):
        raise ValueError(
            f"x must lie in [0, 1], got values from {float(pixels.min())} to {float(pixels.max())}"
        )
    logits, mu, log_var = answer
    return losses.binary_cross_entropy(logits, x) + gaussian_kl(mu, log_var)
