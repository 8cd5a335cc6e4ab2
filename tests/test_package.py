"""The front door: what ``import minadv`` offers, and attacks that fit on a page."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import minadv
from minadv import attacks

PAGES = ["fgsm", "iterative_fgsm", "pgd", "deepfool", "forge", "uniform_noise", "negative"]


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
