"""Wrong solutions of homework 4, and the checks that each of them loses."""

from homework.grader.selftest import Bug

_PAIR = """    S = np.where(pairs & (a > 0) & (b < 0), a * -b, 0.0).reshape(N, D * D)
    best = S.argmax(axis=1)
    pair = np.stack([best // D, best % D], axis=1)
    return np.where(S.max(axis=1)[:, None] > 0, pair, -1)
"""
_SINGLES = """    S = np.where(free & (dt > 0) & (do < 0), dt * -do, 0.0)
    pair = np.sort((-S).argsort(axis=1)[:, :2], axis=1)
    if D < 2:
        return np.full((N, 2), -1)
    good = np.take_along_axis(S, pair, axis=1).min(axis=1) > 0
    return np.where(good[:, None], pair, -1)
"""

BUGS = (
    Bug(
        "the answer's derivative for the sum",
        "return pull(is_t.astype(float)), pull((~is_t).astype(float))",
        "dt = pull(is_t.astype(float)); return dt, pull(np.eye(logits.shape[1])[logits.argmax(1)]) "
        "- dt",
        {"A1"},
        ("all the other logits",),
    ),
    Bug("without (1 - F_t)", "pull(p_t * (is_t - p))", "pull(p_t * is_t)", {"A2"}, ("1 - F_t",)),
    Bug(
        "and for or",
        "(dt < 0) | (do > 0)",
        "(dt < 0) & (do > 0)",
        {"B1", "B2"},
        ("the saliency is 0",),
    ),
    Bug(
        "the sign of theta is ignored",
        "    if theta < 0:\n        dt, do = -dt, -do\n",
        "",
        {"B2"},
        ("theta = -0.5",),
    ),
    Bug(
        "argmax of zeros",
        "np.where(S.max(axis=1) > 0, S.argmax(axis=1), -1)",
        "S.argmax(axis=1)",
        {"C1"},
        ("not 0",),
    ),
    Bug("the two best single pixels", _PAIR, _SINGLES, {"D1"}, ("saliency",)),
    Bug("a pixel with itself", "k=1)", "k=0)", {"D1", "D2"}, ("no pair with p < q",)),
    Bug(
        "counts steps, not pixels",
        "    for _ in range(x.shape[1] * int(np.ceil((high - low) / abs(theta)))):",
        "    for _ in range(budget):",
        {"E1"},
        ("stopped without success",),
    ),
    # A pixel that is chosen for ever fools nothing on the digits either: E3 sees it, too.
    Bug(
        "chooses what is at the bound",
        "free = z < high if theta > 0 else z > low",
        "free = np.ones(z.shape, bool)",
        {"E1", "E3"},
        ("stopped without success",),
    ),
    Bug(
        "goes on after the success", "free & todo[:, None]", "free", {"E2"}, ("after the success",)
    ),
)
