"""What students and teachers read: messages, pictures, pages, challenges, thresholds."""

import json
import sys
from html.parser import HTMLParser

import numpy as np
import pytest

from homework.grader import kit, values
from homework.grader.course import Course
from homework.grader.engine import Outcome, grade, measure
from homework.grader.feedback import plain, report
from homework.grader.grading import Call, Failed
from homework.grader.html_report import html, message
from homework.grader.results import write_results
from homework.grader.sandbox import Ended, Raised, Sandbox
from homework.grader.serve import Served
from homework.grader.stubs import load, names, solution_source
from homework.grader.thresholds import thresholds

pytestmark = [
    pytest.mark.lessons,
    pytest.mark.skipif(sys.platform == "win32", reason="grading needs POSIX"),
]


@pytest.mark.parametrize(
    "value",
    [
        np.array([1.5, np.inf, np.nan]),
        np.array([[1, 2]], np.int32),
        np.array([True, False]),
        np.zeros((0, 3), np.float32),
        np.float32(0.1),
        [np.array([1.0]), (2,), {"a": np.array([3.0])}],
        ("text", None, -0.5),
    ],
)
def test_a_pasted_value_is_the_value(value):
    def same(a, b):
        if isinstance(a, (list, tuple)):
            return type(a) is type(b) and all(map(same, a, b))
        if isinstance(a, dict):
            return all(same(a[k], b[k]) for k in a)
        a, b = np.asarray(a), np.asarray(b)
        return a.dtype == b.dtype and a.tobytes() == b.tobytes()

    assert same(value, eval(values.python(value), {"np": np}))


def test_a_small_array_stands_in_one_line():
    assert values.numbers(np.array([[10000.0, -0.5], [0.1 + 0.2, 1.0]])) == (
        "[[10000, -0.5], [0.30000000000000004, 1]]"
    )
    assert values.numbers(np.float32([0.1, np.nan])) == "[0.1, nan]"


def test_the_worst_places_come_first():
    expected = np.zeros((5, 8))
    returned = expected.copy()
    returned[3, 7], returned[1, 2] = 0.25, -0.5
    assert values.worst(returned, expected) == "[1, 2]: -0.5, expected 0; [3, 7]: 0.25, expected 0"
    assert not values.worst(returned[:1], expected[:1])  # small enough to be shown in full


def test_a_picture_shows_what_changed_and_says_it():
    before = np.zeros((2, 64))
    after = before.copy()
    after[1, 8 * 3 + 5] = 1
    rows = values.picture(before, after)
    assert len(rows) == 10
    assert rows[3].index("[@]") == 1 + 3 * 5
    assert sum(row.count("[") for row in rows[:8]) == 1
    assert rows[8] == "image 1 as it came back; in brackets what changed: 1 of 64"
    assert rows[9] == "most of all row 3, column 5: 0 became 1"
    after[:] = np.nan
    assert values.picture(before, after) == []


def _failed(why, **more):
    x = np.zeros((2, 64))
    call = Call("fgsm", (x,), {})
    failure = Failed(why, call=call, returned=x + 0.5, **more)
    homework = load("hw2")
    return homework, [Outcome(homework.checks[-1], False, "failed", failure)]


def test_the_report_shows_the_image_that_its_sentence_names():
    assert "image 1 as it came back" in report(*_failed("image 1: it is too far away"))
    assert "|" not in report(*_failed("it is wrong", picture="drawn by the check"))


def test_lines_stay_within_100_columns():
    text = report(*_failed("many words " * 50))
    assert all(len(line) <= 100 for line in text.splitlines() if "or paste" not in line)


def test_plain_is_ascii():
    text = plain("σ(W·x) ≤ ε‖W‖₁, ü")
    assert text == "sigma(W*x) <= eps||W||_1, ?"


