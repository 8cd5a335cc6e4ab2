"""Weights on disk: NumPy's ``.npz``, and ``.safetensors`` in PyTorch's layout. Never a pickle."""

from __future__ import annotations

import importlib
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np

from minadv.backend import like, to_numpy
from minadv.checks import check_path
from minadv.files import write_whole
from minadv.layers import Layer
from minadv.torch_layout import from_torch, to_torch

__all__ = ["load_weights", "save_weights"]

IGNORED = "num_batches_tracked"  # PyTorch counts batches beside the running statistics


def save_weights(model: Layer, path) -> Path:
    """Write all arrays of ``model`` to ``path``, see :func:`minadv.files.write_whole`.

    Parameters
    ----------
    model : Layer
        Its parameters and its state, ``model.arrays``. A layer that is used twice is written
        under both names.
    path : path
        Ends in ``.npz`` or in ``.safetensors``. The latter has PyTorch's names and layout, see
        :func:`load_weights`.

    Raises
    ------
    ValueError
        If the ending is another.
    ModuleNotFoundError
        If ``safetensors`` is needed and not installed.
    """
    path = check_path("path", path)
    _check_model(model)
    if path.suffix == ".safetensors":
        there = {
            name: np.ascontiguousarray(to_numpy(value)) for name, value in to_torch(model).items()
        }
        return write_whole(path, _safetensors().save(there))
    if path.suffix != ".npz":
        raise ValueError(f"path must end in .npz or .safetensors, got {path}")
    content = BytesIO()
    # Not np.savez, whose own keywords an array may be called: "file".
    with zipfile.ZipFile(content, "w") as archive:
        for name, value in model.arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, to_numpy(value), allow_pickle=False)
    return write_whole(path, content.getvalue())


def load_weights(model: Layer, path) -> Layer:
    """Put the weights in ``path`` into ``model``, and return it. Nothing is unpickled.

    Parameters
    ----------
    model : Layer
        The model. It keeps the weights that it had if anything is wrong.
    path : path
        A file that :func:`save_weights` wrote; or a ``.safetensors`` file of PyTorch. For
        :func:`~minadv.models.residual.resnet18` that is what timm offers (``resnet18.tv_in1k``
        has torchvision's weights). For another model, it holds the ``state_dict()`` of a
        ``torch.nn.Sequential`` of the same layers, those without weights included. PyTorch flattens
        (C, H, W), and this package (H, W, C). That is accounted for behind a convolution, or a
        Normalize of C channels.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        Naming the file and what is wrong: it is damaged, does not hold weights, or its arrays are
        missing, unknown, or of another shape.
    ModuleNotFoundError
        If ``safetensors`` is needed and not installed.

    Examples
    --------
    PyTorch's own files, ``.pth``, are pickles. Convert one where PyTorch is installed::

        state = torch.load("resnet18.pth", weights_only=True)
        safetensors.torch.save_file(state, "resnet18.safetensors")
    """
    path = check_path("path", path)  # a number would be read as an open file's, and closed
    _check_model(model)
    torch = path.suffix == ".safetensors"
    values = _read_safetensors(path) if torch else _read_npz(path)
    try:
        values = from_torch(model, values) if torch else values
        own = model.arrays
        model.arrays = {
            name: like(v.astype(own[name].dtype), own[name]) if name in own else v
            for name, v in values.items()
        }
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return model


def _check_model(model):
    if not isinstance(model, Layer):
        raise TypeError(f"model must be a Layer, which has parameters, got {model!r}")


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    try:
        with open(path, "rb") as file:
            if not zipfile.is_zipfile(file):  # NumPy would advise to unpickle it
                raise ValueError("it is no zip archive")
            file.seek(0)
            with np.load(file, allow_pickle=False) as arrays:
                return _numbers({name: arrays[name] for name in arrays.files})
    except FileNotFoundError:
        raise
    # What zipfile and NumPy trip over in a damaged file is of a dozen kinds.
    except Exception as error:
        raise ValueError(f"{path} is no readable .npz file of weights: {error}") from error


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    load = _safetensors().load
    content = path.read_bytes()
    try:
        arrays = load(content)
        return _numbers({n: a for n, a in arrays.items() if n.rpartition(".")[2] != IGNORED})
    except Exception as error:  # damaged, or a dtype that NumPy lacks
        raise ValueError(f"{path} is no readable .safetensors file: {error}") from error


def _numbers(arrays: dict) -> dict[str, np.ndarray]:
    if not all(isinstance(a, np.ndarray) and a.dtype.kind in "fiu" for a in arrays.values()):
        raise ValueError("it holds other things than arrays of numbers")
    return arrays


def _safetensors():
    """The module that reads and writes arrays of NumPy."""
    try:
        return importlib.import_module("safetensors.numpy")
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            "a .safetensors file needs the package safetensors: pip install safetensors"
        ) from None
