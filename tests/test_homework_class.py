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
from homework.grader.classroom import _safe, files_of, grade_class, pick, read_zip
from homework.grader.selftest import CHEATS
from homework.grader.stubs import ROOT, solution_source

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
    assert _safe("=cmd()") == "'=cmd()"
    assert _safe("Ada") == "Ada"


@pytest.fixture
def submissions(tmp_path):
    folder = tmp_path / "submissions"
    sources = {"ada": solution_source("hw2"), "ben": "def strongest(W, eps, norm): return W"}
    functions = "    'logit_and_probability',"
    for cheat in ("exit_at_once", "patch_numpy"):
        text = (CHEATS / f"{cheat}.py").read_text()
        sources[cheat] = text.replace("# FUNCTIONS", functions)
    for name, text in sources.items():
        (folder / name).mkdir(parents=True)
        (folder / name / "hw2.py").write_text(text, encoding="utf-8")
        answers = f"## Question 1 (8 points)\nWhy?\n<!-- your answer -->\n{name} thinks so\n"
        (folder / name / "answers.md").write_text(answers)
    (folder / "eve").mkdir()
    return folder


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
    assert rows == {"ada": "10", "ben": "0", "eve": "", "exit_at_once": "0", "patch_numpy": "0"}
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
    """Runs at once, counts, and loses the first ``lost`` tasks."""

    def __init__(self, lost=0):
        self.count, self.lost = 0, lost

    def submit(self, f, *arguments):
        self.count += 1
        future = Future()
        if self.count <= self.lost:
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


def test_a_worker_lost_twice_is_no_grade(tmp_path, submissions):
    out = tmp_path / "grades.csv"
    bad = grade_class("hw2", submissions, out, Counting(lost=8), scale="small", only="A")
    assert bad == 4
    assert "not graded,BrokenProcessPool" in out.read_text()


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
        grader.send_signal(signal.SIGKILL)
    assert not out.exists()
    resumed = Counting()
    after = table(submissions, out.parent, resumed)
    assert resumed.count < 4
    assert after == table(submissions, straight, Counting())


def test_answers_come_by_question_under_numbers(tmp_path, submissions):
    table(submissions, tmp_path, Counting(), only="none")
    text = (tmp_path / "answers" / "question1.md").read_text()
    assert "ada thinks so" in text
    assert "Why?" not in text
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
