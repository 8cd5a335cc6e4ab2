"""Wrong solutions of homework 6, and the checks that each of them loses."""

from homework.grader.selftest import Bug

BUGS = (
    # A choice with c itself is none of the 24, so A2 sees it too.
    Bug(
        "partners may equal c",
        "    np.fill_diagonal(order, 2)\n",
        "",
        {"A1", "A2"},
        ("its own partner",),
    ),
    Bug(
        "permutation shared by rows",
        "    order = rng.random((P, P))\n",
        "    return (np.arange(P)[:, None] + rng.permutation(P - 1)[:3] + 1) % P\n"
        "    order = None\n",
        {"A2"},
        ("by itself",),
    ),
    Bug(
        "F X2 - X3",
        "F * (X[p[:, 1]] - X[p[:, 2]])",
        "F * X[p[:, 1]] - X[p[:, 2]]",
        {"B1"},
        ("mutant",),
    ),
    Bug(
        "CR reversed",
        "take = rng.random((P, D)) < CR",
        "take = rng.random((P, D)) >= CR",
        {"B2"},
        ("expected CR",),
    ),
    Bug(
        "no coordinate in any case",
        "    take[np.arange(P), rng.integers(D, size=P)] = True\n",
        "",
        {"B2"},
        ("at least one",),
    ),
    Bug("a tie loses", "better = fU <= fX", "better = fU < fX", {"B3"}, ("tie",)),
    # It spends twice the budget of part E, too.
    Bug(
        "asks again for the old population",
        "fU = objective(U)",
        "fX, fU = objective(X), objective(U)",
        {"C1", "E2"},
        ("rows were asked",),
    ),
    # Outside the box there are no pixels, and a linear function has no minimum.
    Bug(
        "no clip",
        "np.clip(crossover(X, V, CR, rng), low, high)",
        "crossover(X, V, CR, rng)",
        {"C1", "C2", "E1", "E2"},
        ("outside the box",),
    ),
    Bug(
        "best not kept",
        "history.append(fX.min())",
        "history.append(fU.min())",
        {"C1"},
        ("best value so far",),
    ),
    Bug(
        "row * 7 rounded",
        "painted[int(row), int(column)]",
        "painted[round(row * 7 / 8), round(column * 7 / 8)]",
        {"D1", "D2"},
        ("rounded down",),
    ),
    Bug("the earlier gene wins", "in genes:", "in genes[::-1]:", {"D1"}, ("later gene",)),
    Bug(
        "raises p_y",
        "return predict(painted(X))[:, y]",
        "return -predict(painted(X))[:, y]",
        {"E1"},
        ("another label",),
    ),
    Bug("ignores the budget", "budget // P, 0.5", "2 * budget // P, 0.5", {"E2"}, ("budget is",)),
)
