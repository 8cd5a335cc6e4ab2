"""The ``minadv`` that a submission may see: some modules and packages of the real one, and the
names it exports."""

from __future__ import annotations

import shutil
from pathlib import Path

import minadv

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
    """Write ``folder/minadv`` with ``modules`` (none: no minadv at all); returns ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    if not modules:
        return folder
    package = folder / "minadv"
    package.mkdir()
    home = Path(minadv.__file__).parent
    for name in modules:
        if (home / name).is_dir():
            shutil.copytree(
                home / name, package / name, ignore=shutil.ignore_patterns("__pycache__")
            )
        else:
            shutil.copyfile(home / f"{name}.py", package / f"{name}.py")
    imports = ["from minadv.autograd import grad, gradcheck, jacobian, value_and_grad, vjp"]
    shown = [m for m in modules if m in ("layers", "losses", "models", "ops", "training")]
    imports += [f"from minadv import {m}" for m in shown]
    names = "vjp, grad, value_and_grad, jacobian, gradcheck" + "".join(f", {m}" for m in shown)
    (package / "__init__.py").write_text(
        _INIT.format(imports="\n".join(imports) + "\n", names=names), encoding="utf-8"
    )
    return folder