class _Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.words = [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.words += data


def test_the_page_has_headings_headers_and_words_for_states():
    wrong = solution_source("hw2").replace("1 / (1 + e)", "2 / (1 + e)")
    homework = load("hw2")
    outcomes = grade(homework, wrong.encode(), Course(), only="A", scale="small")
    page = _Page(html(homework, outcomes, '<b>"ada"'))
    tags = [tag for tag, _ in page.tags]
    assert dict(page.tags)["html"]["lang"] == "en"
    assert tags.count("h1") == 1
    assert "b" not in tags
    assert "not passed" in page.words
    assert "the probability is" in page.words
    headers = [a["scope"] for tag, a in page.tags if tag == "th"]
    assert headers == ["col"] * 5 + ["row"] * 2
    assert "script" not in tags
    assert "no file" in _Page(message("no file", "eve")).words


def test_what_was_printed_belongs_to_its_check():
    source = """
def logit_and_probability(W, x, b):
    print("in A")
    return 1
def strongest(W, eps, norm):
    return 1
"""
    outcomes = grade(load("hw2"), source.encode(), Course(), hidden=False, scale="small")
    printed = {o.check.id: any("in A" in n for n in o.notes) for o in outcomes}
    assert printed["A1"]
    assert not printed["B1"]


def test_questions_without_end_come_to_an_end():
    source = b"def f(ask):\n    while True:\n        try: ask(1.0)\n        except ValueError: pass"
    with Sandbox(source, "hw2", call_seconds=0.5) as box, pytest.raises(Ended, match="took more"):
        box.call("f", Served(lambda v: v))


def test_a_question_cannot_use_up_the_judges_memory():
    source = b"import numpy as np\ndef f(ask): ask(np.ones((60000, 1)), np.ones((1, 60000)))"
    with Sandbox(source, "hw2") as box, pytest.raises(Raised, match="is too large"):
        box.call("f", Served(lambda a, b: a * b))


def test_all_that_is_kept_of_a_call_has_a_limit(monkeypatch):
    monkeypatch.setattr("homework.grader.sandbox.MOST_ASKED", 1 << 20)
    source = b"import numpy as np\ndef f(ask):\n    for _ in range(9): ask(np.ones(1 << 15))"
    with Sandbox(source, "hw2") as box, pytest.raises(Ended, match="asked for more"):
        box.call("f", Served(lambda v: v))


def test_a_text_cannot_command_the_terminal():
    source = b"def f(): raise ValueError('\\ud800 \\x1b[2J')"
    with Sandbox(source, "hw2") as box, pytest.raises(Raised) as caught:
        box.call("f")
    assert caught.value.text == "\ufffd \ufffd[2J"


def test_a_kit_holds_what_its_modules_import(tmp_path, monkeypatch):
    (tmp_path / "layers").mkdir()
    files = {"models.py": "from minadv.layers import dense\nfrom minadv import ops, nothing"}
    files |= {"layers/__init__.py": "from minadv.layers.dense import D", "layers/dense.py": ""}
    files |= {"ops.py": "import minadv.backend", "backend.py": "", "attacks.py": ""}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(kit, "HOME", tmp_path)
    kit.needed.cache_clear()
    assert set(kit.needed(("models",))) == {"models", "layers", "ops", "backend"}
    kit.write_kit(tmp_path / "kit", ("models",))
    assert (tmp_path / "kit" / "minadv" / "layers" / "dense.py").is_file()
    with pytest.raises(ValueError, match="attacks"):
        kit.needed(("attacks",))
    kit.needed.cache_clear()


def test_every_homework_has_a_challenge_that_its_questions_ask_for():
    for name in names():
        homework = load(name)
        text = (kit.HOME.parent / "homework" / name / "questions.md").read_text(encoding="utf-8")
        assert "def challenge(" in text
        assert homework.challenge.order in ("asc", "desc")


def test_a_challenge_is_measured_and_ranked(tmp_path):
    homework, source = load("hw5"), solution_source("hw5")
    assert measure(homework, source.encode(), Course()) == (None, "")
    own = source + "\ndef challenge(model, x):\n    return deepfool(model, x, steps={})\n"
    value, why = measure(homework, own.format(6).encode(), Course())
    assert 0.3 < value < 0.8
    assert not why
    many, why = measure(
        homework,
        (own.format(6) + "    return 1\n").replace("    return deep", "    deep").encode(),
        Course(),
    )
    assert many is None
    assert "has shape ()" in why
    write_results(tmp_path / "r.json", homework, [], done=True, seconds=1.234, challenge=value)
    result = json.loads((tmp_path / "r.json").read_text())
    assert result["execution_time"] == 1.2
    assert result["leaderboard"][0]["order"] == "asc"
    assert result["score"] == 0


def test_thresholds_show_how_far_the_solution_stays(capsys):
    assert thresholds("hw3", "D2", 2, 1, "small") == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("D2  Kolmogorov distance, linf") for line in lines)
