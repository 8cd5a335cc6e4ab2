"""The front door: what ``import minadv`` offers, and attacks that fit on a page."""

from __future__ import annotations

import ast
import inspect
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import minadv
from minadv import attacks

ROOT = Path(__file__).resolve().parent.parent
PAGES = ["fgsm", "iterative_fgsm", "pgd", "deepfool", "forge", "uniform_noise", "negative"]
PAGES += ["apgd", "carlini_wagner", "fab", "square", "strongest"]


def test_dir_shows_every_public_name_and_each_is_there():
    assert set(dir(minadv)) >= {"attack_image", "attacks", "defenses", "images", *attacks.__all__}
    for name in dir(minadv):
        assert getattr(minadv, name) is not None
    for name in attacks.__all__:
        assert getattr(minadv, name) is getattr(attacks, name)
    with pytest.raises(AttributeError, match="no attribute 'attack_imag'"):
        _ = minadv.attack_imag
    assert "help(minadv.attacks)" in minadv.__doc__


def test_what_draws_is_imported_only_when_used():
    program = """
import sys, minadv
assert not {"matplotlib", "PIL"} & set(sys.modules)
minadv.defenses, minadv.images.to_8bit, minadv.attack_image, minadv.plotting, minadv.activations
"""
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize("name", PAGES)
def test_an_attack_is_one_page(name):
    """A docstring that a terminal shows at once, at most 40 lines of body, 100 in all."""
    function = getattr(attacks, name)
    assert "minadv.attacks" in function.__doc__ or name == "negative"
    source = Path(inspect.getsourcefile(function)).read_text()
    [page] = [
        node
        for node in ast.parse(source).body
        if isinstance(node, ast.FunctionDef) and node.name == name
    ]
    docstring, first = page.body[:2]
    assert docstring.end_lineno - docstring.lineno < 45
    assert page.end_lineno - first.lineno < 40
    assert page.end_lineno - page.lineno < 100


def test_the_wheel_holds_all_and_works_outside_the_checkout(tmp_path):
    """What `pip install` puts in place: lessons with their images and solutions, homework."""
    pytest.importorskip("setuptools", minversion="77")
    source, site = tmp_path / "source", tmp_path / "site"
    packages = [name for name in ("minadv", "lessons", "homework") if (ROOT / name).exists()]
    waste = shutil.ignore_patterns("__pycache__", "output", ".*")
    for name in packages:
        shutil.copytree(ROOT / name, source / name, ignore=waste)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    expected = {
        str(path.relative_to(source))
        for name in packages
        for path in (source / name).rglob("*")
        if path.is_file()
    }
    # what earlier runs left is not part of it
    (source / "lessons" / "output" / "01").mkdir(parents=True)
    (source / "lessons" / "output" / "01" / "figure.png").touch()
    build = "import setuptools.build_meta as b; b.build_wheel('..')"
    done = subprocess.run([sys.executable, "-c", build], cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as file:
        file.extractall(site)
        assert {name for name in file.namelist() if ".dist-info/" not in name} == expected
    environment = os.environ | {"PYTHONPATH": str(site)}
    command = [sys.executable, "-m", "lessons", "--data", "digits", "--only", "1"]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "lessons-output" / "01_linear_models" / "output.txt").exists()
    assert not list(site.rglob("output.txt"))
