"""Grading a class, and on Gradescope."""

import io
import json
import os
import signal
import stat
import subprocess
import sys
import time
import zipfile
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context

import pytest

from homework.__main__ import main
from homework.grader import classroom, processes
from homework.grader.classroom import grade_class
from homework.grader.course import Course
from homework.grader.selftest import CHEATS
from homework.grader.stubs import MARK, ROOT, solution_source, student_questions
from homework.grader.submissions import files_of, pick, read_zip
from homework.grader.tables import safe

pytestmark = [
    pytest.mark.lessons,
    pytest.mark.skipif(sys.platform == "win32", reason="grading needs POSIX"),
]


def zipped(files: dict, mode: int = 0o644) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            archive.writestr(info, text, zipfile.ZIP_DEFLATED)
    return data.getvalue()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"PK", "cannot be read"),
        (zipped({"../hw2.py": ""}), "outside"),
        (zipped({"/hw2.py": ""}), "outside"),
        (zipped({"hw2.py": "/etc/passwd"}, stat.S_IFLNK | 0o777), "link"),
        (zipped({f"{i}": "" for i in range(300)}), "more than 200"),
        (zipped({"hw2.py": b"0" * (6 << 20)}), "more than 5 MiB"),
    ],
)
def test_zips_that_are_refused(data, words):
    with pytest.raises(ValueError, match=words):
        read_zip(data)


def test_a_submission_is_found_in_one_subfolder_of_a_zip(tmp_path):
    path = tmp_path / "ada.zip"
    path.write_bytes(zipped({"work/hw2.py": "x = 1", "__MACOSX/hw2.py": "", "numpy.py": ""}))
    assert pick(files_of(path), "hw2.py") == (b"x = 1", "")
    assert "more than one" in pick({"a/hw2.py": b"", "b/hw2.py": b""}, "hw2.py")[1]
    assert "found HW2.py" in pick({"HW2.py": b""}, "hw2.py")[1]


def test_names_are_no_formulas():
    assert safe("=cmd()") == "'=cmd()"
    assert safe("Ada") == "Ada"


@pytest.fixture
def submissions(tmp_path):
    folder = tmp_path / "submissions"
    sources = {"ada": solution_source("hw2"), "ben": "def strongest(W, eps, norm): return W"}
    functions = "    'logit_and_probability',"
    for cheat in ("exit_at_once", "surrogate"):
        text = (CHEATS / f"{cheat}.py").read_text()
        sources[cheat] = text.replace("# FUNCTIONS", functions)
    for name, text in sources.items():
        (folder / name).mkdir(parents=True)
        (folder / name / "hw2.py").write_text(text, encoding="utf-8")
        answers = f"## Question 1 (8 points)\nWhy?\n<!-- your answer -->\n{name} thinks so\n"
        (folder / name / "answers.md").write_text(answers)
    (folder / "eve").mkdir()
    return folder


def test_a_zip_has_the_name_of_its_student(tmp_path):
    for name in ("ada", "cleo.zip", "ada.zip"):
        (tmp_path / name).mkdir() if name == "ada" else (tmp_path / name).write_bytes(zipped({}))
    found = classroom._submissions(tmp_path)
    assert {n: p.name for n, p in found.items()} == {
        "ada": "ada",
        "cleo": "cleo.zip",
        "ada.zip": "ada.zip",
    }


def table(folder, out, executor, **options):
    options = {"scale": "small", "only": "A", "seed": "selftest"} | options
    assert grade_class("hw2", folder, out / "grades.csv", executor, **options) == 0
    return (out / "grades.csv").read_text()


def pool(n):
    return ProcessPoolExecutor(n, mp_context=get_context("spawn"))


