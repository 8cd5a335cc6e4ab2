"""Attack an image file in one call (E8): read it, attack it, draw it, and keep what came out.

::

    seen = attack_image("seven.png", model, partial(fgsm, eps=0.1)) print(seen)  # seven.png: 7
    (99.8%) -> 2 (85.3%), by at most 0.1 per pixel value; stored in 8 bits 2 (85.1%)
"""

from __future__ import annotations

import difflib
import inspect
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from minadv import inference, ops, plotting
from minadv.attacks.result import AttackResult
from minadv.backend import array_module, to_numpy
from minadv.checks import check_function, check_path
from minadv.files import write_whole
from minadv.images.convert import from_8bit, read_image, save_image, survives_8bit, to_8bit

__all__ = ["ImageAttack", "Prediction", "attack_image"]


@dataclass(frozen=True)
class Prediction:
    """What a model sees in an image: the likeliest class and its probability."""

    label: int
    name: str
    confidence: float

    def __str__(self):
        return f"{self.name} ({self.confidence:.1%})"


@dataclass(frozen=True, eq=False)
class ImageAttack:
    """What :func:`attack_image` did.

    ``result``: the attack's own, of a batch of one. ``original``, ``adversarial``, ``stored``: what
    the model sees in the image as it came, in what the attack made of it, and in that rounded to 8
    bits. ``survives_8bit``: whether the attack succeeds, and still does so rounded. ``figure``: the
    three panels. ``files``: the paths of the "figure", of the "exact" and of the "stored"
    adversarial image.
    """

    path: Path
    result: AttackResult
    original: Prediction
    adversarial: Prediction
    stored: Prediction
    survives_8bit: bool
    figure: Figure
    files: dict[str, Path]

    @property
    def success(self) -> bool:
        return bool(self.result.success[0])

    def __str__(self):
        largest = float(self.result.linf[0])
        change = f"{self.original} -> {self.adversarial}, by at most {largest:.3g} per pixel value"
        return f"{self.path.name}: {change}; stored in 8 bits {self.stored}"


