r"""A convolutional variational autoencoder (D10): Kingma & Welling 2014, *Auto-encoding variational Bayes*.

An encoder maps an image x to a normal distribution over a few latent numbers z, a decoder maps z back to an image. Trained on clean images,
it draws whatever it is shown as the clean image that it resembles most.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from minadv import losses, ops
from minadv.autograd import raw
from minadv.backend import like
from minadv.checks import check_count
from minadv.layers import Conv2D, ConvTranspose2D, Dense, Flatten, Layer, ReLU, Reshape, Sequential

__all__ = ["VAE", "gaussian_kl", "negative_elbo"]


class VAE(Layer):
    r"""Encoder, reparametrisation :math:`z = \mu + \sigma \epsilon` with :math:`\epsilon \sim N(0, 1)`, decoder.

    ``vae(x)`` and ``vae.apply(parameters, x, rng)`` return ``(logits, mu, log_var)``: the logits of the reconstructed pixels, shape of x,
    and the mean and the log variance of z, each (N, latent). With ``rng``, a generator (training), ε is drawn from it; without, z is the
    mean.

    Arguments: ``shape``, (H, W, C) of images in [0, 1]; ``latent``, how many latent numbers (2 in the document); ``filters`` of the two
    stride-2 convolutions; ``hidden`` units between them and z; ``rng``, generator or seed of the initial weights; ``dtype``. Raises
    :class:`ValueError` or :class:`TypeError` naming a wrong argument, and for images of another shape.
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
        if len(shape) != 3 or len(filters) != 2:
            raise ValueError(
                f"shape must be (H, W, C) and filters two counts, got {shape!r} and {filters!r}"
            )
        h, w, c = self.shape = tuple(check_count("shape", n) for n in shape)
        a, b = (check_count("filters", n) for n in filters)
        self.latent, hidden = check_count("latent", latent), check_count("hidden", hidden)
        small = (-(-h // 4), -(-w // 4))  # what two stride-2 convolutions leave
        rng = np.random.default_rng(rng)
        relu, linear = (
            {"rng": rng, "init": "he", "dtype": dtype},
            {"rng": rng, "init": "glorot", "dtype": dtype},
        )
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

    @property
    def parameters(self) -> dict:
        """The arrays of both halves, as ``"encoder.0.weight"``, ..., ``"decoder.7.bias"``."""
        halves = {"encoder": self.encoder, "decoder": self.decoder}
        return {
            f"{half}.{name}": value
            for half, model in halves.items()
            for name, value in model.parameters.items()
        }

    parameters = parameters.setter(Layer.parameters.fset)

    def _set(self, name, value):
        half, name = name.split(".", 1)
        getattr(self, half)._set(name, value)

    def apply(self, parameters, x, rng=None):
        def of(half):
            return {
                name.removeprefix(half): value
                for name, value in parameters.items()
                if name.startswith(half)
            }

        if raw(x).shape[1:] != self.shape:
            raise ValueError(
                f"x must be images (N, {', '.join(map(str, self.shape))}), got shape {raw(x).shape}"
            )
        mu, log_var = self._split(self.encoder.apply(of("encoder."), x, rng))
        z = mu
        if rng is not None:
            epsilon = rng.standard_normal(raw(mu).shape).astype(raw(mu).dtype)
            z = mu + ops.exp(0.5 * log_var) * like(epsilon, raw(mu))
        return self._crop(self.decoder.apply(of("decoder."), z, rng)), mu, log_var

    def _split(self, encoded):
        return encoded[:, : self.latent], encoded[:, self.latent :]

    def _crop(self, logits):
        h, w, _ = self.shape  # the decoder's sizes are multiples of 4
        return logits[:, :h, :w]

    def decode(self, z):
        """The images (N, H, W, C), pixels in (0, 1), that latent vectors ``z`` (N, latent) stand for. Differentiable."""
        return ops.sigmoid(self._crop(self.decoder(z)))

    def reconstruct(self, x):
        """What the autoencoder makes of images ``x`` by way of the mean of z: the same shape, pixels in (0, 1). Differentiable."""
        return ops.sigmoid(self(x)[0])

    def activation_bytes(self, shape: tuple, dtype) -> int:
        """What one example needs (for :func:`minadv.parallel.chunk_size`)."""
        return self.encoder.activation_bytes(shape, dtype) + self.decoder.activation_bytes(
            (self.latent,), dtype
        )


def gaussian_kl(mu, log_var):
    r"""KL divergence of :math:`N(\mu, \sigma^2)` from :math:`N(0, 1)`, summed over the latent numbers:
    :math:`\tfrac{1}{2} \sum (\mu^2 + \sigma^2 - 1 - \log \sigma^2)`.

    ``mu`` and ``log_var``, :math:`\log \sigma^2`: (N, latent). Returns nats, (N,); differentiable.
    """
    return 0.5 * ops.sum(mu * mu + ops.exp(log_var) - 1.0 - log_var, axis=1)


def negative_elbo(forward: Callable, x, y=None):
    r"""The VAE's loss per example, for :func:`minadv.training.fit`: minus the evidence lower bound, reconstruction + :func:`gaussian_kl`.

    .. math:: -\log p(x \mid z) + KL \left( N(\mu, \sigma^2) \, \Vert \, N(0, 1) \right)

    The first term is the binary cross-entropy of all pixels, which must lie in [0, 1], for the one z that was drawn.
    ``fit(vae, x, x, loss=negative_elbo)``: the images are their own labels. Raises :class:`ValueError` for pixels outside.
    """
    pixels = raw(x)
    if len(x) and not (float(pixels.min()) >= 0 and float(pixels.max()) <= 1):
        raise ValueError(
            f"x must lie in [0, 1], got values from {float(pixels.min())} to {float(pixels.max())}"
        )
    logits, mu, log_var = forward(x)
    return losses.binary_cross_entropy(logits, x) + gaussian_kl(mu, log_var)
