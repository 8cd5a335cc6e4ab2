"""The grid of a sweep: which tasks there are, and under which digest each one's result is kept."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from minadv.attacks.goal import Goal, Labels
from minadv.backend import Array
from minadv.checks import check_count, check_function, check_images, check_mapping, check_number
from minadv.evaluation.parcels import pack
from minadv.evaluation.shelf import Shelf
from minadv.evaluation.tasks import Task
from minadv.evaluation.trial import accepts, check_attack

VERSION = 1  # of what the file of a result means


class Grid:
    """The arguments of a sweep, checked. ``places``: (model, attack, eps, seed) of each task."""

    def __init__(
        self,
        models: Mapping[str, Callable],
        attacks: Mapping[str, Callable],
        x: Array,
        y: Labels,
        epsilons: Iterable[float],
        seeds: Iterable[int],
        bounds: tuple[float, float],
    ):
        self.models = check_mapping("models", models, "{name: model}")
        self.attacks = check_mapping("attacks", attacks, "{name: attack}")
        if not models or not attacks:
            raise ValueError("models and attacks must hold at least one each, got none")
        for name, attack in attacks.items():
            check_attack(f"attacks[{name!r}]", attack, (), ("eps", "rng", "bounds"))
        check_images(x, bounds)
        if not len(x):
            raise ValueError(f"x must hold at least one example, got shape {x.shape}")
        self.bounds = (float(bounds[0]), float(bounds[1]))
        self.x, self.y = x, Goal.of(x, y=y).label
        sizes = [check_number("epsilons", e, least=0) for e in _list("epsilons", epsilons)]
        starts = [check_count("seeds", s, least=0) for s in _list("seeds", seeds)]
        self.places = [
            (model, attack, eps, seed)
            for model, (attack, function) in itertools.product(models, attacks.items())
            for eps in (sizes if accepts(function, "eps") else [None])
            for seed in (starts if accepts(function, "rng") else [None])
        ]
        self.keys: dict[int, str] = {}

    def tasks(self, shelf: Shelf, done: dict[int, Any], *, alone: bool):
        """The number and the task of each place, model after model; those done go into ``done``."""
        images, arrays = pack("x", (self.x, self.y))
        shelf.add(arrays)
        attacks = {}
        for name, attack in self.attacks.items():
            attacks[name], arrays = pack(f"attacks[{name!r}]", attack)
            shelf.add(arrays)
        for name, places in itertools.groupby(enumerate(self.places), lambda pair: pair[1][0]):
            model = check_function(f"models[{name!r}]", self.models[name], "model(x)", None)
            parcel, arrays = pack(f"models[{name!r}]", model)
            added = False
            for i, (_, attack, eps, seed) in places:
                settings = self._settings(self.attacks[attack], eps, seed)
                parts = [parcel.digest, attacks[attack].digest, images.digest, settings]
                self.keys[i] = _digest(parts)
                found = shelf.result(self.keys[i], len(self.x))
                if found is not None:
                    done[i] = found
                    continue
                if not added:
                    shelf.add(arrays)
                    added = True
                yield i, Task(parcel, attacks[attack], images, settings, shelf.folder, alone)

    def _settings(self, attack: Callable, eps, seed) -> dict[str, Any]:
        settings = {} if eps is None else {"eps": eps}
        settings |= {} if seed is None else {"rng": seed}
        return settings | ({"bounds": self.bounds} if accepts(attack, "bounds") else {})


def _list(name: str, values) -> list:
    """Different values, at least one."""
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise TypeError(f"{name} must be one or more numbers, got {values!r}")
    values = list(values)
    if not values or len({*map(repr, values)}) < len(values):
        raise ValueError(f"{name} must be one or more different numbers, got {values!r}")
    return values


def _digest(parts: list) -> str:
    import minadv  # its version is set last

    text = json.dumps([VERSION, minadv.__version__, *parts], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
