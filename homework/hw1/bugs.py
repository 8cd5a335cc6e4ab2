"""Wrong solutions of homework 1, and the checks that each of them loses."""

from homework.grader.selftest import Bug

_ORDER = """    order, seen, stack = [], set(), [(output, False)]
    while stack:
        node, parents_done = stack.pop()
        if parents_done:
            order.append(node)
        elif id(node) not in seen:
            seen.add(id(node))
            stack.append((node, True))
            stack.extend((parent, False) for parent, _ in node.parents)
    sums = {id(output): g}
"""
_LOOP = """    for node in reversed(order):
        for parent, rule in node.parents:
            part = rule(sums[id(node)])
            k = id(parent)
            sums[k] = sums[k] + part if k in sums else part
"""
_RECURSIVE = """    order, seen = [], set()

    def visit(node):
        if id(node) not in seen:
            seen.add(id(node))
            for parent, _ in node.parents:
                visit(parent)
            order.append(node)

    visit(output)
    sums = {id(output): g}
"""
_PER_PATH = """    sums, stack = {}, [(output, g)]
    while stack:
        node, v = stack.pop()
        sums[id(node)] = sums.get(id(node), 0) + v
        stack.extend((parent, rule(v)) for parent, rule in node.parents)
"""
_ADDS = "sums[k] = sums[k] + part if k in sums else part"

BUGS = (
    Bug(
        "the stretched axis is dropped",
        "g.sum(axis=ones, keepdims=True)",
        "g.sum(axis=ones)",
        {"A1"},
        ("was asked for",),
    ),
    Bug(
        "axes from the wrong end",
        "tuple(range(new))",
        "tuple(range(len(shape), g.ndim))",
        {"A1"},
        ("sum of the g of its copies",),
    ),
    Bug("g * a for a", "return g * b, g * a", "return g * a, g * b", {"A2"}, ("g_a",)),
    Bug("b.T @ g for a", "return g @ b.T, a.T @ g", "return b.T @ g, a.T @ g", {"A3"}, ("g_a",)),
    Bug("exp overflows", "np.exp(z - z.max(axis=1, keepdims=True))", "np.exp(z)", {"A4"}, ("NaN",)),
    Bug("relu has a slope at 0", "g * (a > 0)", "g * (a >= 0)", {"A4"}, ("a = 0",)),
    # The ladder of B2 is made of shared nodes, so it sees this, too: 2^60 becomes 1.
    Bug(
        "overwrites at shared nodes",
        _ADDS,
        "sums[k] = part",
        {"B1", "B2", "D1"},
        ("2 paths", "2^60", "forward mode"),
    ),
    Bug("once per path", _ORDER + _LOOP, _PER_PATH, {"B2"}, ("1001st",)),
    Bug("recursion", _ORDER, _RECURSIVE, {"B4"}, ("RecursionError",)),
    Bug(
        "nothing for what is not used",
        "sums.get(id(x), np.zeros_like(x.value))",
        "sums.get(id(x), np.zeros(1))",
        {"B3", "D1"},
        ("the shape",),
    ),
    Bug(
        "forward difference",
        "(f(x + step) - f(x - step)) / (2 * h)",
        "(f(x + step) - f(x)) / h",
        {"C1"},
        ("forward difference",),
    ),
)
