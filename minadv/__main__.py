"""``python -m minadv attack image.png``: attack an image file from the command line (E8).

``python -m minadv explore``: the same by hand, on a page in the browser (:mod:`minadv.explore`).
"""

from __future__ import annotations

import argparse
import inspect
import sys
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from minadv import data, models, training
from minadv.attacks.apgd import apgd
from minadv.attacks.carlini_wagner import carlini_wagner
from minadv.attacks.deepfool import deepfool
from minadv.attacks.fab import fab
from minadv.attacks.fgsm import fgsm
from minadv.attacks.iterative_fgsm import iterative_fgsm
from minadv.attacks.jsma import jsma
from minadv.attacks.one_pixel import one_pixel
from minadv.attacks.pgd import pgd
from minadv.attacks.square import square
from minadv.attacks.strongest import strongest
from minadv.backend import BackendError, use_backend
from minadv.images import read_image
from minadv.images.attack import attack_image
from minadv.layers import Layer
from minadv.settings import settings_of

ATTACKS = {
    attack.__name__: attack
    for attack in (
        *(fgsm, iterative_fgsm, pgd, apgd, deepfool, fab, carlini_wagner, jsma),
        *(one_pixel, square, strongest),
    )
}
MODELS: dict[str, tuple[Callable, dict[str, Any]]] = {
    "cnn": (models.cnn, {"batch_size": 32, "epochs": 4}),
    "mlp": (models.mlp, {"batch_size": 16, "epochs": 10}),
}
RESNET, RESNET_SHAPE, RESNET_CLASSES = "resnet18", (224, 224, 3), 1000  # as ImageNet has them
CLASSES = {
    "y": "the class to get away from (default: what the model sees)",
    "target": "the class to reach",
}
PROGRAM, DEFAULT_ATTACK, PORT = "python -m minadv", "fgsm", 8765
SUCCESS, NO_SUCCESS, ERROR, INTERRUPTED = 0, 1, 2, 130  # exit codes


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(ERROR, f"{self.prog}: error: {message}\n")


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line and do what it says; an error exits with 2, Ctrl-C with 130."""
    parser, options = parse(arguments)
    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = lambda message, *_: print(
            f"{parser.prog}: warning: {message}", file=sys.stderr
        )
        try:
            return options.run(options)
        except (ValueError, TypeError, OSError, ModuleNotFoundError, BackendError) as error:
            parser.error(" ".join(str(error).split()))
        except KeyboardInterrupt:
            parser.exit(INTERRUPTED, f"{parser.prog}: interrupted: nothing was attacked\n")


def run_attack(options: argparse.Namespace) -> int:
    """Attack the image, say what the model sees; 0 if it is fooled, 1 if not."""
    attack = ATTACKS[options.attack]
    chosen = {name: getattr(options, name) for name in settings_of(attack)}
    goal: dict[str, Any] = {
        name: label(getattr(options, name))
        for name in ("y", "target")
        if getattr(options, name, None) is not None
    }
    if options.backend:
        use_backend(options.backend)
    names = options.names.read_text(encoding="utf-8-sig").splitlines() if options.names else None
    model, shape = load_model(options, names)
    attacked = attack_image(
        options.image,
        model,
        partial(attack, **chosen),
        **goal,
        shape=shape,
        class_names=names,
        out=options.out,
    )
    print(attacked)
    print(*attacked.files.values(), sep="\n")
    return SUCCESS if attacked.success else NO_SUCCESS


def run_explore(options: argparse.Namespace) -> int:
    """Train the model, serve the page until Ctrl-C; 0."""
    from minadv import explore  # the server is needed here only

    print(f"Training the {options.model} on the sample of MNIST ...", file=sys.stderr, flush=True)
    model, _ = trained(options.model)
    explore.serve(model, name=f"the {options.model.upper()}", port=options.port)
    return SUCCESS


def parse(arguments: list[str] | None) -> tuple[Parser, argparse.Namespace]:
    """The parser, and what it makes of the command line. Which attack is meant decides which
    options there are."""
    which = Parser(prog=PROGRAM, add_help=False, allow_abbrev=False)
    which.add_argument("--attack", default=DEFAULT_ATTACK)
    chosen = ATTACKS.get(which.parse_known_args(arguments)[0].attack, ATTACKS[DEFAULT_ATTACK])

    parser = Parser(prog=PROGRAM, description="minadv on the command line.", allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    about = (
        "Attack an image file: a figure of it, and the adversarial image, exact and rounded to "
        "8 bits, are written beside it."
    )
    command = commands.add_parser(
        "attack", help="attack an image file", description=about, allow_abbrev=False
    )
    command.add_argument("image", help="the image file")
    command.add_argument(
        "--attack",
        choices=ATTACKS,
        default=DEFAULT_ATTACK,
        help="default fgsm; its own options are listed below",
    )
    command.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="the folder to write to (default: that of the image)",
    )
    command.add_argument(
        "--model",
        choices=(*MODELS, RESNET),
        help="document D's CNN, document B's MLP, or ResNet-18 (default cnn; resnet18 where the "
        "weights end in .safetensors)",
    )
    command.add_argument(
        "--weights",
        type=Path,
        metavar="FILE",
        help="its weights, .npz or PyTorch's .safetensors (default: trained now, on the embedded "
        "sample of MNIST)",
    )
    command.add_argument(
        "--shape",
        type=int,
        nargs=3,
        metavar=("H", "W", "C"),
        help="images it takes, cropped and resized (default: as the file is; resnet18: 224 224 3)",
    )
    command.add_argument(
        "--names",
        type=Path,
        metavar="TXT",
        help="a file with one class name per line (default: 0 to 9; resnet18: 0 to 999)",
    )
    command.add_argument(
        "--backend",
        choices=("numpy", "cupy"),
        help="where to compute (unset: MINADV_BACKEND, else numpy)",
    )
    command.set_defaults(run=run_attack)
    own = command.add_argument_group(f"options of {chosen.__name__}")
    for name, parameter in inspect.signature(chosen).parameters.items():
        if name in ("y", "target"):
            own.add_argument(
                f"--{name}",
                metavar="CLASS",
                required=parameter.default is parameter.empty,
                help=CLASSES[name],
            )
    for name, (kind, default) in settings_of(chosen).items():
        add_setting(own, name, kind, default)
    page = add_explore(commands)
    options = parser.parse_args(arguments)
    return page if options.command == "explore" else command, options


def add_explore(commands) -> Parser:
    """The command that serves the live page."""
    about = (
        "Serve a page on this machine alone: draw a digit, attack it, see what the model makes of "
        "it. Ctrl-C stops it."
    )
    page = commands.add_parser(
        "explore",
        help="attack digits on a page in the browser",
        description=about,
        allow_abbrev=False,
    )
    page.add_argument(
        "--model", choices=MODELS, default="cnn", help="trained now, on MNIST (default cnn)"
    )
    page.add_argument(
        "--port", type=port, default=PORT, help=f"default {PORT}; 0: any that is free"
    )
    page.set_defaults(run=run_explore)
    return page


def add_setting(group, name: str, kind: Callable, default):
    """An option for an argument of an attack."""
    flag = f"--{name.replace('_', '-')}"
    if default is inspect.Parameter.empty:
        group.add_argument(flag, type=kind, required=True, help="required")
    elif kind is bool:
        group.add_argument(
            flag, action=argparse.BooleanOptionalAction, default=default, help=f"default {default}"
        )
    else:
        group.add_argument(
            flag,
            type=kind,
            default=default,
            metavar=kind.__name__.upper(),
            help=f"default {default}",
        )


def port(text: str) -> int:
    """A port's number."""
    if not 0 <= int(text) < 2**16:
        raise ValueError(text)
    return int(text)


