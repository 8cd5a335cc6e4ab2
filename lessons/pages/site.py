"""The site: what the run gave, made into pages by Sphinx and MyST-NB, which execute nothing."""

from __future__ import annotations

import html
import io
import json
import re
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import furo  # noqa: F401  (missing: one line of error, as for what conf.py and Sphinx import)
import math_core  # noqa: F401
import myst_nb  # noqa: F401
import numpy as np
import sphinx_codeautolink  # noqa: F401
import ziamath  # noqa: F401
from sphinx.application import Sphinx
from sphinx.util.console import nocolor

import lesson as lesson_module
import minadv
from homework.grader.stubs import student_questions
from minadv import plotting
from minadv.inference import probabilities
from pages import cells as cells_module
from pages.links import Links, anchor, modules

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent

CONTENTS = {
    "Lessons": "lessons/*",
    "Reference": "map glossary numbers benchmarks api/index",
    "Homework": "homework/README homework/*/* homework/TEACHING",
    "Solutions": "solutions/*",
}


def build(outcomes: list, out: Path, data: str) -> Path:
    """Write the site of these runs to ``<out>/site``; returns its first page."""
    figures = {shown.number for outcome in outcomes for shown in _shown(outcome)}
    links = Links([outcome.name for outcome in outcomes], figures)
    with tempfile.TemporaryDirectory(dir=out, prefix=".site-") as folder:
        source, made, trees = (Path(folder, name) for name in ("source", "made", "trees"))
        for outcome in outcomes:
            _lesson(outcome, outcomes, links, out, source)
        _documents(links, source)
        index = (HERE / "index.md").read_text("utf-8").replace("DATA", data)
        _write(source / "index.md", index + "".join(_toc(source, title) for title in CONTENTS))
        _hook(source / "hook.png")
        warnings = io.StringIO()
        nocolor()
        Sphinx(source, HERE, made, trees, "html", status=None, warning=warnings).build()
        (out / "site-warnings.txt").unlink(missing_ok=True)
        if said := warnings.getvalue().replace(str(source), "").strip():
            _write(out / "site-warnings.txt", said + "\n")
        shutil.rmtree(out / "site", ignore_errors=True)
        made.rename(out / "site")
    return out / "site" / "index.html"


def _shown(outcome) -> list[lesson_module.Shown]:
    outputs = [output for cell in outcome.cells for output in cell.outputs]
    return [output for output in outputs if isinstance(output, lesson_module.Shown)]


def _lesson(outcome, outcomes: list, links: Links, out: Path, source: Path) -> None:
    """The notebook of one lesson as the site needs it, its figure sheet, and its download."""
    name, shown = outcome.name, _shown(outcome)
    is_lesson = "/" not in name
    for figure in shown:
        (source / "figures" / name).mkdir(parents=True, exist_ok=True)
        shutil.copy(figure.path, source / "figures" / name)
    notebook = f"notebooks/{name}.ipynb"
    _write(source / notebook, (out / name / Path(notebook).name).read_text("utf-8"))

    texts = [cell.source for cell in outcome.cells if cell.kind == "markdown"]
    texts = links.lesson(texts, name) if is_lesson else [links.prose(text) for text in texts]
    title, _, rest = texts[0].partition("\n")
    if number := lesson_module.lesson_number(name) if is_lesson else "":
        title = f"# {number}. {title.removeprefix('# ')}"
    head = [f"{{download}}`Notebook </{notebook}>`"]
    if shown and is_lesson:
        head.append(f"[Figure sheet](/sheets/{name}.md)")
        sheet = "\n\n".join(_figure(figure, name) for figure in shown)
        _write(source / f"sheets/{name}.md", f"---\norphan: true\n---\n{title}: figures\n\n{sheet}")
    if any(other.name == f"solutions/{name}" for other in outcomes):
        head.append(f"[Worked solutions](/solutions/{name}.ipynb)")
        texts = [text.replace("## Exercises\n", f"## Exercises\n\n{head[-1]}\n") for text in texts]
    failed = f"\n\n```{{error}}\nThis lesson failed: {outcome.error}\n```" if outcome.error else ""
    texts[0] = f"{title}\n\n{' · '.join(head)}{failed}\n{rest}"
    rewritten = iter(texts)
    cells = [
        replace(cell, source=next(rewritten)) if cell.kind == "markdown" else cell
        for cell in outcome.cells
    ]
    page = source / ("lessons" if is_lesson else "") / f"{name}.ipynb"

    def mime(figure: lesson_module.Shown) -> dict[str, str]:
        made = _figure(figure, name, f":name: {anchor(figure.number)}\n") + _slider(figure)
        return {"text/markdown": made}

    _write(page, cells_module.notebook(cells, mime))


