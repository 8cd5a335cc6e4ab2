"""A model of another framework, as one that every attack takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

from minadv.autograd import Tensor, raw, record
from minadv.backend import like, to_numpy
from minadv.checks import check_choice, check_flag, check_float_dtype, check_function
from minadv.inference import check_logits

__all__ = ["external"]

FORWARD, VJP = "forward(x)", "vjp(x)"


class external:
    r"""A model that another framework computes and differentiates, as a model here.

    Every attack takes it, on the user's own network, with its exact ball and its definition of
    success. Forwards it is ``forward``. Backwards it is the pull that ``vjp`` returns, for the
    gradient :math:`g = \partial L / \partial z` that an attack sends to the logits z.

    Parameters
    ----------
    forward : function
        ``forward(x)``, from images to logits (N, K), without a gradient.
    vjp : function, optional
        ``vjp(x)``, from images to ``(logits, pull)``, as :func:`minadv.autograd.vjp` and
        ``jax.vjp`` return them. ``pull(g)``, g (N, K), is :math:`\sum_{nk} g_{nk} \, \partial
        z_{nk} / \partial x`, in the shape of ``x``. It may be called again and again. Without
        ``vjp``, the model answers queries alone: black-box attacks take it, and
        :class:`~minadv.attacks.query_gradient.QueryGradient`.
    layout : {"NHWC", "NCHW"}
        What the other side takes images as. Here they are (N, H, W, C) in any case, and gradients
        are turned back.
    dtype : dtype, optional
        What the other side computes in. Unset: what the images have.
    thread_safe : bool
        Whether both functions may be called by several threads at once.

    Both functions are given NumPy arrays of their own, contiguous, and may change them. They
    return arrays of NumPy, CuPy, JAX or PyTorch, on any device; those are brought to where the
    images are, in the images' dtype.

    Raises
    ------
    TypeError
        If an argument is not as said here, a model without ``vjp`` is differentiated, or what
        comes back is no array.
    ValueError
        If logits are not finite numbers (N, K), or a gradient is not finite or of another shape.

    Examples
    --------
    PyTorch, on whatever ``device`` the network is. ``eval()`` turns batch statistics and Dropout
    off; the images lie in [0, 1], so a ``Normalize`` belongs into the network::

        net.eval().requires_grad_(False)

        def tensor(a):
            return torch.from_numpy(a).to(device)

        def forward(x):
            with torch.no_grad():
                return net(tensor(x))

        def vjp(x):
            x = tensor(x).requires_grad_()
            z = net(x)
            return z, lambda g: torch.autograd.grad(z, x, tensor(g), retain_graph=True)[0]

        model = minadv.external(forward, vjp, layout="NCHW")
        minadv.fgsm(model, images, y=labels, eps=8 / 255)  # images (N, H, W, C), of NumPy

    JAX, where ``net(x)`` is a function from images to logits::

        model = minadv.external(jax.jit(net), lambda x: jax.vjp(net, x), dtype="float32")

    ONNX Runtime, for queries::

        session = onnxruntime.InferenceSession("model.onnx")
        name = session.get_inputs()[0].name
        model = minadv.external(
            lambda x: session.run(None, {name: x})[0], layout="NCHW", dtype="float32"
        )
        minadv.one_pixel(model, images, y=labels)
        minadv.pgd(minadv.QueryGradient(model), images, y=labels, eps=8 / 255)
    """

    def __init__(
        self,
        forward: Callable,
        vjp: Callable | None = None,
        *,
        layout: Literal["NHWC", "NCHW"] = "NHWC",
        dtype=None,
        thread_safe: bool = False,
    ):
        self.forward = check_function("forward", forward, FORWARD, None)
        self.vjp = None if vjp is None else check_function("vjp", vjp, VJP, None)
        self.layout = check_choice("layout", layout, "NHWC", "NCHW")
        self.dtype = None if dtype is None else check_float_dtype("dtype", dtype)
        self.thread_safe = check_flag("thread_safe", thread_safe)

    def __call__(self, x):
        images = raw(x)
        given = self._given(images)
        if not isinstance(x, Tensor):
            return self._here(check_logits(array("forward", self.forward(given)), len(x)), images)
        if self.vjp is None:
            raise TypeError(
                "this model has no gradient: give minadv.external(forward, vjp) a vjp, or estimate "
                "the gradient from queries, minadv.QueryGradient(model)"
            )
        shape, answer = given.shape, self.vjp(given)
        if not isinstance(answer, tuple | list) or len(answer) != 2 or not callable(answer[1]):
            raise TypeError(
                "vjp must return (logits, pull), pull a function from the logits' gradient to the "
                f"images', got {type(answer).__name__}"
            )
        logits, pull = check_logits(array("vjp", answer[0]), len(x)), answer[1]

        def rule(g):
            gradient = pull(np.array(to_numpy(g), dtype=logits.dtype, order="C"))
            if isinstance(gradient, tuple | list) and len(gradient) == 1:  # as of jax.vjp
                gradient = gradient[0]
            gradient = check_gradient(array("pull", gradient), shape)
            turned = gradient.transpose(0, 2, 3, 1) if self.layout == "NCHW" else gradient
            return self._here(turned, images)

        return record(self._here(logits, images), (x, rule))

    def _given(self, images) -> np.ndarray:
        """A copy of the images as the other side takes them."""
        x = to_numpy(images)
        if self.layout == "NCHW":
            if x.ndim != 4:
                raise ValueError(
                    f'layout="NCHW" is for images (N, H, W, C), got a batch of shape {x.shape}'
                )
            x = x.transpose(0, 3, 1, 2)
        return np.array(x, dtype=self.dtype, order="C")

    @staticmethod
    def _here(value: np.ndarray, images):
        """``value`` where the images are, in their dtype."""
        return like(np.ascontiguousarray(value, dtype=images.dtype), images)

    def __repr__(self):
        return f"external({self.forward!r}, {self.vjp!r}, layout={self.layout!r})"


def array(name: str, value) -> np.ndarray:
    """What the function ``name`` returned as a NumPy array, from whatever device it is on."""
    if hasattr(value, "detach"):  # PyTorch: off its graph, off its device
        value = value.detach().cpu()
    try:
        found = to_numpy(value)
    except Exception as error:  # every framework has its own
        raise TypeError(f"{name} must return an array that NumPy can read: {error}") from None
    if found.dtype.kind not in "fiub":
        got = f"{type(value).__name__} of {found.dtype}"
        raise TypeError(f"{name} must return an array of numbers, got {got}")
    return found


def check_gradient(gradient: np.ndarray, shape: tuple) -> np.ndarray:
    """Check that a pull returned the gradient: finite, in the shape of the images handed over."""
    if gradient.dtype.kind != "f":
        raise TypeError(f"pull must return floating-point numbers, got {gradient.dtype}")
    if gradient.shape != shape:
        raise ValueError(
            f"pull must return the gradient in the shape of the images, {shape}, "
            f"got {gradient.shape}"
        )
    if not np.isfinite(gradient).all():
        raise ValueError("pull must return a finite gradient, got NaN or infinity")
    return gradient
