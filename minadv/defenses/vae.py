r"""A convolutional variational autoencoder (D10): Kingma & Welling 2014, *Auto-encoding variational Bayes*.

An encoder maps an image x to a normal distribution over a few latent numbers z, a decoder maps z back to an image. Trained on clean images,
it draws whatever it is shown as the clean image that it resembles most.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from minadv import losses, ops
from minadv.attacks.common import check_count
from minadv.autograd import raw
from minadv.backend import array_module, like
from minadv.layers import Conv2D, ConvTranspose2D, Dense, Flatten, Layer, ReLU, Reshape, Sequential

__all__ = ["VAE", "gaussian_kl", "negative_elbo"]


class VAE(Layer):
    r"""Encoder, reparametrisation :math:`z = \mu + \sigma \epsilon`, decoder.

    ``vae(x)`` and ``vae.apply(parameters, x, rng)`` return ``(logits, mu, log_var)``: the logits of the reconstructed pixels, shape of x,
    and the mean and log variance of z, each (N, latent). With an ``rng`` (training) :math:`\epsilon` is drawn from it; without, z is the
    mean.

    Arguments: ``shape``, (H, W, C) of images in [0, 1]; ``latent``, the number of latent numbers (2 in the document); ``filters`` of the
    two stride-2 convolutions; ``hidden`` units between them and z; ``rng``, Generator or seed of the initial weights.
    """

    def __init__(self, shape: tuple, *, latent: int = 2, filters: tuple = (32, 64), hidden: int = 64, rng=0, dtype=np.float32):
        rng = np.random.default_rng(rng)
        h, w, c = (check_count("shape", n) for n in shape)
        self.shape, self.latent = (h, w, c), check_count("latent", latent)
        a, b = filters
        small = tuple(-(-n // 4) for n in (h, w))  # what two stride-2 convolutions leave
        how = {"rng": rng, "init": "he", "dtype": dtype}
        self.encoder = Sequential(
            Conv2D(c, a, 3, stride=2, padding="same", **how), ReLU(),
            Conv2D(a, b, 3, stride=2, padding="same", **how), ReLU(),
            Flatten(),
            Dense(small[0] * small[1] * b, hidden, **how), ReLU(),
            Dense(hidden, 2 * self.latent, rng=rng, dtype=dtype),  # mu and log_var
        )  # fmt: skip
        self.decoder = Sequential(
            Dense(self.latent, hidden, **how), ReLU(),
            Dense(hidden, small[0] * small[1] * b, **how), ReLU(),
            Reshape(*small, b),
            ConvTranspose2D(b, a, 3, stride=2, padding="same", **how), ReLU(),
            ConvTranspose2D(a, c, 3, stride=2, padding="same", rng=rng, dtype=dtype),
        )  # fmt: skip

    @property
    def parameters(self) -> dict:
        """The arrays of both halves, as ``"encoder.0.weight"``, ..., ``"decoder.7.bias"``."""
        halves = {"encoder": self.encoder, "decoder": self.decoder}
        return {f"{half}.{name}": value for half, model in halves.items() for name, value in model.parameters.items()}

    parameters = parameters.setter(Layer.parameters.fset)

    def _set(self, name, value):
        half, name = name.split(".", 1)
        getattr(self, half)._set(name, value)

    def apply(self, parameters, x, rng=None):
        encoder, decoder = ({n[8:]: p for n, p in parameters.items() if n.startswith(half)} for half in ("encoder.", "decoder."))
        mu, log_var = self._split(self.encoder.apply(encoder, x, rng))
        z = mu
        if rng is not None:
            epsilon = rng.standard_normal(raw(mu).shape).astype(raw(mu).dtype)
            z = mu + ops.exp(0.5 * log_var) * like(epsilon, raw(mu))
        return self._crop(self.decoder.apply(decoder, z, rng)), mu, log_var

    def _split(self, encoded):
        return encoded[:, : self.latent], encoded[:, self.latent :]

    def _crop(self, logits):
        h, w, _ = self.shape  # the decoder's sizes are multiples of 4
        return logits[:, :h, :w]

    def encode(self, x):
        """The mean and the log variance of z for images ``x``: two arrays (N, latent)."""
        return self._split(self.encoder(x))

    def decode(self, z):
        """The images (N, H, W, C) in (0, 1) that latent vectors ``z`` (N, latent) stand for."""
        return ops.sigmoid(self._crop(self.decoder(z)))

    def reconstruct(self, x):
        """What the autoencoder makes of images ``x``, by way of the mean of z: the same shape, in (0, 1). Differentiable."""
        return self.decode(self.encode(x)[0])

    def activation_bytes(self, shape: tuple, dtype) -> int:
        """What one example needs (for :func:`minadv.parallel.chunk_size`)."""
        xp = array_module(*self.encoder.parameters.values())
        code = self.encoder.activation_bytes(shape, dtype)
        return code + sum(a.nbytes for a in self.decoder.activations(xp.zeros((1, self.latent), dtype)))


def gaussian_kl(mu, log_var):
    r"""KL of :math:`N(\mu, \sigma^2)` from :math:`N(0, 1)`, :math:`\tfrac{1}{2} \sum (\mu^2 + \sigma^2 - 1 - \log \sigma^2)` per example,
    (N,)."""
    return 0.5 * ops.sum(mu * mu + ops.exp(log_var) - 1.0 - log_var, axis=1)


def negative_elbo(forward: Callable, x, y=None):
    r"""The VAE's loss per example, for :func:`minadv.training.fit`: reconstruction (binary cross-entropy) plus :func:`gaussian_kl`.

    ``fit(vae, x, x, loss=negative_elbo)``: the images are their own labels.
    """
    logits, mu, log_var = forward(x)
    return losses.binary_cross_entropy(logits, x) + gaussian_kl(mu, log_var)
