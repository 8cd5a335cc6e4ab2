"""The settings of an attack, from its signature: for the command line and for the live page."""

from __future__ import annotations

import ast
import inspect
import math
import re
from collections.abc import Callable
from fractions import Fraction

__all__ = ["choices_of", "number", "settings_of"]


def settings_of(attack: Callable) -> dict[str, tuple[Callable, object]]:
    """The arguments of ``attack`` that are one number, word or switch: name -> (type, default).

    The type makes a value of a text. The default is ``inspect.Parameter.empty`` where there is
    none.
    """
    kinds: dict[str, Callable] = {"float": number, "int": int, "str": str, "bool": bool}
    settings: dict[str, tuple[Callable, object]] = {}
    for name, parameter in inspect.signature(attack).parameters.items():
        words = re.sub(r"Literal\[.*?\]", "str", str(parameter.annotation)).split(" | ")
        kind = [kinds[word] for word in words if word in kinds]  # "float | None" -> number
        if kind:
            settings[name] = kind[0], parameter.default
    return settings


def choices_of(attack: Callable) -> dict[str, tuple[str, ...]]:
    """The words that an argument may be, as its annotation says: ``Literal["l2", "linf"]``."""
    parameters = inspect.signature(attack).parameters.items()
    words = {name: re.search(r"Literal(\[.*?\])", str(p.annotation)) for name, p in parameters}
    return {name: tuple(ast.literal_eval(found[1])) for name, found in words.items() if found}


def number(text: str) -> float:
    """A number such as 0.1 or 8/255, from its text; :class:`ValueError` where it is none."""
    try:
        value = float(Fraction(text)) if "/" in text else float(text)  # Fraction("1e999999999")
    except (ZeroDivisionError, OverflowError):  # would take for ever
        raise ValueError(text) from None
    if not math.isfinite(value):
        raise ValueError(text)
    return value
