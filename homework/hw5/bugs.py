"""Wrong solutions of homework 5, and the checks that each of them loses."""

from homework.grader.selftest import Bug

BUGS = (
    Bug(
        "nearest by |f| alone",
        "np.where(closed, np.inf, np.abs(f) / safe)",
        "np.where(closed, np.inf, np.abs(f))",
        {"B1", "B2"},
        ("nearest hyperplane",),
    ),
    Bug(
        "divides by ||w|| once",
        "w[images, k] / safe[images, k][:, None] if",
        "w[images, k] if",
        {"B1", "B3"},
        ("not on hyperplane",),
    ),
    Bug(
        "l2 length, linf direction",
        "else np.abs(w).sum(axis=2)",
        "else np.sqrt((w * w).sum(axis=2))",
        {"B2"},
        ("not on hyperplane",),
    ),
    Bug(
        "0/0 where w_k = 0", "safe = np.where(closed, 1, size)", "safe = size", {"B3"}, ("finite",)
    ),
    Bug(
        "only the runner-up, in B",
        "np.where(closed, np.inf, np.abs(f) / safe)",
        "np.where(closed, np.inf, np.abs(f)) + 0 * safe",
        {"B1", "B2"},
        ("nearest hyperplane",),
    ),
    Bug(
        "only the runner-up, in C",
        "        now = z[running][:, None]\n",
        """        now = z[running][:, None]
        others = np.where(y[running][:, None] == np.arange(f.shape[1]), -np.inf, f)
        w = np.where((others < others.max(axis=1, keepdims=True))[:, :, None], 0, w)
""",
        {"C1"},
        ("boundary",),
    ),
    # It stops at no success (four steps show that), and later steps start from rounded images: no
    # check of deepfool holds.
    Bug(
        "label of the current z",
        "running = running[model(z[running]).argmax(axis=1) == y[running]]",
        "y = model(z).argmax(axis=1)\n        if _ == 3:\n            break",
        {"C1", "C2", "D1", "D2"},
        ("nearest boundary",),
    ),
    Bug("overshoot 0.5", "(1 + overshoot) * r", "1.5 * r", {"C1", "D2"}, ("overshoot",)),
    # On the boundary itself, rounding decides whether it stops: C2 sees that.
    Bug("no overshoot", "(1 + overshoot) * r", "r", {"C1", "C2", "D1"}, ("overshoot",)),
    Bug(
        "no bounds",
        "np.clip(z[running] + (1 + overshoot) * r, *bounds)",
        "z[running] + (1 + overshoot) * r",
        {"D1"},
        ("outside the bounds",),
    ),
    Bug("pixels at a bound count", "np.where(stopped, 0, w)", "w", {"D1"}, ("images changed",)),
    # Where they are rounded to 0 or 1 its steps are huge: the changes are seven times too long.
    Bug(
        "probabilities, not logits",
        "        f, w = differences(model, z[running], y[running])\n",
        """        def p(v):
            a, back = vjp(model, v)
            e = np.exp(a - a.max(axis=1, keepdims=True))
            q = e / e.sum(axis=1, keepdims=True)
            units = np.eye(q.shape[1])
            return q, [back(q * (u - q @ u[:, None])) for u in units]
        q, rows = p(z[running])
        rows, own = np.stack(rows, axis=1), y[running]
        f = q - q[np.arange(len(q)), own][:, None]
        w = rows - rows[np.arange(len(q)), own][:, None]
""",
        {"C1", "C2", "D1", "D2"},
        ("did you use probabilities",),
    ),
)
