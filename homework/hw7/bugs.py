"""Wrong solutions of homework 7, and the checks that each of them loses."""

from homework.grader.selftest import Bug

_FIT = """    training.fit(
        model, x, y, objective=objective, optimizer=adam, epochs=8, batch_size=32, rng=rng,
        progress=False,
    )"""
_PLAIN = """    training.fit(
        model, x, y, optimizer=adam, epochs=8, batch_size=32, rng=rng, progress=False,
    )"""

BUGS = (
    Bug(
        "plus eps ||W||",
        "(X @ W + b) - eps * np.abs(W).sum()",
        "(X @ W + b) + eps * np.abs(W).sum()",
        {"A1", "A2"},
        ("corners",),
    ),
    Bug(
        "the l2 norm",
        "eps * np.abs(W).sum()\n",
        "eps * np.sqrt((W * W).sum())\n",
        {"A1", "A2"},
        ("corners",),
    ),
    Bug(
        "no norm in the gradient",
        "(t[:, None] * X - eps * np.sign(W))",
        "(t[:, None] * X)",
        {"A2"},
        ("||W||_1",),
    ),
    Bug(
        "exp overflows",
        "loss = np.maximum(-m, 0) + np.log1p(e)",
        "loss = np.log(1 + np.exp(-m))",
        {"A1", "A2"},
        ("finite",),
    ),
    # The network then learns its own mistakes on x_adv: B2 sees that.
    Bug(
        "labels of x_adv",
        "losses.cross_entropy(model(x_adv), y)",
        "losses.cross_entropy(model(x_adv), np.argmax("
        "getattr(model(x_adv), 'value', model(x_adv)), axis=1))",
        {"B1", "B2"},
        ("label y",),
    ),
    Bug("no weight", "clean + weight * losses", "clean + losses", {"B1"}, ("weight",)),
    Bug("trains on clean images", _FIT, _PLAIN, {"B2"}, ("accuracy",)),
    Bug(
        "crafts once, before training",
        _FIT,
        "    x, y = np.concatenate([x, attack(x, y)]), np.concatenate([y, y])\n" + _PLAIN,
        {"B2"},
        ("accuracy",),
    ),
    Bug("T multiplies", "z = logits / T", "z = logits * T", {"C1"}, ("softmax(z / T)",)),
    Bug(
        "float64 in D",
        "    z, pull = vjp(model, x)\n    e = ",
        "    z, pull = vjp(model, x.astype(np.float64))\n    e = ",
        {"D1"},
        ("dtype",),
    ),
    # In two classes p - onehot at y is 0 where the other p is below 1e-16, in float64 too: so E1.
    Bug(
        "divides by a guessed 20",
        "    others = np.where(is_y, -np.inf, z)\n",
        "    others = z / z.dtype.type(20)\n",
        {"E1", "E2"},
        ("fool the model",),
    ),
    Bug(
        "cross-entropy of probabilities",
        "    others = np.where(is_y, -np.inf, z)\n",
        "    others = z\n",
        {"E1", "E2"},
        ("must not fade",),
    ),
)
