"""The homework's grader: a submission cannot fool it, and a student is told what is wrong."""

import ast
import doctest
import inspect
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from homework.__main__ import main, read_submission
from homework.grader import processes, sandbox, selftest, stubs
from homework.grader.course import Course
from homework.grader.engine import grade
from homework.grader.feedback import report
from homework.grader.html_report import html
from homework.grader.results import write_results
from homework.grader.sandbox import Ended, Raised, Sandbox
from homework.grader.stubs import (
    load,
    names,
    reference_of,
    solution_source,
    stub,
    student_questions,
)

pytestmark = [
    pytest.mark.lessons,
    pytest.mark.skipif(sys.platform == "win32", reason="grading needs POSIX"),
]


def run(source: str, name="f", *arguments, **limits):
    with Sandbox(source.encode(), "hw2", ("backend", "autograd", "ops"), **limits) as box:
        return box.call(name, *arguments)[0]


@pytest.mark.parametrize("name", names())
def test_a_stub_has_the_signatures_and_nothing_of_the_solution(name):
    solution = solution_source(name)
    text = stub(solution, load(name).parts)
    compile(text, name, "exec")
    inside = False
    for line in solution.splitlines():
        inside = inside or "# begin solution" in line
        if inside and len(line.strip()) > 12:
            assert line not in text.splitlines(), line
        inside = inside and "# end solution" not in line
    space = {"__name__": "stub"}
    exec(text, space)
    for check in load(name).checks:
        for function in check.calls:
            right = inspect.signature(getattr(reference_of(name), function))
            assert inspect.signature(space[function]) == right


@pytest.mark.parametrize("name", names())
def test_examples_in_docstrings_are_right(name):
    assert doctest.testmod(reference_of(name)).failed == 0


@pytest.mark.parametrize("name", names())
def test_the_handout_runs_top_to_bottom(tmp_path, name):
    assert main(["start", name, str(tmp_path)]) == 0
    (tmp_path / f"{name}.py").write_text(solution_source(name), encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": str(stubs.ROOT.parent)}
    command = [sys.executable, "handout.py"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "not written yet" not in done.stdout
    cells = json.loads((tmp_path / "handout.ipynb").read_text(encoding="utf-8"))["cells"]
    for cell in cells:
        if cell["cell_type"] == "code":
            ast.parse(cell["source"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("# begin solution: A\n# begin solution: A", "line 2: a gap inside"),
        ("# begin solution: Z", "line 1: there is no part Z"),
        ("# end solution", "line 1: the end of no gap"),
        ("# begin solution: A", "does not end"),
    ],
)
def test_markers_that_do_not_match(text, words):
    with pytest.raises(ValueError, match=words):
        stub(text, {"A": ""})


def test_rubrics_are_stripped():
    text = student_questions(
        "## Question 1\n<!-- rubric -->\nthe answer\n<!-- end rubric -->\nmore"
    )
    assert "the answer" not in text
    assert "<!-- your answer -->" in text
    with pytest.raises(ValueError, match="rubric"):
        student_questions("<!-- rubric -->")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("while True: pass", "CPU seconds"),
        ("import time; time.sleep(100)", "took more than"),
        ("import os; os.kill(os.getpid(), 9)", "ended in f"),
        ("import os; os._exit(0)", "ended in f"),
        ("import os, time; os.fork() or time.sleep(600); os._exit(0)", "ended in f"),
    ],
)
def test_what_ends_a_submission(body, words):
    with pytest.raises(Ended, match=words):
        run(f"def f():\n    {body}", call_seconds=0.5)


def test_memory_is_limited():
    with pytest.raises(Raised, match="Memory"):
        run("import numpy as np\ndef f(): return np.ones(1 << 27)")


def test_what_a_submission_left_behind_is_killed():
    source = """
import os, time
def f():
    if os.fork() == 0:
        os.setsid()
        if os.fork():
            os._exit(0)
        time.sleep(600)
    time.sleep(0.3)
    return 1
"""
    before = processes.children()
    assert run(source) == 1
    assert processes.children() <= before


@pytest.mark.parametrize(
    "module", ["minadv.attacks.fgsm", "homework.hw2.solution", "minadv.losses"]
)
def test_the_answers_cannot_be_imported(module):
    with pytest.raises(Raised, match="not part of this homework's kit"):
        run(f"def f():\n    import {module}")


def test_the_kit_names_what_may_be_used():
    with pytest.raises(Raised, match="You may use: vjp"):
        run("def f():\n    from minadv import fgsm")


def test_unicode_and_windows_line_ends():
    assert run("\ufeff# Größe: ε\r\ndef f():\r\n    return 'ε'\r\n") == "ε"


