"""Homework 6: differential evolution, and the one-pixel attack. Write the seven functions.

Hand in this file.

``rng`` is a ``numpy.random.Generator``. Arguments are read-only: work on copies. A population ``X``
is (P, D): one candidate per row.
"""

import numpy as np


def partners(P, rng):
    """Three partners for each of P candidates, as row numbers (P, 3).

    P >= 4. The partners of row c are not c and differ from each other. All choices are equally
    likely, and each row is drawn by itself.

    >>> partners(4, np.random.default_rng(0)).shape
    (4, 3)
    """
    # begin solution: A
    order = rng.random((P, P))
    np.fill_diagonal(order, 2)
    return order.argsort(axis=1)[:, :3]
    # end solution


def mutant(X, p, F):
    """The mutants X[p1] + F (X[p2] - X[p3]), where p1, p2, p3 are the columns of p.

    X: (P, D); p: (P, 3) integers; F: a number. Returns (P, D).

    >>> mutant(np.array([[1.0], [2.0], [4.0]]), np.array([[0, 2, 1]]), 0.5).tolist()
    [[2.0]]
    """
    # begin solution: B
    return X[p[:, 0]] + F * (X[p[:, 1]] - X[p[:, 2]])
    # end solution


def crossover(X, V, CR, rng):
    """The trials: each coordinate comes from V with probability CR, else from X.

    X, V: (P, D); CR in [0, 1]. In each row one coordinate, drawn uniformly, comes from V in any
    case. Each row is drawn by itself. So a coordinate comes from V with probability CR + (1 - CR) /
    D. Returns (P, D).

    >>> crossover(np.zeros((1, 2)), np.ones((1, 2)), 1.0, np.random.default_rng(0)).tolist()
    [[1.0, 1.0]]
    """
    # begin solution: B
    P, D = X.shape
    take = rng.random((P, D)) < CR
    take[np.arange(P), rng.integers(D, size=P)] = True
    return np.where(take, V, X)
    # end solution


def select(X, fX, U, fU):
    """The survivors: row by row the trial U if it is no worse than X, else X.

    X, U: (P, D); fX, fU: (P,), their values, which may be infinite; lower is better. Returns (rows,
    values), (P, D) and (P,).

    >>> tie = np.array([3.0])
    >>> rows, values = select(np.array([[1.0]]), tie, np.array([[2.0]]), tie)
    >>> rows.tolist(), values.tolist()
    ([[2.0]], [3.0])
    """
    # begin solution: B
    better = fU <= fX
    return np.where(better[:, None], U, X), np.where(better, fU, fX)
    # end solution


def differential_evolution(objective, low, high, P, G, F, CR, rng):
    """Minimize the objective in the box [low, high] by P candidates over G generations.

    objective: (n, D) to (n,); low, high: (D,); P >= 4; G >= 1. Generation 1 is uniform in the box.
    Each of the G - 1 others is made by partners, mutant, crossover and select; trials are clipped
    to the box. Asks for exactly P·G rows: keep the values of the old population. Returns (x,
    history): the best candidate (D,), and the best value of each generation (G,).

    >>> f = lambda X: (X**2).sum(axis=1)
    >>> one, rng = np.ones(1), np.random.default_rng(0)
    >>> x, history = differential_evolution(f, -one, one, 8, 30, 0.5, 0.9, rng)
    >>> x.shape, len(history), bool(history[-1] < 1e-3)
    ((1,), 30, True)
    """
    # begin solution: C
    X = rng.uniform(low, high, (P, len(low)))
    fX = objective(X)
    history = [fX.min()]
    for _ in range(G - 1):
        V = mutant(X, partners(P, rng), F)
        U = np.clip(crossover(X, V, CR, rng), low, high)
        fU = objective(U)
        X, fX = select(X, fX, U, fU)
        history.append(fX.min())
    return X[fX.argmin()], np.array(history)
    # end solution


def paint(image, genes):
    """A copy of the image with some pixels set.

    image: (8, 8); genes: (k, 3), each (row, column, value), with row and column in [0, 8), rounded
    down. Of two genes for one pixel, the later wins. Returns (8, 8).

    >>> paint(np.zeros((8, 8)), np.array([[0.0, 7.9, 0.5]]))[0, 7]
    np.float64(0.5)
    """
    # begin solution: D
    painted = image.copy()
    for row, column, value in genes:
        painted[int(row), int(column)] = value
    return painted
    # end solution


def one_pixel(predict, x, y, pixels, budget, rng):
    """Change a few pixels of an image so that its label is not y, by asking for probabilities.

    predict: images (n, 64) to probabilities (n, 10); x: (64,), in [0, 1]; y: the label, a number;
    pixels: how many may change; budget: how many images predict may be asked about in all, at least
    160. Minimizes p_y by differential evolution with F = 0.5, CR = 0.9, a population of 40, and
    genes (row, column, value) for each pixel, and uses at least half of the budget where it has no
    success. Returns x_adv (64,), with values in [0, 1], whether the label changed or not.
    """
    # begin solution: E
    image = x.reshape(8, 8)

    def painted(X):
        genes = X.reshape(len(X), pixels, 3)
        return np.stack([paint(image, g).reshape(64) for g in genes])

    def objective(X):
        return predict(painted(X))[:, y]

    top = np.nextafter(8, 0)  # the largest number below 8
    low, high = np.zeros(3 * pixels), np.tile([top, top, 1.0], pixels)
    P = 40
    best, _ = differential_evolution(objective, low, high, P, budget // P, 0.5, 0.9, rng)
    return painted(best[None])[0]
    # end solution
