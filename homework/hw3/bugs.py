"""Wrong solutions of homework 3, and the checks that each of them loses."""

from homework.grader.selftest import Bug

_LOOP = """        z = np.clip(z + eps / steps * np.sign(gradient(z)), low, high)
    return z
"""

BUGS = (
    Bug("steps of eps", "eps / steps * np.sign", "eps * np.sign", {"A1"}, ("more than eps / T",)),
    Bug(
        "the gradient at x, always",
        "np.sign(gradient(z))",
        "np.sign(gradient(x))",
        {"A1"},
        ("newest iterate",),
    ),
    Bug(
        "limits only at the end",
        _LOOP,
        """        z = z + eps / steps * np.sign(gradient(z))
    return np.clip(z, low, high)
""",
        {"A1"},
        ("limited to [low, high]",),
    ),
    Bug(
        "one length for the batch",
        "length = np.sqrt((d * d).sum(axis=1, keepdims=True))\n    outside",
        "length = np.sqrt((d * d).sum())\n    outside",
        {"B2"},
        ("inside",),
    ),
    Bug(
        "scales what is inside, too",
        "outside = length > eps",
        "outside = length > 0",
        {"B2"},
        ("bit for bit",),
    ),
    Bug(
        "0 / 0",
        """    g = g / np.where(largest > 0, largest, 1)
""",
        "    g = g / largest\n",
        {"C1"},
        ("NaN",),
    ),
    Bug(
        "squares underflow",
        """    g = g / np.where(largest > 0, largest, 1)
    length = np.sqrt((g * g).sum(axis=1, keepdims=True))
    return g / np.where(largest > 0, length, 1)
""",
        """    length = np.sqrt((g * g).sum(axis=1, keepdims=True))
    return g / np.where(length > 0, length, 1)
""",
        {"C1"},
        ("expected 1",),
    ),
    Bug(
        "one draw for all images",
        "d = rng.uniform(-1, 1, x.shape)\n",
        "d = rng.uniform(-1, 1, x.shape[1])\n",
        {"D2"},
        ("share one draw",),
    ),
    Bug("the radius is uniform", " ** (1 / x.shape[1])", "", {"D2"}, ("volume",)),
    Bug(
        "new wins",
        'better = np.where(new["success"] == best["success"], higher, new["success"])',
        "better = np.ones_like(higher)",
        {"E1"},
        ("must be kept",),
    ),
    Bug(
        "only the score counts",
        'better = np.where(new["success"] == best["success"], higher, new["success"])',
        "better = higher",
        {"E1"},
        ("success with score",),
    ),
    Bug(
        "one gradient for all steps",
        "        found, g = look(z)\n        best = keep_best(best, found)\n    return",
        "        found, _ = look(z)\n        best = keep_best(best, found)\n    return",
        {"F1", "F2"},
        ("expected at least",),
    ),
    Bug("returns the last", 'return best["z"]', "return z", {"F2"}, ("keep the best",)),
)