def test_every_executor_gives_the_same_table(tmp_path, submissions):
    with pool(1) as one:
        first = table(submissions, tmp_path / "one", one)
    rows = {r.split(",")[0]: r.split(",")[1] for r in first.splitlines()[1:]}
    assert rows == {"ada": "10", "ben": "0", "eve": "", "exit_at_once": "0", "surrogate": "0"}
    with pool(4) as four:
        assert table(submissions, tmp_path / "four", four) == first
    with ThreadPoolExecutor(2) as threads:
        assert table(submissions, tmp_path / "threads", threads) == first
    usage = (tmp_path / "one" / "grades_usage.csv").read_text().splitlines()
    assert usage[0] == "name,seconds,cpu_seconds,peak_mib"
    assert all(float(v) > 0 for v in usage[1].split(",")[1:])


@pytest.mark.filterwarnings("ignore")
def test_a_dask_cluster_gives_the_same_table(tmp_path, submissions):
    distributed = pytest.importorskip("distributed")
    with ThreadPoolExecutor(1) as one:
        first = table(submissions, tmp_path / "one", one)
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with distributed.LocalCluster(**options) as cluster, distributed.Client(cluster) as client:
        assert table(submissions, tmp_path / "dask", client.get_executor()) == first


class Counting(Executor):
    """Runs at once, counts submissions, and loses the first ``lost`` tasks."""

    def __init__(self, lost=0):
        self.count, self.lost, self.arguments = 0, lost, {}

    def submit(self, f, student, *arguments):
        self.count += student != classroom.SOLUTION
        self.arguments[student] = arguments
        arguments = student, *arguments
        future = Future()
        if student != classroom.SOLUTION and self.count <= self.lost:
            future.set_exception(BrokenProcessPool("lost"))
        else:
            future.set_result(f(*arguments))
        return future


def test_what_was_graded_is_kept_until_it_changes(tmp_path, submissions):
    first = table(submissions, tmp_path, Counting(lost=2))  # both are tried again
    for changed, count in ((False, 0), (True, 1)):
        if changed:
            (submissions / "ben" / "hw2.py").write_text("x = 1")
        again = Counting()
        assert table(submissions, tmp_path, again).splitlines()[1] == first.splitlines()[1]
        assert again.count == count
    regraded = Counting()
    table(submissions, tmp_path, regraded, again=("ada",))
    assert regraded.count == 1
    assert classroom.SOLUTION not in regraded.arguments  # it was graded with the first


def test_a_score_that_a_corrected_grader_changes_is_shown(tmp_path, submissions):
    def rows():
        lines = table(submissions, tmp_path, Counting()).splitlines()
        return [dict(zip(lines[0].split(","), line.split(","), strict=True)) for line in lines[1:]]

    assert not any(row["previous"] for row in rows())
    path = tmp_path / "reports" / "ada.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"score": 4, "key": "an old one"}))
    assert [row["previous"] for row in rows()] == ["4", "", "", "", ""]
    assert [row["previous"] for row in rows()] == ["4", "", "", "", ""]  # kept when resumed


def test_some_get_more_time(tmp_path, submissions):
    runs = Counting()
    table(submissions, tmp_path, runs, times={"ada": 2.0})
    assert {s: a[-1] for s, a in runs.arguments.items() if a[-1] != 1} == {"ada": 2.0}
    again = Counting()
    table(submissions, tmp_path, again)
    assert again.count == 1  # other limits, another grading
    with pytest.raises(ValueError, match="holds no zoe"):
        table(submissions, tmp_path, again, times={"zoe": 2.0})


def test_reports_are_pages_and_text(tmp_path, submissions):
    table(submissions, tmp_path, Counting(), ascii=True)
    for student in ("ada", "ben", "eve", "exit_at_once", "surrogate"):
        assert f"report for {student}" in (
            (tmp_path / "reports" / f"{student}.html").read_text(encoding="utf-8").lower()
        )
        (tmp_path / "reports" / f"{student}.txt").read_bytes().decode("ascii")


def test_a_course_on_which_the_solution_fails_is_refused(tmp_path, submissions, monkeypatch):
    source = solution_source("hw2").replace("1 / (1 + e)", "2 / (1 + e)")
    monkeypatch.setattr(classroom, "solution_source", lambda name: source)
    with pytest.raises(ValueError, match="the solution itself fails A1"):
        table(submissions, tmp_path, Counting())


