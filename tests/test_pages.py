"""The pages without a browser: cells, notebooks, a failing lesson, formulas."""

from __future__ import annotations

import json
import shutil
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from minadv import plotting
from tests.lesson_run import HAS_DOCS, ROOT, lessons

sys.path.insert(0, str(ROOT / "lessons"))
import lesson  # noqa: E402
from pages import cells  # noqa: E402

LESSON = """\
# %% [markdown]
# # A title
#
# Mirrors: A1, B5.
#
# ## A part (A1)
#
# $$a = b \\tag{1.2}$$ See `fgsm`, Figure 1.2 and lesson 1.

# %%
from lesson import dataset, save, slider
from minadv import fgsm, plotting
d = dataset()
print("before <the> figure")
save(plotting.image(d.x_test[0]), "one", alt='A "digit"', caption="See $x^2$ & `x`")
print("after")

# %%
slider("two", list(d.x_test[:3]), [0, 1, 2.5], ["a", "b", "c"], symbol="k", label="which",
       alt="Three digits", caption="Move")
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The runner with one lesson."""
    target = tmp_path / "lessons"
    shutil.copytree(ROOT / "lessons" / "pages", target / "pages")
    for name in ("__main__.py", "lesson.py", "runner.py", "tables.py", "README.md"):
        shutil.copy(ROOT / "lessons" / name, target)
    (target / "01_one.py").write_text(LESSON, encoding="utf-8")
    return tmp_path


def test_cells_keep_their_lines_and_markdown_loses_its_hashes():
    first, code, last = cells.split(LESSON)
    assert [cell.kind for cell in (first, code, last)] == ["markdown", "code", "code"]
    assert first.source.startswith("# A title\n\nMirrors: A1, B5.")
    lines = LESSON.splitlines()
    for cell in (code, last):
        assert lines[cell.line - 1] == cell.source.splitlines()[0]


def test_the_notebook_is_valid_and_holds_all_outputs_in_order(folder):
    done = lessons("--data", "digits", "--out", "out", cwd=folder)
    assert done.returncode == 0, done.stderr
    text = (folder / "out/01_one/01_one.ipynb").read_text("utf-8")
    nbformat = pytest.importorskip("nbformat")
    nbformat.validate(nbformat.reads(text, as_version=4))
    _, code, sliding = json.loads(text)["cells"]
    before, figure, after = code["outputs"]
    assert (before["text"], after["text"]) == ("before <the> figure\n", "after\n")
    html = figure["data"]["text/html"]
    assert 'alt="A &quot;digit&quot;"' in html
    assert "<figcaption>Figure 1.1. See $x^2$ &amp; `x`</figcaption>" in html
    assert "Figure 1.2. Move" in sliding["outputs"][0]["data"]["text/html"]


@pytest.mark.skipif(not HAS_DOCS, reason='pip install "minadv[docs]"')
def test_a_failing_lesson_gives_a_page_with_its_traceback_and_status_1(folder):
    (folder / "lessons/02_bad.py").write_text(
        "# %% [markdown]\n# # Bad\n\n# %%\nassert 1 == 2, 'one is not two'\n"
    )
    done = lessons("--data", "digits", "--out", "out", "--html", cwd=folder)
    assert done.returncode == 1, done.stderr
    assert done.stdout.splitlines()[-1] == str(folder / "out/site/index.html")
    page = (folder / "out/site/lessons/02_bad.html").read_text("utf-8")
    assert "This lesson failed" in page
    assert "Traceback" in page
    good = (folder / "out/site/lessons/01_one.html").read_text("utf-8")
    assert '<span class="tag">(1.2)</span>' in good
    assert 'href="../api/minadv.attacks.fgsm.html#minadv.attacks.fgsm.fgsm"' in good
    assert 'href="#figure-1-2"' in good
    assert good.count('class="slider"') == 1
    assert "$" not in good.partition("<figcaption>")[2].partition("</figcaption>")[0]
    warnings = folder / "out/site-warnings.txt"
    assert not warnings.exists(), warnings.read_text("utf-8")


def test_html_without_its_packages_is_one_line(folder):
    (folder / "math_core.py").write_text("raise ImportError('gone')")
    done = lessons("--html", cwd=folder, PYTHONPATH=f"{folder}:{ROOT}")
    assert done.returncode == 2
    assert 'pip install "minadv[docs]"' in done.stderr
    assert "Traceback" not in done.stderr


def test_in_a_kernel_a_figure_is_shown_as_html(tmp_path, monkeypatch):
    shown = []
    display = types.SimpleNamespace(HTML=lambda html: html, display=shown.append)
    shell = types.SimpleNamespace(kernel=None)
    kernel = types.SimpleNamespace(get_ipython=lambda: shell, version_info=(9, 0))
    monkeypatch.setitem(sys.modules, "IPython", kernel)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    monkeypatch.setattr(lesson, "settings", lesson.Settings("digits", tmp_path, lesson="02_fgsm"))
    lesson.save(plotting.image(np.zeros((8, 8, 1))), "black", alt="A <black> square", caption="It")
    assert len(shown) == 1
    assert 'src="data:image/png;base64,' in shown[0]
    assert 'alt="A &lt;black&gt; square"' in shown[0]
    assert "<figcaption>Figure 2.1. It</figcaption>" in shown[0]


def test_zero_means_the_gradient_and_the_frame():
    listed = lessons("--list", "--only", "0").stdout
    assert [line.split()[0] for line in listed.splitlines()] == ["00_gradient", "00_the_frame"]
    assert lessons("--list", "--only", "F").stdout.startswith("00_the_frame")
    assert lessons("--list", "--only", "1").stdout.startswith("01_")


@pytest.mark.parametrize(("frames", "values"), [(1, 1), (3, 2)])
def test_slider_says_what_does_not_fit(frames, values):
    images = list(np.zeros((frames, 4, 4)))
    says = ["a"] * values
    with pytest.raises(ValueError, match="one length"):
        lesson.slider("n", images, [0] * values, says, symbol="", label="l", alt="a", caption="c")