def attack_image(
    path,
    model: Callable,
    attack: Callable,
    *,
    y: int | str | None = None,
    target: int | str | None = None,
    shape: tuple[int, int, int] | None = None,
    class_names: Sequence[str] | None = None,
    out=None,
    bounds: tuple[float, float] = (0.0, 1.0),
) -> ImageAttack:
    """Attack the image in a file, and leave a figure of it and the adversarial image.

    For ``seven.png`` three files are written, each whole or not at all:

    * ``seven_attack.png``: the original, the perturbation and the adversarial image, with class
      names and confidences;
    * ``seven_adversarial.npy``: the adversarial image as the attack made it, (1, H, W, C), float32;
    * ``seven_adversarial.png``: the same rounded to 8 bits, which may undo the attack.

    For ``seven.jpg`` they begin with ``seven_jpg``, so that two images of one name do not overwrite
    each other's.

    Parameters
    ----------
    path
        A PNG, a JPEG or another image file that Pillow reads.
    model
        From images (N, H, W, C) to logits (N, K).
    attack
        Called as ``attack(model, x, y=label)``, or with ``target=`` (and with ``bounds=`` where
        they are not 0 and 1), it returns an
        :class:`~minadv.attacks.result.AttackResult`: an attack of this package with its own
        arguments filled in, such as ``partial(fgsm, eps=0.1)``.
    y, target
        The class to get away from, or the one to reach: a label or one of ``class_names``. With
        neither, it is away from what the model says of the image (E5).
    shape
        (H, W, C), what the model takes; by default the file's own. See
        :func:`~minadv.images.read_image` for how an image is made so.
    class_names
        One name per class, by default "0", "1", ...
    out
        The folder to write to, by default that of the image; it is made if it is missing.
    bounds
        The pixel values that are black and white to the model.

    Warns
    -----
    UserWarning
        If the attack succeeds, but not any more once its image is rounded to 8 bits.

    Raises
    ------
    DataError
        If the image cannot be read.
    ValueError, TypeError
        If another argument is not as said here, or not as the attack says.
    """
    path = check_path("path", path)
    out = None if out is None else check_path("out", out)
    check_function("model", model, "model(x)", None)
    x = read_image(path, shape, bounds=bounds)
    before = inference.logits(model, x)
    names = checked_names(class_names, before.shape[1])
    goal = {
        key: as_label(key, value, names)
        for key, value in (("y", y), ("target", target))
        if value is not None
    }
    goal = goal or {"y": int(before.argmax())}
    own = {} if tuple(bounds) == (0.0, 1.0) else {"bounds": bounds}
    result = checked_attack(attack, model, x, **goal, **own)
    stored = from_8bit(to_8bit(result.x_adv, bounds=bounds), bounds=bounds)
    seen = predictions(model, array_module(x).concatenate([x, result.x_adv, stored]), names)
    survives = bool(survives_8bit(model, result, **goal, bounds=bounds)[0])

    folder = path.parent if out is None else out
    stem = path.stem if path.suffix == ".png" else path.name.replace(".", "_")
    figure = plotting.attack_figure(
        result, model, class_names=names, bounds=bounds, title=path.name
    )
    alt = (
        f"{path.name} as it was, read as {seen[0]}; the perturbation; "
        f"and their sum, read as {seen[1]}"
    )
    npy = BytesIO()
    np.save(npy, to_numpy(result.x_adv))
    files = {
        "figure": plotting.save(figure, folder / f"{stem}_attack.png", alt=alt),
        "exact": write_whole(folder / f"{stem}_adversarial.npy", npy.getvalue()),
        "stored": save_image(result.x_adv, folder / f"{stem}_adversarial.png", bounds=bounds),
    }
    original, adversarial, rounded = seen
    attacked = ImageAttack(path, result, original, adversarial, rounded, survives, figure, files)
    if attacked.success and not survives:
        warnings.warn(
            f"rounding to 8 bits undoes the attack: {files['stored'].name} is read as {seen[2]}; "
            f"{files['exact'].name} holds the image that is read as {seen[1]}",
            stacklevel=2,
        )
    return attacked


def predictions(model: Callable, x, names: Sequence[str]) -> list[Prediction]:
    """What ``model`` sees in each image of ``x``."""
    logits = inference.logits(model, x)
    label, p = to_numpy(logits).argmax(axis=1), to_numpy(ops.softmax(logits))
    return [Prediction(int(k), names[k], float(p_k[k])) for k, p_k in zip(label, p, strict=True)]


def checked_names(class_names, classes: int) -> list[str]:
    """One name for each of so many ``classes``."""
    try:
        names = [str(k) for k in range(classes)] if class_names is None else list(class_names)
    except TypeError:
        raise TypeError(f"class_names must be {classes} names, got {class_names!r}") from None
    if len(names) != classes or not all(isinstance(name, str) for name in names):
        raise ValueError(
            f"class_names must be {classes} names, one for each of the model's classes, got "
            f"{len(names)}: {names[:3]}..."
        )
    return names


def as_label(key: str, value, names: list[str]):
    """``value`` as a label: what it is, or the place of the class that it names."""
    if not isinstance(value, str):
        return value
    if names.count(value) != 1:
        similar = difflib.get_close_matches(value, names) or names[:5]
        many = "more than one class is" if value in names else "no class is"
        raise ValueError(
            f"{key} must name a class: {many} called {value!r}, there is {', '.join(similar)}"
        )
    return names.index(value)


def checked_attack(attack: Callable, model: Callable, x, **arguments) -> AttackResult:
    """What ``attack`` returns, with an error that says how it is called."""
    if not callable(attack):
        raise TypeError(f"attack must be callable, got {attack!r}")
    try:
        inspect.signature(attack).bind(model, x, **arguments)
    except TypeError as error:
        call = ", ".join(f"{name}=..." for name in arguments)
        raise TypeError(f"attack must be callable as attack(model, x, {call}): {error}") from None
    result = attack(model, x, **arguments)
    if not isinstance(result, AttackResult):
        raise TypeError(f"attack must return an AttackResult, got {type(result).__name__}")
    return result