def test_a_seed_is_any_text(tmp_path):
    assert Course("../x", tmp_path).path.parent == tmp_path
    assert Course("spring 27", tmp_path).path != Course("spring 28", tmp_path).path
    assert Course("public", tmp_path).path.name == "public.npz"


def test_a_worker_lost_twice_is_no_grade(tmp_path, submissions):
    out = tmp_path / "grades.csv"
    options = {"scale": "small", "only": "A", "seed": "selftest"}
    bad = grade_class("hw2", submissions, out, Counting(lost=8), **options)
    assert bad == 4
    assert "not graded,BrokenProcessPool" in out.read_text()


def _children(pid) -> list[str]:
    if not sys.platform.startswith("linux"):
        return []
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return file.read().split()


def _runs(pid) -> bool:
    try:
        return processes.stat(pid)[0] != "Z"
    except OSError:
        return False


def test_kill_9_and_resume_give_the_same_table(tmp_path, submissions):
    command = [sys.executable, "-m", "homework", "grade", "hw2", str(submissions)]
    command += ["--small", "--only", "A", "--course-seed", "selftest"]
    environment = os.environ | {"PYTHONPATH": str(ROOT.parent)}
    out, straight = tmp_path / "killed" / "grades.csv", tmp_path / "straight"
    with subprocess.Popen(
        [*command, "--out", str(out)], env=environment, stderr=subprocess.DEVNULL
    ) as grader:
        for _ in range(600):
            if list((tmp_path / "killed" / "reports").glob("*.json")):
                break
            time.sleep(0.1)
        workers = _children(grader.pid)
        grader.send_signal(signal.SIGKILL)
    assert not out.exists()
    for _ in range(300):  # a killed grader leaves no worker behind
        if not any(map(_runs, workers)):
            break
        time.sleep(0.1)
    else:
        pytest.fail("a worker still runs")
    resumed = Counting()
    after = table(submissions, out.parent, resumed)
    assert resumed.count < 4
    assert after == table(submissions, straight, Counting())


def test_answers_come_by_question_under_numbers(tmp_path, submissions):
    given = student_questions((ROOT / "hw2" / "questions.md").read_text())
    over = given.replace(MARK, "Ben wrote over it", 1)
    (submissions / "ben" / "answers.md").write_text(over)
    table(submissions, tmp_path, Counting(), only="no such part")
    text = (tmp_path / "answers" / "question1.md").read_text()
    assert "ada thinks so" in text
    assert "Why?" not in text
    assert "\n\nBen wrote over it\n" in text
    assert "Show that" not in text
    assert "(no answer)" in (tmp_path / "answers" / "question4.md").read_text()
    assert "challenge" not in (tmp_path / "answers" / "question4.md").read_text().lower()
    assert "ada" in (tmp_path / "answers" / "key.csv").read_text()


@pytest.mark.parametrize(("file", "score"), [("hw2.py", 10), ("hw2 (1).py", 0)])
def test_the_autograder_runs_in_a_root_of_its_own(tmp_path, file, score):
    archive = tmp_path / "autograder.zip"
    assert main(["gradescope", "hw2", "--course-seed", "selftest", "--out", str(archive)]) == 0
    root = tmp_path / "root"
    with zipfile.ZipFile(archive) as z:
        z.extractall(root / "source")
    assert not list((root / "source").rglob("cheats"))
    (root / "submission").mkdir()
    # A right part A, and for the rest no functions: quick to fail.
    text = solution_source("hw2").partition("def strongest")[0]
    (root / "submission" / file).write_text(text, encoding="utf-8")
    told = {"created_at": "2030-01-02", "assignment": {"due_date": "2030-01-01"}}
    (root / "submission_metadata.json").write_text(json.dumps(told))
    script = str(root / "source" / "run_autograder")
    subprocess.run(["bash", script, str(root), sys.executable, "--small"], check=True)
    result = json.loads((root / "results" / "results.json").read_text())
    assert result["score"] == score
    assert len(result["tests"]) == 22
    assert result["extra_data"]["times"]["due_date"] == "2030-01-01"
    assert not result["output"]