def test_arguments_are_read_only():
    import numpy as np

    with pytest.raises(Raised, match="read-only"):
        run("def f(x): x += 1", "f", np.zeros(2))


def test_a_syntax_error_names_its_place():
    text = report(load("hw2"), grade(load("hw2"), b"x = (", Course(), only="A", scale="small"))
    assert "SyntaxError" in text
    assert "line 1" in text


def test_start_and_check(tmp_path, capsys):
    folder = tmp_path / "my work"
    assert main(["start", "hw2", str(folder)]) == 0
    assert main(["start", "hw2", str(folder)]) == 2
    (folder / "hw2.py").write_text(solution_source("hw2"), encoding="utf-8")
    assert main(["start", "hw2", str(folder), "--force"]) == 0
    assert (folder / "hw2.py").read_text(encoding="utf-8") == solution_source("hw2")
    capsys.readouterr()
    assert main(["check", "hw2", str(folder), "--small", "--only", "A"]) == 0
    assert "public 6 of 6" in capsys.readouterr().out


def test_a_failure_says_what_and_can_be_pasted(tmp_path, capsys):
    wrong = solution_source("hw2").replace("eps * (W / length)", "eps * W")
    (tmp_path / "hw2.py").write_text(wrong, encoding="utf-8")
    assert main(["check", "hw2", str(tmp_path), "--small", "--only", "B2"]) == 1
    said = capsys.readouterr().out
    for words in ("called", "returned", "expected", "length is", "or paste:", "--only B2"):
        assert words in said
    assert (tmp_path / "failures" / "B2.npz").is_file()
    assert "Traceback" not in said


@pytest.mark.parametrize("name", ["hw2 (1).py", "HW2.py", "hw2.ipynb"])
def test_a_wrong_file_name_is_said_in_words(tmp_path, name):
    (tmp_path / name).write_text("")
    source, wrong = read_submission("hw2", tmp_path)
    assert source is None
    assert name in wrong


def test_a_link_is_no_submission(tmp_path):
    (tmp_path / "other.py").write_text("")
    os.symlink(tmp_path / "other.py", tmp_path / "hw2.py")
    assert read_submission("hw2", tmp_path)[0] is None


def test_results_start_at_zero_and_add_up(tmp_path):
    path, seen = tmp_path / "results.json", []

    def keep(outcomes):
        write_results(path, load("hw2"), outcomes, done=False)
        seen.append(json.loads(path.read_text())["score"])

    outcomes = grade(
        load("hw2"), solution_source("hw2").encode(), Course(), only="A", scale="small", report=keep
    )
    assert seen == [0, 6, 10]
    assert sum(o.points for o in outcomes) == 10


def test_an_error_of_the_grader_gives_no_score(tmp_path, monkeypatch):
    monkeypatch.setattr(sandbox.Sandbox, "call", lambda *a, **k: 1 / 0)
    outcomes = grade(
        load("hw2"), solution_source("hw2").encode(), Course(), only="A", scale="small"
    )
    write_results(tmp_path / "results.json", load("hw2"), outcomes, done=True)
    assert "score" not in json.loads((tmp_path / "results.json").read_text())


def _cases(cheats: bool):
    for name in names():
        for case in selftest.cases(name, name == "hw2"):
            if case[0].startswith("cheat") == cheats:
                yield pytest.param(name, case, id=f"{name} {case[0]}")


def _cheat(name: str, case: tuple) -> tuple[dict, str]:
    """The ``results.json`` that a cheat leaves, and its reports."""
    homework = load(name)
    limits = {"hidden": False, "scale": "small", "call_seconds": 0.2}
    outcomes = grade(homework, case[1].encode(), Course(), **limits)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "results.json")
        write_results(path, homework, outcomes, done=True)
        reports = report(homework, outcomes) + html(homework, outcomes, "eve")
        return json.loads(path.read_text()), reports.encode().decode()


@pytest.fixture(scope="module")
def graded(request):
    """What is tested here, graded on all cores: ``{(homework, case): future}``."""
    found = {}
    with processes.pool(os.cpu_count() or 1) as executor:
        for item in request.session.items:
            if "graded" not in getattr(item, "fixturenames", ()):
                continue
            name, case = item.callspec.params["name"], item.callspec.params["case"]
            if case[0].startswith("cheat"):
                found[name, case[0]] = executor.submit(_cheat, name, case)
            else:
                options = {"hidden": case[0] == "the solution"}
                job = executor.submit(selftest.run, name, case, "small", **options)
                found[name, case[0]] = job
        yield found
        executor.shutdown(cancel_futures=True)


@pytest.mark.parametrize(("name", "case"), list(_cases(False)))
def test_bugs_lose_exactly_their_points(graded, name, case):
    row, wrong = graded[name, case[0]].result()
    assert not wrong, row


