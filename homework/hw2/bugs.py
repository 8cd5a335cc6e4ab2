"""Wrong solutions of homework 2, and the checks that each of them loses."""

from homework.grader.selftest import Bug

_EXACT = """        for _ in range(3):
            z = np.where(inside(z, sign), z, np.nextafter(z, back))
        for _ in range(3):
            beyond = np.nextafter(z, on)
            z = np.where(inside(beyond, sign), beyond, z)
"""

BUGS = (
    Bug(
        "exp overflows",
        "np.where(z >= 0, 1 / (1 + e), e / (1 + e))",
        "1 / (1 + np.exp(-z))",
        {"A1"},
        ("overflow",),
    ),
    Bug("eps * W", "eps * (W / length)", "eps * W", {"B2"}, ("length", "eps")),
    Bug("divides by the sum", "np.sqrt((W * W).sum())", "np.abs(W).sum()", {"B2"}, ("W·change",)),
    Bug(
        "the cross-entropy's gradient",
        "np.where(is_y, -np.inf, logits)",
        "logits",
        {"C1", "C2"},
        ("softmax",),
    ),
    # Rounded to nearest, an end is never one number too near: only D1 can see it.
    Bug("ends rounded to nearest", _EXACT, "", {"D1"}, ("more than eps",)),
    Bug(
        "ends in x's dtype",
        "z = (start + sign * eps).astype(x.dtype)\n",
        "return x + sign * x.dtype.type(eps)\n",
        {"D1", "D2"},
        ("more than eps",),
    ),
    Bug(
        "eps shrunk to be safe", "float(eps)\n", "float(eps) * (1 - 1e-6)\n", {"D2"}, ("too small",)
    ),
    Bug(
        "no bounds",
        "return np.maximum(ends(-1), low), np.minimum(ends(1), high)",
        "return ends(-1), ends(1)",
        {"D1"},
        ("bounds",),
    ),
    Bug(
        "sign(0) is 1",
        "step = np.sign(g)",
        "step = np.where(g >= 0, 1, -1).astype(x.dtype)",
        {"E2"},
        ("g is 0",),
    ),
    Bug(
        "target in the wrong direction",
        "x - step if targeted else x + step",
        "x + step",
        {"E2"},
        ("targeted",),
    ),
)
