"""The runner, its cache of trained models, and the lessons themselves: all of them run, and every item of the documents is mirrored."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LESSONS = sorted((ROOT / "lessons").glob("[0-9][0-9]_*.py"))
ITEMS = {
    f"{document}{n}"
    for document, count in zip("ABCDE", (11, 7, 7, 11, 11), strict=True)
    for n in range(1, count + 1)
}
OPEN = {"E11"}  # an ImageNet ResNet-18: lessons/README.md says what it would take
ERRORS = "17"  # the lesson that goes through all items with errors once more


def run(*arguments: str, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess:
    """``python -m lessons ...`` in a process of its own."""
    env = {name: value for name, value in os.environ.items() if name not in ("MINADV_BACKEND",)}
    env |= {"PYTHONPATH": str(ROOT), **environment}
    return subprocess.run(
        [sys.executable, "-m", "lessons", *arguments],
        cwd=cwd,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A folder with the runner and two lessons: one that passes, one that fails."""
    folder = tmp_path / "lessons"
    folder.mkdir()
    for name in ("__main__.py", "lesson.py"):
        shutil.copy(ROOT / "lessons" / name, folder)
    (folder / "01_good.py").write_text(
        "# %% [markdown]\n# # A good lesson\n#\n# Mirrors: A1, B2.\n\n# %%\n"
        "from lesson import compare, dataset, save, trained\n"
        "from minadv import models, plotting\n"
        "d = dataset()\n"
        "model = trained('tiny', models.mlp((8, 8, 1), hidden=4), d.x_train, d.y_train, epochs=1, batch_size=256)\n"
        "print('hello', float(abs(model(d.x_test)).sum()))\n"
        "compare('A1', 'a number', '1', '2')\n"
        "save(plotting.image(d.x_test[0]), 'digit', alt='A digit')\n"
    )
    (folder / "02_bad.py").write_text(
        "# %% [markdown]\n# # A bad lesson\n\n# %%\nprint('before')\nassert 1 == 2, 'one is not two'\n"
    )
    return tmp_path


def test_runs_all_and_says_which_failed(copy):
    done = run("--no-progress", "--out", "out", cwd=copy)
    assert done.returncode == 1
    assert re.search(r"01_good +\d+\.\ds +1  ok", done.stdout)
    assert re.search(
        r"02_bad +\d+\.\ds +0  FAILED: AssertionError: one is not two \(line 6\)", done.stdout
    )
    assert (copy / "out/01_good/digit.png").stat().st_size > 0
    assert "hello" in (copy / "out/01_good/output.txt").read_text()
    assert "before" in (copy / "out/02_bad/output.txt").read_text()
    assert "| A1 | a number | 1 | 2 |" in (copy / "out/documents.md").read_text()


def test_only_and_list(copy):
    assert run("--only", "good", "--no-progress", "--out", "out", cwd=copy).returncode == 0
    assert run("--only", "1", "--no-progress", "--out", "out", cwd=copy).returncode == 0
    listed = run("--list", cwd=copy)
    assert listed.returncode == 0
    assert "A good lesson: A1, B2" in listed.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "nonsense"], "no lesson is called nonsense"),
        (["--data", "cifar"], "invalid choice"),
        (["--backend", "cupy"], "CuPy|CUDA"),
    ],
)
def test_bad_call_is_one_clear_line(copy, arguments, message):
    if "cupy" in arguments and shutil.which("nvidia-smi"):
        pytest.skip("there is a GPU here")
    done = run(*arguments, "--out", "out", cwd=copy)
    assert done.returncode == 2
    assert re.search(message, done.stderr)
    assert "Traceback" not in done.stderr


def test_missing_mnist_is_one_clear_line(copy):
    done = run("--data", "mnist", "--out", "out", cwd=copy, MINADV_DATA=str(copy / "nowhere"))
    assert done.returncode == 2
    assert "nowhere" in done.stderr
    assert "Traceback" not in done.stderr


def test_trained_models_are_cached_and_a_damaged_cache_is_rebuilt(copy):
    def once():
        assert run("--only", "1", "--no-progress", "--out", "out", cwd=copy).returncode == 0
        (path,) = (copy / "out/models").iterdir()
        return path, path.stat().st_mtime_ns, (copy / "out/01_good/output.txt").read_text()

    path, first, text = once()
    assert once() == (path, first, text)  # not trained again
    path.write_bytes(path.read_bytes()[:100])
    assert once()[0::2] == (path, text)
    assert path.stat().st_size > 1000


def test_a_lesson_runs_by_itself(tmp_path):
    done = subprocess.run(
        [sys.executable, str(ROOT / "lessons/01_linear_models.py"), "--out", str(tmp_path)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "ŷ = σ(-4) = 0.018" in done.stdout
    assert (tmp_path / "01_linear_models/growth.png").exists()


def test_all_lessons_pass_on_the_digits(tmp_path):
    done = run("--no-progress", "--out", str(tmp_path))
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("  ok") == len(LESSONS)
    for lesson in LESSONS:
        assert list((tmp_path / lesson.stem).glob("*.png")), f"{lesson.stem} has no figure"


# ----------------------------------------------------------------------------------------------------------------- the map


def mirrored(lesson: Path) -> list[str]:
    """The items that a lesson's header claims."""
    (line,) = re.findall(
        r"^# Mirrors: (.*)\.$", lesson.read_text(encoding="utf-8"), flags=re.MULTILINE
    )
    return line.split(", ")


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda path: path.stem)
def test_lesson_has_the_form_of_a_lesson(lesson):
    text = lesson.read_text(encoding="utf-8")
    assert text.startswith("# %% [markdown]\n# # ")
    assert set(mirrored(lesson)) <= ITEMS
    assert re.search(r"^ *assert |assert_", text, flags=re.MULTILINE)
    assert "save(" in text


def test_the_map_lists_every_item_with_the_lessons_that_mirror_it():
    text = (
        (ROOT / "lessons/README.md")
        .read_text(encoding="utf-8")
        .split("## What the documents state")[0]
    )
    rows = re.findall(r"^\| ([A-E]\d+) \| [^|]+ \| ([^|]+) \|", text, flags=re.MULTILINE)
    assert [item for item, _ in rows] == sorted(ITEMS, key=lambda item: (item[0], int(item[1:])))
    claimed = {
        item: {lesson.stem[:2] for lesson in LESSONS if item in mirrored(lesson)} - {ERRORS}
        for item in ITEMS
    }
    for item, lessons in rows:
        assert set(lessons.split(", ")) == (claimed[item] or {"open"}), item
    assert {item for item in ITEMS if not claimed[item]} == OPEN
