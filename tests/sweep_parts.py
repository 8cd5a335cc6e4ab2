"""What the tests of sweeps send to other processes: models and attacks of a module."""

from __future__ import annotations

import os
import signal
from functools import partial

import numpy as np

from minadv import data, deepfool, fgsm, fit, models, pgd
from minadv.evaluation import sweep
from minadv.layers import Layer

ATTACKS = {"FGSM": fgsm, "PGD": partial(pgd, steps=3), "DeepFool": partial(deepfool, steps=5)}
EPSILONS, SEEDS = (0.05, 0.2), (0, 1)


def scene():
    """Two small networks, 40 images, and their labels."""
    d = data.digits()
    networks = {}
    for name in ("one", "two"):
        networks[name] = models.mlp((8, 8, 1), rng=len(networks), hidden=32)
        fit(networks[name], d.x_train, d.y_train, epochs=2, progress=False)
    return networks, d.x_test[:40], d.y_test[:40]


class Around:
    """A model around a model, of arrays and layers."""

    def __init__(self, model: Layer):
        self.model = model

    def __call__(self, x):
        return self.model(x)


class Exits(Around):
    """It ends the process that asks it."""

    def __call__(self, x):
        os._exit(3)


class Raises(Around):
    """It raises."""

    def __call__(self, x):
        raise ArithmeticError("no such number")


class Leaves(Around):
    """It calls sys.exit."""

    def __call__(self, x):
        raise SystemExit(5)


class Stateful(Around):
    """It writes into an array of its own, and is wrong if two threads ask it at once."""

    def __init__(self, model: Layer):
        super().__init__(model)
        self.scratch = np.zeros(2**12)

    def __call__(self, x):
        self.scratch += 1
        before = self.scratch[0]
        z = self.model(x)
        assert self.scratch[0] == before, "two threads at once"
        return z


class Unfolds:
    """It makes an array when it is pickled, and comes back as that array."""

    def __init__(self, value):
        self.value = value

    def __reduce__(self):
        return np.asarray, (np.full(1000, self.value),)


def noted(model, x, *, y, eps, rng, folder):
    """FGSM that leaves a file for each call, and kills its process at call KILL_AT."""
    calls = len(os.listdir(folder))
    if str(calls) == os.environ.get("KILL_AT"):
        os.kill(os.getpid(), signal.SIGKILL)
    with open(f"{folder}/{calls}", "w"):
        pass
    return fgsm(model, x, y=y, eps=eps * (1 + rng / 10))


def sweep_noted(folder, calls):
    """A sweep of eight tasks in this process."""
    networks, x, y = scene()
    attack = {"noted": partial(noted, folder=str(calls))}
    return sweep(networks, attack, x, y, epsilons=EPSILONS, seeds=SEEDS, folder=folder)
