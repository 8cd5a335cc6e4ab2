r"""Two pictures of a representation in the plane: PCA, and t-SNE (D7).

PCA is linear: fitted on clean examples, it shows adversarial ones on the same axes. t-SNE keeps
neighbors together and has no axes at all: what is to be compared is embedded together.

The equations numbered below are those of L. van der Maaten and G. Hinton, "Visualizing Data using
t-SNE", JMLR 9, 2008.
"""

from minadv.embedding.divergence import kl_divergence, kl_gradient
from minadv.embedding.neighbors import conditional_probabilities, joint_probabilities
from minadv.embedding.pca import PCA, pca
from minadv.embedding.tsne import TSNE, tsne

__all__ = [
    "PCA",
    "TSNE",
    "conditional_probabilities",
    "joint_probabilities",
    "kl_divergence",
    "kl_gradient",
    "pca",
    "tsne",
]
