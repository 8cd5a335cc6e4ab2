"""Homework 7: defenses. Train one, and break one. Write the six functions; hand in this file.

Images are flat rows: ``x`` is (N, D). Arguments are read-only: work on copies. ``minadv.vjp(model,
x)`` gives ``(logits, pull)``, and ``pull(g)`` is g times the derivative of the logits by x.
"""

import numpy as np

from minadv import losses, models, training, vjp


def robust_loss(W, b, X, t, eps):
    """The mean of log(1 + exp(-m)), m = t (W·x + b) - eps ||W||_1, and its gradient by W and b.

    W: (D,); b: a number; X: (N, D); t: (N,), +1 or -1; eps >= 0. m is the smallest margin in the
    box of size eps around x. The derivative of |W_i| at 0 counts as 0. Nothing overflows for |m| =
    10,000. Returns (loss, gradient by W, gradient by b): shapes (), (D,), ().

    >>> loss, g_W, g_b = robust_loss(np.array([1.0]), 0.0, np.array([[0.5]]), np.array([1.0]), 0.5)
    >>> round(float(loss), 6), g_W.tolist(), float(g_b)
    (0.693147, [0.0], -0.5)
    """
    # begin solution: A
    m = t * (X @ W + b) - eps * np.abs(W).sum()
    e = np.exp(-np.abs(m))
    loss = np.maximum(-m, 0) + np.log1p(e)
    slope = -np.where(m >= 0, e, 1) / (1 + e)  # of the loss by m
    g_W = (slope[:, None] * (t[:, None] * X - eps * np.sign(W))).mean(axis=0)
    return loss.mean(), g_W, (slope * t).mean()
    # end solution


def mixed_loss(model, x, y, attack, weight):
    """L(x) + weight · L(x_adv) per image, where L is the cross-entropy with the label y.

    model: images to logits (N, K); x: (N, D); y: (N,) integers; attack: attack(x, y) gives x_adv
    (N, D), and is called once; x_adv is a constant. ``minadv.losses.cross_entropy(logits, y)`` is
    (N,). Returns (N,), which can be differentiated by the weights of the model: so use model,
    losses and arithmetic only.
    """
    # begin solution: B
    x_adv = attack(x, y)
    clean = losses.cross_entropy(model(x), y)
    return clean + weight * losses.cross_entropy(model(x_adv), y)
    # end solution


def train_robust(x, y, eps, rng):
    """Train the MLP 64-128-10 so that it withstands changes of size eps.

    x: (N, 64); y: (N,); rng: a numpy.random.Generator. A recipe that is enough: ``models.mlp((64,),
    rng=rng)``, and ``training.fit`` with the objective mixed_loss, weight 1, and one step of FGSM
    on the model as it is at that moment; Adam(0.001), batches of 32, 8 epochs, progress=False.
    Returns the model's parameters, a dict of four arrays.
    """
    # begin solution: B
    model = models.mlp((64,), rng=rng)

    def attack(a, labels):
        _, pull = vjp(lambda v: losses.cross_entropy(model(v), labels), a)
        g = pull(np.ones(len(a), a.dtype))
        return np.clip(a + a.dtype.type(eps) * np.sign(g), 0, 1)

    def objective(forward, a, labels):
        return mixed_loss(forward, a, labels, attack, 1.0)

    adam = training.Adam(0.001)
    training.fit(
        model, x, y, objective=objective, optimizer=adam, epochs=8, batch_size=32, rng=rng,
        progress=False,
    )  # fmt: skip
    return dict(model.parameters)
    # end solution


def soft_labels(logits, T):
    """The softmax of z / T, row by row.

    logits: (N, K); T > 0. Returns (N, K). No exponential overflows.

    >>> soft_labels(np.array([[1e4, 1e4]]), 1.0).tolist()
    [[0.5, 0.5]]
    """
    # begin solution: C
    z = logits / T
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)
    # end solution


def flat(model, x, y):
    """The share of images whose textbook gradient of the cross-entropy is exactly 0 in every pixel.

    The textbook gradient: softmax(z) - onehot(y), computed in the dtype of the logits z, and pulled
    back to the image. model: images to logits (N, K); x: (N, D); y: (N,). Returns a number in [0,
    1].

    >>> flat(lambda x: x @ np.array([[1.0, -1.0]]) * 1e4, np.array([[0.5]]), np.array([0]))
    1.0
    """
    # begin solution: D
    z, pull = vjp(model, x)
    e = np.exp(z - z.max(axis=1, keepdims=True))
    onehot = (y[:, None] == np.arange(z.shape[1])).astype(z.dtype)
    g = pull(e / e.sum(axis=1, keepdims=True) - onehot)
    return float((g == 0).all(axis=1).mean())
    # end solution


def break_masked(model, x, y, eps):
    """Images that fool a model whose logits were multiplied by a large, unknown number.

    model: images to logits (N, K); x: (N, D), in [0, 1]; y: (N,). Returns x_adv (N, D), with no
    pixel more than eps from x and all in [0, 1]. One step is enough. With two classes the answer
    must not depend on the number at all.
    """
    # begin solution: E
    z, pull = vjp(model, x)
    is_y = y[:, None] == np.arange(z.shape[1])
    others = np.where(is_y, -np.inf, z)
    e = np.exp(others - others.max(axis=1, keepdims=True))
    g = pull((e / e.sum(axis=1, keepdims=True) - is_y).astype(z.dtype))
    return np.clip(x + x.dtype.type(eps) * np.sign(g), 0, 1)
    # end solution
