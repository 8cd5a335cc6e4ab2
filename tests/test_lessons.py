"""The runner, its cache of trained models, and the lessons themselves: all of them run, and every
item of the documents is mirrored."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.lesson_run import lessons as run
from tests.lesson_run import whole_run  # noqa: F401

ROOT = Path(__file__).resolve().parent.parent
LESSONS = sorted((ROOT / "lessons").glob("[0-9][0-9]_*.py"))
SOLUTIONS = sorted((ROOT / "lessons" / "solutions").glob("*.py"))
ITEMS = {
    f"{document}{n}"
    for document, count in zip("ABCDE", (11, 7, 7, 11, 11), strict=True)
    for n in range(1, count + 1)
}
OPEN: set[str] = set()  # items that no lesson mirrors
ERRORS = "17"  # the lesson that goes through all items with errors once more
GOOD = """\
# %% [markdown]
# # A good lesson
#
# Mirrors: A1, B2.

# %%
from lesson import dataset, measured, save, settings, slider, trained
from minadv import models, plotting
d = dataset()
model = trained('tiny', models.mlp((8, 8, 1), hidden=4), d.x_train, d.y_train, batch_size=256)
print('hello', float(abs(model(d.x_test)).sum()))
measured('A1', 'a number', 2 + settings.seed, stated='1')

# %%
save(plotting.image(d.x_test[0]), 'digit', alt='A digit "0"', caption='See $x^2$')
"""
BAD = """\
# %% [markdown]
# # A bad lesson

# %%
print('before')
from lesson import seed
assert seed() == 1000, 'one is not two'
"""


def numbered(folder: Path, lesson: str, text: str) -> None:
    (folder / "lessons" / f"{lesson}.py").write_text(text, encoding="utf-8")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A folder with the runner and two lessons: one that passes, one that fails but for seed 1."""
    folder = tmp_path / "lessons"
    shutil.copytree(ROOT / "lessons" / "pages", folder / "pages")
    for name in ("__main__.py", "lesson.py", "runner.py", "tables.py", "README.md"):
        shutil.copy(ROOT / "lessons" / name, folder)
    numbered(tmp_path, "01_good", GOOD)
    numbered(tmp_path, "02_bad", BAD)
    return tmp_path