def _figure(figure: lesson_module.Shown, name: str, label: str = "") -> str:
    """A figure in MyST: its number, caption and alternative text."""
    alt = figure.alt.replace("\\", "\\\\")
    return (
        f"```{{figure}} /figures/{name}/{figure.path.name}\n"
        f":alt: {alt}\n{label}\n**Figure {figure.number}.** {figure.caption}\n```"
    )


def _slider(figure: lesson_module.Shown) -> str:
    """The slider below the figure, hidden where no script shows it."""
    if not figure.frames:
        return ""
    frames = {key: figure.frames[key] for key in ("values", "says", "pngs")}
    data = html.escape(json.dumps(frames, ensure_ascii=False))
    where = f"slider-{anchor(figure.number)}"
    return (
        f'\n\n```{{raw}} html\n<div class="slider" hidden data-frames="{data}"><img alt="">'
        f'<label for="{where}">{html.escape(figure.frames["label"])}</label>'
        f'<input id="{where}" type="range" min="0" max="{len(frames["values"]) - 1}" value="0">'
        "<p></p></div>\n```"
    )


def _documents(links: Links, source: Path) -> None:
    """Map, glossary, numbers, benchmarks, handouts and their questions, and the API's pages."""
    homework = ROOT / "homework"
    pages = {
        "map": HERE.parent / "README.md",
        "glossary": HERE.parent / "glossary.md",
        "numbers": HERE.parent / "NUMBERS.md",
        "benchmarks": ROOT / "tests" / "benchmarks" / "README.md",
    } | {str(p.relative_to(ROOT).with_suffix("")): p for p in homework.rglob("*.md")}
    names = {path: name for name, path in pages.items() if path.exists()}
    for path, name in names.items():

        def link(m: re.Match, folder: Path = path.parent) -> str:  # to a file: to its page, if any
            page = names.get((folder / m[2]).resolve())
            return f"[{m[1]}](/{page}.md)" if page else m[1]

        text = path.read_text("utf-8")
        if path.name == "questions.md":  # as students get them: without the model answers
            text = student_questions(text)
        if name != "benchmarks":  # its words are no functions
            text = links.map(text) if name == "map" else links.prose(text)
        text = re.sub(r"!?\[([^\]]*)\]\((?!https?:|#|/)([^)]*)\)", link, text)
        _write(source / f"{name}.md", text)
    for path in homework.glob("hw*/handout.py"):  # not executed: its gaps are for the reader
        cells = cells_module.split(path.read_text("utf-8"))
        _write(source / path.relative_to(ROOT).with_suffix(".ipynb"), cells_module.notebook(cells))
    for module in modules():  # a package's names are shown where they are defined
        name, hidden = module.__name__, "   :no-members:\n" * hasattr(module, "__path__")
        text = f"{name}\n{'=' * len(name)}\n\n.. automodule:: {name}\n{hidden}"
        _write(source / f"api/{name}.rst", text)
    tree = "\n".join(f"/api/{module.__name__}" for module in modules())
    _write(source / "api/index.md", f"# API reference\n\n```{{toctree}}\n{tree}\n```\n")


def _toc(source: Path, title: str) -> str:
    """A part of the table of contents, of the pages that there are."""
    found = [sorted(source.glob(f"{pattern}.*")) for pattern in CONTENTS[title].split()]
    names = [f"/{path.relative_to(source).with_suffix('')}" for paths in found for path in paths]
    options = f":caption: {title}\n:maxdepth: 1\n\n" + "\n".join(names)
    return f"\n```{{toctree}}\n{options}\n```\n" if names else ""


def _hook(path: Path) -> None:
    """The picture on the first page: an image, a change that is hard to see, another label."""
    d, model = lesson_module.dataset(), lesson_module.trained_cnn()
    x, y = d.x_test[:300], d.y_test[:300]
    sure = minadv.to_numpy(probabilities(model, x))[np.arange(len(y)), minadv.to_numpy(y)] > 0.9
    x, y = x[sure], y[sure]
    sizes = minadv.to_numpy(minadv.deepfool(model, x, y=y, norm="linf").linf)
    i = int(sizes.argmin())
    one = minadv.pgd(model, x[i : i + 1], y=y[i : i + 1], eps=1.2 * float(sizes[i]))
    figure = plotting.attack_figure(one, model)
    plotting.save(figure, path, alt="An image, the change, another label")


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
