"""The types help: mypy accepts right user code and refuses wrong one, and knows no error inside."""

from __future__ import annotations

from pathlib import Path

import pytest

import minadv

api = pytest.importorskip("mypy.api")
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """What mypy says of this package and of the two files of user code, line by line."""
    cache = tmp_path_factory.mktemp("mypy")
    config = ["--config-file", str(ROOT / "pyproject.toml"), "--cache-dir", str(cache)]
    files = ["minadv", "tests/typing_right.py", "tests/typing_wrong.py"]
    said, failed, _ = api.run([*config, *(str(ROOT / file) for file in files)])
    assert not failed, failed
    return [line.replace("\\", "/") for line in said.splitlines()]


@pytest.mark.parametrize("file", ["typing_right.py", "typing_wrong.py"])
def test_right_code_passes_and_each_wrong_line_is_found(report, file):
    assert [line for line in report if file in line] == []


def test_the_types_are_shipped():
    assert (Path(minadv.__file__).parent / "py.typed").exists()