def label(text: str) -> int | str:
    """A label, or the name of a class."""
    return int(text) if text.isdecimal() else text


def load_model(
    options: argparse.Namespace, names: list[str] | None
) -> tuple[Layer, tuple[int, int, int]]:
    """The model asked for, and the shape of its images: with the weights given, or trained now."""
    torch = options.weights and options.weights.suffix == ".safetensors"
    name = options.model or (RESNET if torch else "cnn")
    if options.weights and name == RESNET:
        model = models.resnet18(len(names) if names else RESNET_CLASSES)
        return models.load_weights(model, options.weights), tuple(options.shape or RESNET_SHAPE)
    if options.weights:
        make, _ = MODELS[name]
        shape = tuple(options.shape or read_image(options.image).shape[1:])
        return models.load_weights(
            make(shape, len(names or data.TEN_DIGITS)), options.weights
        ), shape
    if name == RESNET:
        raise ValueError("--model resnet18 needs --weights, a .safetensors file such as timm's")
    if options.shape:
        raise ValueError(
            "--shape is for the model of --weights; the one trained on MNIST takes 28 28 1"
        )
    return trained(name)


def trained(name: str) -> tuple[Layer, tuple[int, int, int]]:
    """The model of that name, trained now on the sample of MNIST, and the shape of its images."""
    make, training_settings = MODELS[name]
    sample = data.mnist_sample()
    model = make(sample.x_train.shape[1:])
    training.fit(
        model, sample.x_train, sample.y_train, progress=sys.stderr.isatty(), **training_settings
    )
    return model, sample.x_train.shape[1:]


if __name__ == "__main__":
    sys.exit(main())
