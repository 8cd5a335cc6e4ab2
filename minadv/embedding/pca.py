"""Principal component analysis (D7): the directions along which data vary most."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from minadv.backend import array_module
from minadv.checks import check_count
from minadv.embedding.points import check_finite, check_points
from minadv.parallel import one_blas_thread

__all__ = ["PCA", "pca"]


@dataclass(frozen=True, eq=False)
class PCA:
    """The axes along which data vary most, made by :func:`pca`. Features may have any shape, images
    included.

    ``mean`` ``(*features)``; ``components`` ``(k, *features)``, orthonormal, the strongest first;
    ``explained_variance`` ``(k,)``, of the data along each component (N - 1 in the denominator);
    ``explained_variance_ratio`` ``(k,)``, its share in the variance of all.
    """

    mean: np.ndarray
    components: np.ndarray
    explained_variance: np.ndarray
    explained_variance_ratio: np.ndarray

    def transform(self, x):
        """The coordinates ``(M, k)`` of ``x`` ``(M, *features)`` on the components."""
        check_finite("x", x)
        if x.shape[1:] != self.mean.shape:
            raise ValueError(
                f"x must have features of shape {self.mean.shape}, like the fitted data, got "
                f"{x.shape[1:]}"
            )
        components = self.components.reshape(len(self.components), -1)  # (k, D)
        return (x - self.mean).reshape(len(x), -1) @ components.T  # (M, k)

    def inverse_transform(self, z):
        """The points ``(M, *features)`` whose coordinates on the components are ``z`` ``(M, k)``,
        and zero on all others."""
        check_finite("z", z)
        if z.shape[1:] != self.explained_variance.shape:
            raise ValueError(
                f"z must have one column per component, (M, {len(self.components)}), got shape "
                f"{z.shape}"
            )
        return self.mean + array_module(z).tensordot(z, self.components, axes=1)


def pca(x, components=2) -> PCA:
    r"""Find the orthonormal directions along which ``x`` varies most, by the singular value
    decomposition of the centered data.

    .. math:: x - \bar x = U S V^\top, \qquad \text{components} = V^\top, \qquad
        \text{variance}_k = S_k^2 / (N - 1)

    ``x``: ``(N, *features)``, float32 or float64, N >= 2. ``components``: how many, 1 to min(N, D)
    for D features (default 2). A component's sign is free; here its entry of largest magnitude is
    positive, so that the same data give the same picture.

    Returns a :class:`PCA` in the dtype of ``x``: ``pca(clean).transform(adversarial)`` shows both
    on the same axes. Data that do not vary have a variance ratio of 0. Raises :class:`TypeError`
    and :class:`ValueError` for input that is not this.

    I. T. Jolliffe, "Principal Component Analysis", 2002. D7.
    """
    check_points(x)
    check_count("components", components, most=min(len(x), math.prod(x.shape[1:])))
    xp = array_module(x)

    # float32 sums of many examples drift; distances from the first one make the mean of equal
    # examples exact
    mean = (x[0] + (x - x[0]).mean(axis=0, dtype=xp.float64)).astype(x.dtype)
    # its many small steps gain little from a second thread, and wait for it where the cores are
    # busy
    with one_blas_thread():
        centered = (x - mean).reshape(len(x), -1)
        _, s, vt = xp.linalg.svd(centered, full_matrices=False)  # (min(N, D),), (min(N, D), D)

    vt = vt[:components]
    largest = xp.abs(vt).argmax(axis=1)
    vt = vt * xp.sign(vt[xp.arange(components), largest])[:, None]

    variance = s**2 / (len(x) - 1)
    total = float(variance.sum())
    ratio = variance[:components] / (total if total > 0 else 1.0)
    return PCA(mean, vt.reshape(components, *x.shape[1:]), variance[:components], ratio)
