"""The ``minadv`` that a submission may see: some modules and packages of the real one, and the
names it exports."""

from __future__ import annotations

import ast
import shutil
from functools import cache
from pathlib import Path

import minadv

HOME = Path(minadv.__file__).parent
SHOWN = ("layers", "losses", "models", "ops", "training")
_INIT = '''"""The part of minadv that this homework may use."""
{imports}

def __getattr__(name):
    if name.startswith("__"):
        raise AttributeError(name)
    raise ImportError(
        f"minadv.{{name}} is what this homework asks for, or none of its tools. You may use: "
        f"{names}"
    )
'''


def write_kit(folder: Path, modules: tuple[str, ...]) -> Path:
    """Write ``folder/minadv`` with ``modules`` (none: no minadv at all) and what they import;
    returns ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    if not modules:
        return folder
    package = folder / "minadv"
    package.mkdir()
    for name in needed(modules):
        if (HOME / name).is_dir():
            unread = shutil.ignore_patterns("__pycache__")
            shutil.copytree(HOME / name, package / name, ignore=unread)
        else:
            shutil.copyfile(HOME / f"{name}.py", package / f"{name}.py")
    imports = ["from minadv.autograd import grad, gradcheck, jacobian, value_and_grad, vjp"]
    shown = [m for m in modules if m in SHOWN]
    imports += [f"from minadv import {m}" for m in shown]
    names = "vjp, grad, value_and_grad, jacobian, gradcheck" + "".join(f", {m}" for m in shown)
    (package / "__init__.py").write_text(
        _INIT.format(imports="\n".join(imports) + "\n", names=names), encoding="utf-8"
    )
    return folder


@cache
def needed(modules: tuple[str, ...]) -> tuple[str, ...]:
    """``modules`` of minadv (a file or a folder each) and those that they import when loaded."""
    found, waiting = [], list(modules)
    while waiting:
        name = waiting.pop(0)
        if name in found:
            continue
        if name in ("attacks", "defenses"):
            raise ValueError(f"a kit cannot hold {name}: it is what homeworks ask for")
        found.append(name)
        path = HOME / name
        files = sorted(path.rglob("*.py")) if path.is_dir() else [HOME / f"{name}.py"]
        for file in files:
            waiting += _imports(file)
    return tuple(found)


def _imports(file: Path) -> list[str]:
    """The modules of minadv that ``file`` imports at its top level."""
    names = []
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            package, _, rest = node.module.partition(".")
            if package == "minadv":
                names += [rest.partition(".")[0]] if rest else [a.name for a in node.names]
        elif isinstance(node, ast.Import):
            parts = [a.name.split(".") for a in node.names]
            names += [p[1] for p in parts if p[0] == "minadv" and len(p) > 1]
    return [n for n in names if (HOME / n).is_dir() or (HOME / f"{n}.py").is_file()]
