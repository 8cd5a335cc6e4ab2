"""Where both sides compute: the processor, or a CUDA device, with CuPy on ours and PyTorch's."""

from __future__ import annotations

import copy

import numpy as np
import torch

from minadv.backend import BackendError, to_numpy, use_backend


class Place:
    """The processor."""

    gpu = False
    device = "cpu"

    def array(self, x: np.ndarray):
        """``x`` as an array of ours."""
        return x

    def tensor(self, x: np.ndarray) -> torch.Tensor:
        """``x`` as a tensor of theirs; images (N, H, W, C) become (N, C, H, W)."""
        tensor = torch.from_numpy(x)
        tensor = tensor.permute(0, 3, 1, 2).contiguous() if x.ndim == 4 else tensor
        return tensor.to(self.device)

    def model(self, model):
        """A copy of our ``model`` whose weights are here."""
        model = copy.deepcopy(model)
        model.parameters = {name: self.array(to_numpy(w)) for name, w in model.parameters.items()}
        return model

    def wait(self):
        """Until all that was begun is done."""


class Gpu(Place):
    """A CUDA device."""

    gpu = True
    device = "cuda"

    def __init__(self):
        if not torch.cuda.is_available():
            raise BackendError("PyTorch finds no CUDA device")
        before = use_backend("numpy")
        self.xp = use_backend("cupy")  # raises BackendError
        use_backend(before.__name__)

    def array(self, x):
        return self.xp.asarray(x)

    def wait(self):
        self.xp.cuda.Device().synchronize()
        torch.cuda.synchronize()


CPU = Place()


def gpu() -> tuple[Gpu | None, str]:
    """The device, or None, and what was found."""
    try:
        found = Gpu()
    except BackendError as error:
        return None, f"No GPU column: {error}."
    return found, f"GPU: {torch.cuda.get_device_name()}."
