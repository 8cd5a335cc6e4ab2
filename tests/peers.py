"""A small trained network, and the same one in PyTorch, for tests next to other libraries."""

from __future__ import annotations

from functools import cache

import pytest

from minadv import data, fit, models


@cache
def digits_mlp():
    """``(model, x, y)``: a network of 32 hidden units, and 100 digits that it reads correctly."""
    d = data.digits()
    model = models.mlp((8, 8, 1), hidden=32)
    fit(model, d.x_train, d.y_train, epochs=15, batch_size=32, progress=False)
    right = (model(d.x_test).argmax(axis=1) == d.y_test).nonzero()[0][:100]
    return model, d.x_test[right], d.y_test[right]


def in_torch():
    """``(peer, inputs, labels)`` of torchattacks and Foolbox for :func:`digits_mlp`."""
    torch = pytest.importorskip("torch")
    from tests.benchmarks import peers

    torch.set_num_threads(1)  # a team of threads costs more than it brings for so small a network
    model, x, y = digits_mlp()
    peer = peers.frozen(peers.in_torch(model))
    return peer, torch.from_numpy(x).permute(0, 3, 1, 2).contiguous(), torch.from_numpy(y)


def as_ours(x_adv):
    """(N, C, H, W) of PyTorch to (N, H, W, C)."""
    return x_adv.detach().permute(0, 2, 3, 1).numpy()