def small(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess:
    """A run on the small digits."""
    return run("--data", "digits", "--out", "out", *arguments, cwd=cwd, **environment)


def test_runs_all_and_says_which_failed(copy):
    done = small(cwd=copy)
    assert done.returncode == 1
    assert re.search(r"01_good +\d+\.\ds +1  ok", done.stdout)
    assert re.search(
        r"02_bad +\d+\.\ds +0  FAILED: AssertionError: one is not two \(line 7\)", done.stdout
    )
    assert done.stderr == ""  # no bars where stderr is no terminal
    assert (copy / "out/01_good/digit.png").stat().st_size > 0
    text = (copy / "out/01_good/output.txt").read_text()
    assert re.search(r"hello [\d.]+\n\[A1\] a number: the document says 1, here 2\n", text)
    assert text.endswith("[Figure 1.1. See $x^2$]\n")
    text = (copy / "out/02_bad/output.txt").read_text()
    assert text.startswith("before\nTraceback")
    assert "one is not two" in text
    assert "| 1 | A1 | a number | 1 | 2 |" in (copy / "out/documents.md").read_text()


def test_what_an_earlier_run_left_goes(copy):
    assert small("--only", "1", cwd=copy).returncode == 0
    numbered(copy, "01_good", GOOD.replace("'digit'", "'other'"))
    assert small("--only", "1", cwd=copy).returncode == 0
    assert [path.name for path in (copy / "out/01_good").glob("*.png")] == ["other.png"]


def test_a_part_never_replaces_the_table_of_all(copy):
    small(cwd=copy)
    table = (copy / "out/documents.md").read_text()
    small("--only", "bad", cwd=copy)
    assert (copy / "out/documents.md").read_text() == table
    assert (copy / "out/only-02/documents.md").exists()


def test_seeds_give_mean_spread_and_what_failed(copy):
    done = small("--seeds", "3", cwd=copy)
    assert done.returncode == 1
    table = (copy / "out/numbers.md").read_text()
    assert table.strip() in done.stdout
    assert "Made by `python -m lessons --data digits --out out --seeds 3`." in table
    assert "## 01_good\n\nOn the digits all claims hold in 3 of 3 runs." in table
    bad = "AssertionError: one is not two (line 7)"
    assert f"On the digits 2 of 3 runs fail: seed 0: {bad}, seed 2: {bad}." in table
    assert "| A1 | a number | 1 | 3 | 1 | 3 |" in table  # 2, 3, 4: mean 3, spread 1


def test_runs_on_two_kinds_of_images_make_one_table(tmp_path):
    sys.path.insert(0, str(ROOT / "lessons"))
    import tables

    for images, value in (("mnist", 0.5), ("mnist", 0.7), ("sample", 0.25)):
        folder = tmp_path / images / str(value)
        folder.mkdir(parents=True)
        rows = [("02_x", "B5", "a | b", "", value, ".0%"), ("02_x", "B5", images, "", 1, "+.1f")]
        run = {"lesson": "02_x", "data": images, "seed": 0, "error": "", "rows": rows}
        tables.keep(folder, **run)
    text = tables.stability(tables.kept(tmp_path))
    assert "On the sample all claims hold in 1 of 1 runs; on the full MNIST all" in text
    assert "| B5 | a \\| b |  | 25% |  | 1 | 60% | 14% | 2 |" in text
    assert "| B5 | sample |  | +1.0 |  | 1 |  |  |  |" in text


def test_the_same_seed_gives_the_same_run_and_another_another(copy):
    texts = []
    for seed in ("0", "0", "1"):
        shutil.rmtree(copy / "out", ignore_errors=True)
        assert small("--only", "1", "--seed", seed, cwd=copy).returncode == 0
        texts.append((copy / "out/01_good/output.txt").read_text())
    assert texts[0] == texts[1] != texts[2]


def test_two_runs_at_once_with_one_folder(copy):
    command = [sys.executable, "-m", "lessons", "--data", "digits", "--out", "out", "--only", "1"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    both = [
        subprocess.Popen(command, cwd=copy, env=environment, stdout=-1, stderr=-1) for _ in range(3)
    ]
    for process in both:
        _, said = process.communicate()
        assert process.returncode == 0, said
    (path,) = (copy / "out/models").iterdir()
    assert small("--only", "1", cwd=copy).returncode == 0
    assert [path] == list((copy / "out/models").iterdir())


def test_side_by_side_or_one_after_the_other_is_the_same(copy):
    """Text, numbers, and the order of the table, also with a model that all need."""
    shared = "\nfrom lesson import trained_mlp\nprint(float(trained_mlp()(d.x_test).sum()))\n"
    names = ["01_good", "03_good", "04_good"]
    for name in names:
        numbered(copy, name, GOOD + shared)
    seen = []
    for jobs in ("1", "3"):
        shutil.rmtree(copy / "out", ignore_errors=True)
        done = small("--jobs", jobs, cwd=copy)
        assert done.returncode == 1
        assert done.stderr == ""
        table = re.sub(r"\d+\.\ds", "", done.stdout.partition("\n\n")[0])
        texts = [(copy / f"out/{name}/output.txt").read_text() for name in (*names, "02_bad")]
        seen.append((table, texts, (copy / "out/documents.md").read_text()))
    assert seen[0] == seen[1]
    assert "3 lessons at a time" in done.stdout


def test_a_process_that_is_lost_is_said(copy):
    numbered(copy, "03_killed", GOOD + "\nimport os\nos.kill(os.getpid(), 9)\n")
    done = small("--jobs", "2", cwd=copy)
    assert done.returncode == 1
    assert re.search(r"a process was killed, or ran out of memory, in .*03_killed", done.stderr)
    assert "Traceback" not in done.stderr
    assert "01_good" in done.stdout


@pytest.mark.parametrize("after", [0.3, 0.8, 1.6, 3.0])
def test_ctrl_c_at_any_moment_is_one_line(copy, after):
    """In a terminal all processes hear it, also those that are just starting."""
    long = GOOD.replace("batch_size=256", "batch_size=8, epochs=10**6")
    for name in ("01_good", "02_bad"):
        numbered(copy, name, long)
    process = subprocess.Popen(
        [sys.executable, "-m", "lessons", "--data", "digits", "--out", "out", "--jobs", "2"],
        cwd=copy,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    wait_for((copy / "out").exists)  # the arguments are read
    time.sleep(after)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert re.fullmatch(r"\ninterrupted( in 01_good, 02_bad)?\n", said), said


@pytest.mark.skipif(not Path("/proc").exists(), reason="asks Linux for processes")
def test_no_process_outlives_the_run(copy):
    lines = "\nimport os, time\nopen(f'{os.getpid()}.pid', 'x').close()\ntime.sleep(600)\n"
    for name in ("03_sleeps", "04_sleeps"):
        numbered(copy, name, GOOD + lines)
    command = [sys.executable, "-m", "lessons", "--data", "digits", "--out", "out", "--jobs", "2"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([*command, "--only", "sleeps"], cwd=copy, env=environment)
    wait_for(lambda: len(list(copy.glob("*.pid"))) == 2 or process.poll() is not None)
    process.kill()
    process.wait()
    pids = [int(path.stem) for path in copy.glob("*.pid")]
    assert len(pids) == 2
    wait_for(lambda: not any(Path(f"/proc/{pid}/exe").exists() for pid in pids))


def wait_for(happened) -> None:
    until = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < until
        time.sleep(0.1)


def test_only_and_list(copy):
    for word in ("good", "1", "01"):
        done = small("--only", word, cwd=copy)
        assert done.returncode == 0
        assert "02_bad" not in done.stdout
    listed = run("--list", cwd=copy)
    assert listed.returncode == 0
    assert "A good lesson: A1, B2" in listed.stdout


def test_a_closed_pipe_and_a_poor_terminal_are_no_traceback(copy):
    command = f"{sys.executable} -m lessons --list | head -c 1"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    for _ in range(3):
        done = subprocess.run(command, shell=True, cwd=copy, env=environment, capture_output=True)
        assert done.stderr == b""
    for command in ("--list", "--data digits --only 1"):
        command = f"{sys.executable} -m lessons {command} >&-"
        done = subprocess.run(command, shell=True, cwd=copy, env=environment, capture_output=True)
        assert (done.returncode, done.stderr) == (0, b"")
    numbered(copy, "02_bad", BAD.replace("before", "ε").replace("one is", "ε is"))
    done = small("--only", "2", cwd=copy, PYTHONIOENCODING="cp1252")
    assert "? is not two" in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("environment", "message"),
    [({"MINADV_BACKEND": "foo"}, "foo"), ({"MINADV_DATA": "/nowhere"}, "nowhere")],
)
@pytest.mark.parametrize("by_itself", [False, True])
def test_a_wrong_environment_is_one_clear_line(copy, environment, message, by_itself):
    if by_itself:
        command = [sys.executable, "lessons/01_good.py", "--data", "mnist", "--out", "out"]
        environment = os.environ | {"PYTHONPATH": str(ROOT)} | environment
        done = subprocess.run(
            command, cwd=copy, env=environment, capture_output=True, text=True, check=False
        )
    else:
        done = run("--data", "mnist", "--out", "out", cwd=copy, **environment)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "nonsense"], "no lesson is called nonsense"),
        (["--data", "cifar"], "invalid choice"),
        (["--jobs", "0"], "--jobs: at least 1"),
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


def trainings(copy: Path) -> tuple[Path, int, str]:
    """Run the good lesson: its cached model, when it was written, what the lesson printed."""
    done = small("--only", "1", cwd=copy)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = (copy / "out/models").iterdir()
    return path, path.stat().st_mtime_ns, (copy / "out/01_good/output.txt").read_text()


def damaged(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


def of_nan(path: Path) -> None:
    with np.load(path) as arrays:
        values = {name: arrays[name] * np.nan for name in arrays.files}
    np.savez(path, **values)


def foreign(path: Path) -> None:
    with np.load(path) as arrays:
        values = {name: arrays[name] + 1 for name in arrays.files}
    np.savez(path, **values)


@pytest.mark.parametrize("harm", [damaged, of_nan, foreign])
def test_trained_models_are_cached_and_another_file_is_replaced(copy, harm):
    path, first, text = trainings(copy)
    assert trainings(copy) == (path, first, text)  # not trained again
    harm(path)
    assert trainings(copy)[0::2] == (path, text)
    assert trainings(copy)[0::2] == (path, text)  # and what was written is right


@pytest.mark.parametrize("file", ["lesson.py", "01_good.py"])
def test_a_changed_source_trains_anew(copy, file):
    path, _, _ = trainings(copy)
    with (copy / "lessons" / file).open("a") as source:
        source.write("\n# a comment\n")
    small("--only", "1", cwd=copy)
    assert len(list((copy / "out/models").iterdir())) == 2


def test_a_changed_package_trains_anew(copy):
    """Adam a hundred times slower, or a Dropout of 0.9: the repr of a model shows neither."""
    shutil.copytree(ROOT / "minadv", copy / "minadv")
    for changed in ("training.py", "layers/base.py", "attacks/balls.py"):
        small("--only", "1", cwd=copy, PYTHONPATH=str(copy))
        before = len(list((copy / "out/models").iterdir()))
        with (copy / "minadv" / changed).open("a") as source:
            source.write("\n# a comment\n")
        small("--only", "1", cwd=copy, PYTHONPATH=str(copy))
        assert len(list((copy / "out/models").iterdir())) == before + 1


def test_two_trainings_of_one_name_are_two(copy):
    line = next(line for line in GOOD.splitlines() if line.startswith("model ="))
    twice = GOOD.replace(line, line + "\n" + line.replace("batch_size=256", "batch_size=64"))
    numbered(copy, "01_good", twice)
    for _ in range(2):
        assert small("--only", "1", cwd=copy).returncode == 0
        assert len(list((copy / "out/models").iterdir())) == 2


def test_ctrl_c_keeps_nothing_half_trained(copy):
    numbered(copy, "01_good", GOOD.replace("batch_size=256", "batch_size=8, epochs=10**6"))
    process = subprocess.Popen(
        [sys.executable, "-m", "lessons", "--data", "digits", "--out", "out"],
        cwd=copy,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # a shell's background job ignores Ctrl-C, and so would its children
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        while not (copy / "out/01_good").exists():  # it has begun
            assert process.poll() is None
            time.sleep(0.05)
        time.sleep(1.5)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "interrupted in 01_good" in said
    assert "Traceback" not in said
    assert not list((copy / "out").glob("models/*"))


def test_a_lesson_runs_by_itself(tmp_path):
    script = ROOT / "lessons/01_linear_models.py"
    done = subprocess.run(
        [sys.executable, str(script), "--data", "digits", "--out", str(tmp_path)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "[A7]" in done.stdout
    assert (tmp_path / "01_linear_models/growth.png").exists()


def called(script: Path) -> str:
    """What the runner calls it: "02_fgsm", "solutions/02_fgsm"."""
    return script.relative_to(ROOT / "lessons").with_suffix("").as_posix()


@pytest.mark.lessons
@pytest.mark.parametrize("script", [*LESSONS, *SOLUTIONS], ids=called)
def test_passes_on_the_digits(whole_run, script):  # noqa: F811
    assert whole_run.status in (0, 1), whole_run.stderr
    (line,) = re.findall(rf"^{called(script)} .*$", whole_run.stdout, flags=re.MULTILINE)
    assert line.endswith("ok"), line


@pytest.mark.lessons
@pytest.mark.parametrize("script", LESSONS, ids=called)
def test_the_prose_refers_to_every_figure(whole_run, script):  # noqa: F811
    shown = (whole_run.out / script.stem / "output.txt").read_text(encoding="utf-8")
    shown = set(re.findall(r"^\[Figure (\w+\.\d+)\.", shown, flags=re.MULTILINE))
    assert shown, "it has no figure"
    text = script.read_text(encoding="utf-8").replace("\n# ", " ")
    assert shown <= set(re.findall(r"Figures? (\w+\.\d+)", text))


@pytest.mark.parametrize("solution", SOLUTIONS, ids=lambda path: path.stem)
def test_solutions_belong_to_a_lesson(solution):
    assert solution.name in {lesson.name for lesson in LESSONS}


# The map.


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
