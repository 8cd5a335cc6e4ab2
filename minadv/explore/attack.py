"""One attack on one image, from the words of a form to numbers that JSON can hold."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from minadv import attacks, inference, losses
from minadv.attacks.goal import Goal
from minadv.attacks.result import AttackResult
from minadv.backend import asarray, to_numpy
from minadv.checks import check_images
from minadv.parallel import is_thread_safe
from minadv.settings import choices_of, settings_of

__all__ = ["ATTACKS", "Watched", "attack_once", "form"]

VARIANTS = {"forge, cross-entropy": partial(attacks.forge, loss=losses.cross_entropy)}
FIRST = ("fgsm", "iterative_fgsm", "pgd", "deepfool", "jsma", "one_pixel", "forge", *VARIANTS)
# What the page proposes where the function has no default, or one that is too slow here.
PROPOSED: dict[str, dict[str, object]] = {
    "iterative_fgsm": {"steps": 10},
    "one_pixel": {"pixels": 20, "population": 30, "generations": 30, "strategy": "best1"},
    "forge": {"steps": 50},
    "forge, cross-entropy": {"steps": 50},
    "carlini_wagner": {"steps": 100, "search_steps": 3, "lr": 0.1, "initial_const": 1.0},
    "fab": {"steps": 20},
    "square": {"steps": 1000},
}
EPS = 0.15
HIDDEN = ("progress",)  # it would print a bar where the server runs
MOST = {"population": 2000, "pixels": 100}  # they take memory at once; time has a limit anyway
MOST_OF_ALL = 10_000  # of every other whole number but a seed
SIDE = 28


def is_attack(function: Callable) -> bool:
    """Whether it returns an :class:`AttackResult` of some kind, or makes images of images alone."""
    signature = inspect.signature(function)
    gives, takes = str(signature.return_annotation), next(iter(signature.parameters), "")
    return gives.endswith("Result") or takes == "x"


def function_of(attack: Callable) -> Callable:
    return attack.func if isinstance(attack, partial) else attack


def found() -> dict[str, Callable]:
    """All attacks of the package: those of the lessons in their order, then any others."""
    public = {name: getattr(attacks, name) for name in attacks.__all__} | VARIANTS
    names = [n for n, made in public.items() if inspect.isfunction(function_of(made))]
    names.sort(key=lambda name: FIRST.index(name) if name in FIRST else len(FIRST))
    return {name: public[name] for name in names if is_attack(function_of(public[name]))}


ATTACKS = found()


class Watched:
    """``model``, which calls ``watch()`` before each answer; it raises to end an attack."""

    def __init__(self, model: Callable, watch: Callable[[], None]):
        self.model, self.watch = model, watch
        self.thread_safe = is_thread_safe(model)

    def __call__(self, x):
        self.watch()
        return self.model(x)

    def __getattr__(self, name):  # activation_bytes, if the model has it
        if name == "model":
            raise AttributeError(name)
        return getattr(self.model, name)


def form() -> list[dict[str, Any]]:
    """What the page asks for, attack by attack: goals, settings with their kind and proposal."""
    return [
        {
            "name": name,
            "about": (inspect.getdoc(function_of(attack)) or "")
            .partition("\n")[0]
            .replace("`", ""),
            "goals": goals_of(attack),
            "settings": [
                {"name": setting, "kind": kind.__name__, "value": proposed(name, setting, default)}
                | ({"choices": words} if (words := choices_of(attack).get(setting)) else {})
                for setting, (kind, default) in settings_of(attack).items()
                if setting not in HIDDEN
            ],
        }
        for name, attack in ATTACKS.items()
    ]


def goals_of(attack: Callable) -> list[str]:
    """Which of ``y`` and ``target`` it takes; noise and negatives take neither."""
    return [name for name in ("y", "target") if name in inspect.signature(attack).parameters]


def proposed(attack: str, setting: str, default):
    """What the form shows at first; None is an empty field, and means the default."""
    if setting == "eps":
        return EPS
    value = PROPOSED.get(attack, {}).get(setting, default)
    return None if value is inspect.Parameter.empty else value


def attack_once(model: Callable, asked: dict[str, Any]) -> dict[str, Any]:
    """The answer to a request of the page: ``attack``, ``image``, ``target`` and ``settings``.

    ``image``: 784 numbers in [0, 1], row by row. ``target``: a class, or None for an untargeted
    attack away from what the model sees. ``settings``: texts, as typed; an empty one is left out.
    Wrong requests raise what the library raises, :class:`ValueError` or :class:`TypeError`.
    """
    name = asked.get("attack")
    if not isinstance(name, str) or name not in ATTACKS:
        raise ValueError(f"attack must be one of {', '.join(ATTACKS)}, got {name!r}")
    attack = ATTACKS[name]
    x, settings = image_of(asked.get("image")), settings_from(attack, asked.get("settings", {}))
    before = inference.probabilities(model, x)
    goal = goal_of(attack, asked.get("target"), int(before.argmax()))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if goals_of(attack):
            result = attack(model, x, **goal, **settings)
        else:  # it does not ask the model; any other label is a success
            x_adv = attack(x, **settings)
            result = AttackResult.judge(model, x, x_adv, Goal.of(x, **goal), steps=1)
    after = inference.probabilities(model, result.x_adv)
    return {
        "image": to_numpy(result.x_adv).ravel().tolist(),
        "change": to_numpy(result.perturbation).ravel().tolist(),
        "linf": float(result.linf[0]),
        "l2": float(result.l2[0]),
        "l0": int(result.l0[0]),
        "before": to_numpy(before)[0].tolist(),
        "after": to_numpy(after)[0].tolist(),
        "success": bool(result.success[0]),
        "steps": int(result.steps[0]),
        "queries": None if result.queries is None else int(result.queries[0]),
        "warnings": [str(warning.message) for warning in caught],
    }


def image_of(values):
    """The batch of one image."""
    if not isinstance(values, list) or len(values) != SIDE * SIDE:
        came = len(values) if isinstance(values, list) else type(values).__name__
        raise ValueError(f"image must be a list of {SIDE * SIDE} numbers, got {came}")
    if not all(isinstance(value, int | float) for value in values):
        raise ValueError("image must hold numbers only")
    x = np.asarray(values, np.float64).reshape(1, SIDE, SIDE, 1)
    check_images(x, (0.0, 1.0))
    return asarray(x.astype(np.float32))


def goal_of(attack: Callable, target, label: int) -> dict[str, int]:
    """``y`` or ``target``, as the attack takes it."""
    goals = goals_of(attack)
    if target is None:
        if goals == ["target"]:
            raise ValueError("target must be a class: this attack has no untargeted form")
        return {"y": label}
    if "target" not in goals:
        raise ValueError(f"target must be none for this attack, got {target!r}")
    return {"target": target}


def settings_from(attack: Callable, texts) -> dict[str, Any]:
    """The settings as the attack takes them, inside the limits of the page."""
    known = {k: v for k, v in settings_of(attack).items() if k not in HIDDEN}
    if not isinstance(texts, dict) or not texts.keys() <= known.keys():
        raise ValueError(f"settings must be among {', '.join(known)}, got {texts!r}"[:300])
    settings = {}
    for name, text in texts.items():
        if text in ("", None):
            continue
        kind, _ = known[name]
        settings[name] = value = value_of(name, kind, text)
        most = MOST.get(name, MOST_OF_ALL)
        if kind is int and name != "rng" and value > most:
            raise ValueError(f"{name} must be <= {most} on this page, got {value}")
    return settings


def value_of(name: str, kind: Callable, text):
    """The value that was typed."""
    if kind is bool:
        if not isinstance(text, bool):
            raise ValueError(f"{name} must be true or false, got {text!r}")
        return text
    if isinstance(text, bool) or not isinstance(text, str | int | float) or len(str(text)) > 40:
        raise ValueError(f"{name} must be a number or a word, got {text!r}"[:200])
    try:
        return kind(str(text).strip())
    except ValueError:
        what = "a whole number" if kind is int else "a number such as 0.1 or 8/255"
        raise ValueError(f"{name} must be {what}, got {text!r}") from None
