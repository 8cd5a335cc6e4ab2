"""Homework 5: DeepFool, the shortest way out. Write the three functions; hand in this file.

Images are flat rows: ``x`` is (N, D). Arguments are read-only: work on copies. ``minadv.vjp(model,
x)`` gives ``(logits, pull)``, and ``pull(g)`` is g times the derivative of the logits by x.
"""

import numpy as np

from minadv import vjp


def differences(model, x, y):
    """How far each logit lies above that of y, f_k = z_k - z_y, and its gradient w_k by x.

    model: images to logits (N, K); x: (N, D); y: (N,) integers. Returns (f, w), (N, K) and (N, K,
    D); row y of both is 0. One call of vjp, and at most K pulls for the whole batch: e_k pulled
    back gives row k of every image.

    >>> model = lambda x: x @ np.array([[1.0, 0.0], [0.0, 3.0]])
    >>> f, w = differences(model, np.array([[1.0, 2.0]]), np.array([1]))
    >>> f.tolist(), w.tolist()
    ([[-5.0, 0.0]], [[[1.0, -3.0], [0.0, 0.0]]])
    """
    # begin solution: A
    logits, pull = vjp(model, x)
    images = np.arange(len(x))
    units = np.eye(logits.shape[1], dtype=logits.dtype)
    rows = np.stack([pull(np.tile(unit, (len(x), 1))) for unit in units], axis=1)
    return logits - logits[images, y][:, None], rows - rows[images, y][:, None]
    # end solution


def nearest(f, w, y, norm):
    """The nearest of the hyperplanes f_k + w_k·r = 0 to r = 0, and the smallest r that reaches it.

    f: (N, K), all <= 0, row y is 0; w: (N, K, D); y: (N,). norm "l2": the distance is |f_k| /
    ||w_k||_2, and r goes along w_k. "linf": the distance is |f_k| / ||w_k||_1, and r goes along
    sign(w_k). Returns (k, r), (N,) integers and (N, D). k is never y and never a class with w_k =
    0. Where every other w_k is 0, k is y and r is 0. Add no small number to a denominator: it
    changes r.

    >>> f, w = np.array([[0.0, -10.0]]), np.array([[[0.0, 0.0], [3.0, 4.0]]])
    >>> k, r = nearest(f, w, np.array([0]), "l2")
    >>> k.tolist(), r.round(9).tolist()
    ([1], [[1.2, 1.6]])
    """
    # begin solution: B
    images = np.arange(len(f))
    size = np.sqrt((w * w).sum(axis=2)) if norm == "l2" else np.abs(w).sum(axis=2)
    closed = (size == 0) | (y[:, None] == np.arange(f.shape[1]))
    safe = np.where(closed, 1, size)
    distance = np.where(closed, np.inf, np.abs(f) / safe)
    k = distance.argmin(axis=1)
    k = np.where(closed.all(axis=1), y, k)
    direction = w[images, k] / safe[images, k][:, None] if norm == "l2" else np.sign(w[images, k])
    length = np.where(closed.all(axis=1), 0, np.abs(f[images, k]) / safe[images, k])
    return k, length[:, None] * direction
    # end solution


def deepfool(model, x, *, overshoot=0.02, steps=50, bounds=(0.0, 1.0)):
    """DeepFool for the l2 norm: step just beyond the nearest boundary, until the label changes.

    model: images to logits (N, K); x: (N, D); overshoot >= 0; steps: the most per image; bounds:
    what a pixel may be. Each step is z <- clip(z + (1 + overshoot) r). y is what the model says
    about x, and it stays so. An image whose label has changed is left alone. A pixel at a bound
    that w_k pushes beyond it cannot help: before nearest, set w_k to 0 there. Returns x_adv (N, D).

    >>> model = lambda x: x @ np.array([[1.0, -1.0]])
    >>> deepfool(model, np.array([[0.5]]), overshoot=0.5, bounds=(-9, 9)).tolist()
    [[-0.25]]
    """
    # begin solution: C
    z = x.copy()
    y = model(x).argmax(axis=1)
    running = np.arange(len(x))
    for _ in range(steps):
        f, w = differences(model, z[running], y[running])
        now = z[running][:, None]
        stopped = ((now <= bounds[0]) & (w < 0)) | ((now >= bounds[1]) & (w > 0))
        r = nearest(f, np.where(stopped, 0, w), y[running], "l2")[1]
        z[running] = np.clip(z[running] + (1 + overshoot) * r, *bounds)
        running = running[model(z[running]).argmax(axis=1) == y[running]]
        if len(running) == 0:
            break
    return z
    # end solution