@pytest.mark.parametrize(("name", "case"), list(_cases(True)))
def test_cheats_score_nothing_and_results_are_valid(graded, name, case):
    result, reports = graded[name, case[0]].result()
    assert result["score"] == 0
    assert all(t["score"] == 0 for t in result["tests"])
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f]", reports)


def test_the_answers_cannot_be_read_from_the_disk():
    path = str(stubs.ROOT / "hw2" / "solution.py")
    with pytest.raises(Raised, match="FileNotFoundError|PermissionError"):
        run(f"def f(): return open({path!r}).read()")


def test_without_a_wall_the_fence_refuses_to_open_the_answers(tmp_path):
    (tmp_path / "secret.py").write_text("answer")
    body = f"""
from homework.grader.worker import _refuse
_refuse([{str(tmp_path)!r}])
import os
for read in (lambda p: open(p), lambda p: os.listdir(os.path.dirname(p))):
    try:
        read({str(tmp_path / "secret.py")!r})
    except PermissionError:
        print("refused")
"""
    done = subprocess.run([sys.executable, "-c", body], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["refused"] * 2


def test_all_calls_together_have_a_limit():
    source = "def f():\n    while True: pass"
    with Sandbox(source.encode(), "hw2", call_seconds=5, seconds=1) as box:
        with pytest.raises(Ended, match="together|ended in f"):
            box.call("f")
        with pytest.raises(Ended, match="not run|together|ended"):
            box.call("f")


def test_where_the_folder_cannot_be_written_the_report_says_all(tmp_path, capsys):
    wrong = solution_source("hw2").replace("eps * (W / length)", "eps * W")
    (tmp_path / "hw2.py").write_text(wrong, encoding="utf-8")
    (tmp_path / "failures").write_text("")  # as a read-only folder, but for root as well
    assert main(["check", "hw2", str(tmp_path), "--small", "--only", "B2"]) == 1
    assert "length is" in capsys.readouterr().out


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
def test_kill_9_of_the_grader_leaves_a_valid_result_and_no_process(tmp_path):
    body = f"""
from pathlib import Path
from homework.grader.course import Course
from homework.grader.engine import grade
from homework.grader.results import write_results
from homework.grader.stubs import load
h = load("hw2")
source = b"import time\\ndef logit_and_probability(*a): time.sleep(600)"
keep = lambda o: write_results(Path({str(tmp_path)!r}) / "results.json", h, o, done=False)
grade(h, source, Course(), report=keep, call_seconds=100)
"""
    with subprocess.Popen([sys.executable, "-c", body]) as grader:
        path = Path(f"/proc/{grader.pid}/task/{grader.pid}/children")
        for _ in range(600):
            children = path.read_text().split()
            if children and (tmp_path / "results.json").exists():
                break
            time.sleep(0.1)
        time.sleep(0.5)  # by then it asked the system to be ended with us, most likely
        grader.kill()
    assert json.loads((tmp_path / "results.json").read_text())["score"] == 0

    def runs(pid):
        try:
            return processes.stat(pid)[0] != "Z"
        except OSError:
            return False

    for _ in range(100):
        if not any(map(runs, children)):
            break
        time.sleep(0.1)
    else:
        pytest.fail("the child still runs")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="user namespaces")
def test_a_user_without_root_is_shut_in_as_well(tmp_path):
    (tmp_path / "home").mkdir()
    tmp_path.chmod(0o755)
    body = f"""
import importlib, os, sys
from homework.grader import worker
for name in worker.COMMON:
    importlib.import_module(name)
os.chdir({str(tmp_path)!r})
if os.geteuid() == 0:
    os.setgroups([]), os.setgid(65534), os.setuid(65534)
if not worker._shut_in(".", -1, -1):
    sys.exit("no namespaces")
assert os.listdir("/") == ["home"], os.listdir("/")
try:
    os.chroot("/home")
except PermissionError:
    print("shut in")
"""
    done = subprocess.run([sys.executable, "-c", body], capture_output=True, text=True)
    if "no namespaces" in done.stderr:
        pytest.skip("this system has no user namespaces")
    assert done.stdout == "shut in\n", done.stderr


def test_a_closed_pipe_is_no_traceback():
    command = f"{sys.executable} -u -m homework | head -c 1"
    for _ in range(3):
        done = subprocess.run(command, shell=True, cwd=stubs.ROOT, capture_output=True)
        assert (done.stdout, done.stderr) == (b"h", b"")
    closed = subprocess.run(f"{sys.executable} -m homework >&-", shell=True, cwd=stubs.ROOT)
    assert closed.returncode == 0
