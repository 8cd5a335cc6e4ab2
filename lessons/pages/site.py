"""The site: what the run gave, made into pages by Sphinx and MyST-NB, which execute nothing."""

from __future__ import annotations

import ast
import html
import importlib
import inspect
import io
import json
import pkgutil
import re
import shutil
import sys
import tempfile
from pathlib import Path

import furo  # noqa: F401  (missing: one line of error)
import math_core
import myst_nb  # noqa: F401
import numpy as np
import ziamath
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging as sphinx_logging
from sphinx.util.console import nocolor

import lesson as lesson_module
import minadv
from minadv import plotting
from minadv.inference import probabilities
from pages import cells as cells_module

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
FONT = Path(ziamath.__file__).parent / "fonts" / "STIXTwoMath-Regular.ttf"
CONFIG = {
    "project": "minadv",
    "extensions": [
        "myst_nb",
        "sphinx.ext.autodoc",
        "sphinx.ext.napoleon",
        "pages.site",
    ],
    "html_theme": "furo",
    "html_title": "minadv",
    "html_static_path": [str(HERE / "static"), str(FONT)],
    "html_css_files": ["page.css"],
    "html_js_files": ["slider.js"],
    "html_copy_source": False,
    "html_show_sphinx": False,
    "html_show_copyright": False,
    "html_math_renderer": "mathml",
    "exclude_patterns": ["notebooks"],
    "autodoc_default_options": {"members": True, "member-order": "bysource"},
    "napoleon_google_docstring": False,
    "napoleon_use_rtype": False,
    "myst_enable_extensions": ["dollarmath", "attrs_inline", "deflist"],
    "myst_heading_anchors": 4,
    "nb_execution_mode": "off",
    "nb_render_markdown_format": "myst",
    "nb_mime_priority_overrides": [("html", "text/markdown", 0)],
    "pygments_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
    "suppress_warnings": ["config.cache", "ref.python", "mystnb.lexer"],
}
MENDS = {  # boxes that scroll are reached by keyboard, landmarks have names, search has a heading
    'role="heading"><span class="caption-text"': 'role="heading" aria-level="2">'
    '<span class="caption-text"',
    "<pre>": '<pre tabindex="0">',
    '<div class="math">': '<div class="math" tabindex="0">',
    '<div class="table-wrapper': '<div tabindex="0" class="table-wrapper',
    '<aside class="sidebar-drawer"': '<aside aria-label="Site" class="sidebar-drawer"',
    '<aside class="toc-drawer': '<aside aria-label="On this page" class="toc-drawer',
    '<th class="head"><p></p></th>': "<td></td>",  # the corner of a table heads nothing
    '<div id="search-results">': '<h1>Search</h1><div id="search-results">',
}
USED: dict[str, list[str]] = {}  # a public name -> the lessons that use it


def build(outcomes: list, out: Path, data: str) -> Path:
    """Write the site of these runs to ``<out>/site``; returns its first page."""
    names = [o.name for o in outcomes]
    public = _public()
    USED.clear()
    with tempfile.TemporaryDirectory(dir=out, prefix=".site-") as folder:
        source, made = Path(folder, "source"), Path(folder, "made")
        for outcome in outcomes:
            _lesson(outcome, names, public, out, source)
        _documents(names, public, source, data)
        warnings = io.StringIO()
        nocolor()
        _write(source / "conf.py", "\n".join(f"{k} = {v!r}" for k, v in CONFIG.items()))
        trees = Path(folder, "trees")
        app = Sphinx(source, source, made, trees, "html", status=None, warning=warnings)
        app.build()
        if said := warnings.getvalue().replace(str(source), "").strip():
            (out / "site-warnings.txt").write_text(said + "\n", encoding="utf-8")
        _mend(made)
        shutil.rmtree(out / "site", ignore_errors=True)
        made.rename(out / "site")
    return out / "site" / "index.html"


# The lessons.


def _lesson(outcome, names: list[str], public: dict[str, str], out: Path, source: Path) -> None:
    """The notebook of one lesson as the site needs it, its figure sheet, and its download."""
    name, stem = outcome.name, Path(outcome.name).name
    page = source / (name if "/" in name else f"lessons/{name}")
    shown = [
        c for cell in outcome.cells for c in cell.outputs if isinstance(c, lesson_module.Shown)
    ]
    for figure in shown:
        (source / "figures" / name).mkdir(parents=True, exist_ok=True)
        shutil.copy(figure.path, source / "figures" / name)
    _write(
        source / "notebooks" / f"{name}.ipynb",
        (out / name / f"{stem}.ipynb").read_text("utf-8"),
    )
    links = [f"{{download}}`Notebook </notebooks/{name}.ipynb>`"]
    if shown and "/" not in name:
        links.append(f"[Figure sheet](/sheets/{name}.md)")
        sheet = "\n\n".join(_figure(figure, name, False) for figure in shown)
        title = re.sub(r"^# ", "", outcome.cells[0].source.split("\n")[0])
        _write(
            source / f"sheets/{name}.md",
            f"---\norphan: true\n---\n# Figures: {title}\n\n{sheet}\n",
        )
    if f"solutions/{name}" in names:
        links.append(f"[Worked solutions](/solutions/{name}.ipynb)")
    uses = _uses(outcome.cells, public)
    for used in uses:
        USED.setdefault(used, []).append(page.relative_to(source).as_posix())
    numbers, seen, cells = {figure.number for figure in shown}, set(), []
    for cell in outcome.cells:
        text = cell.source
        if cell.kind == "markdown":
            text = _linked(text, names, numbers, public)
            text = re.sub(
                r"^#+ .*\(([A-E]\d+(?:, [A-E]\d+)*)\)",
                lambda m: _labels(m, stem, seen),
                text,
                flags=re.M,
            )
            if f"solutions/{name}" in names:
                text = re.sub(
                    r"^## Exercises$",
                    f"\\g<0>\n\n[Worked solutions](/solutions/{name}.ipynb)",
                    text,
                    flags=re.M,
                )
        cells.append(cells_module.Cell(cell.kind, text, cell.line, cell.outputs, cell.count))
    failed = f"\n\n```{{error}}\nThis lesson failed: {outcome.error}\n```" if outcome.error else ""
    title, _, rest = cells[0].source.partition("\n")
    if number := lesson_module.lesson_number(name).lstrip("S") if "/" not in name else "":
        title = f"# {number}. {title.removeprefix('# ')}"
    cells[0].source = f"{title}\n\n{' · '.join(links)}{failed}\n{rest}"
    if uses:
        listed = ", ".join(f"{{py:obj}}`{u.removeprefix('minadv.')} <{u}>`" for u in uses)
        cells.append(cells_module.Cell("markdown", f"## Functions used\n\n{listed}", 0))
    markdown = lambda figure: {"text/markdown": _figure(figure, name, True)}  # noqa: E731
    _write(page.with_suffix(".ipynb"), cells_module.notebook(cells, markdown))


def _figure(figure, name: str, named: bool) -> str:
    """A figure in MyST: number, caption, alternative text, and its slider below."""
    label = f":name: figure-{figure.number.replace('.', '-').lower()}\n" if named else ""
    alt = figure.alt.replace("\\", "\\\\")
    caption = f"**Figure {figure.number}.** {figure.caption}"
    head = f"```{{figure}} /figures/{name}/{figure.path.name}"
    text = f"{head}\n:alt: {alt}\n{label}\n{caption}\n```"
    if not (named and figure.frames):
        return text
    f = figure.frames
    data = html.escape(
        json.dumps({k: f[k] for k in ("values", "says", "pngs")}, ensure_ascii=False)
    )
    where = f"slider-{figure.number.replace('.', '-').lower()}"
    return text + (
        f'\n\n```{{raw}} html\n<div class="slider" hidden data-frames="{data}"><img alt="">'
        f'<label for="{where}">{html.escape(f["label"])}</label>'
        f'<input id="{where}" type="range" min="0" max="{len(f["values"]) - 1}" value="0">'
        "<p></p></div>\n```"
    )


def _labels(heading: re.Match, stem: str, seen: set) -> str:
    """A heading with its items' labels before it: the map links there."""
    new = [item for item in heading[1].split(", ") if item not in seen]
    seen.update(new)
    return "".join(f"({stem}-{item.lower()})=\n" for item in new) + heading[0]


def _linked(text: str, names: list[str], figures: set[str], public: dict[str, str]) -> str:
    """Prose with links: "lesson 4" to its page, "Figure 4.1" to the figure, `pgd` to the API."""
    pages = {lesson_module.lesson_number(name): name for name in names}

    def link(m: re.Match) -> str:
        if m["code"]:
            full = public.get(re.sub(r"\(.*", "", m["code"]))
            return f"{{py:obj}}`{m['code']} <{full}>`" if full else m[0]
        if m["lesson"] in pages:
            return f"[{m[0]}](/lessons/{pages[m['lesson']]}.ipynb)"
        if m["frame"] and "F" in pages:
            return f"[{m[0]}](/lessons/{pages['F']}.ipynb)"
        if m["figure"] in figures:
            return f"[{m[0]}](#figure-{m['figure'].replace('.', '-').lower()})"
        if m["items"]:
            return "Mirrors: " + re.sub(
                r"[A-E]\d+", lambda i: f"[{i[0]}](/map.md#{i[0].lower()})", m["items"]
            )
        return m[0]

    kept = r"^#.*$|```[\s\S]*?```|``.*?``|\$\$[\s\S]*?\$\$|\$[^$]*\$|!?\[[^\]]*\]\([^)]*\)"
    return re.sub(
        rf"{kept}|`(?P<code>[^`\n]+)`|\b[Ll]esson (?P<lesson>\d+)\b|(?P<frame>\bthe frame\b)"
        r"|\bFigure (?P<figure>\w+\.\d+)\b|^Mirrors: (?P<items>.*)$",
        link,
        text,
        flags=re.M,
    )


# The API.


def _public() -> dict[str, str]:
    """Public names, short, half or in full, such as `pgd`, and where they are defined."""
    names: dict[str, str] = {}
    for module in _modules():
        names[module.__name__] = module.__name__
        for name in getattr(module, "__all__", vars(module)):
            value = inspect.getattr_static(module, name, None)
            home = getattr(value, "__module__", None) or ""
            inside = home.startswith(f"{module.__name__}.") and hasattr(module, "__all__")
            if name.startswith("_") or not (home == module.__name__ or inside):
                continue  # shown where it is defined
            if inside:  # a package's name for what a module of it defines
                short = f"{module.__name__}.{name}"
                for alias in (short, short.removeprefix("minadv.")):
                    names.setdefault(alias, f"{home}.{name}")
                continue
            full = f"{module.__name__}.{name}"
            parts = full.split(".")
            for i in range(len(parts)):
                names.setdefault(".".join(parts[i:]), full)
    for module in _modules():  # what a package exports leads to where it is defined
        if not hasattr(module, "__path__"):
            continue
        for name in getattr(module, "__all__", ()):
            full = f"{getattr(getattr(module, name), '__module__', '')}.{name}"
            if full in names:
                package = module.__name__.removeprefix("minadv.")
                names[f"{module.__name__}.{name}"] = names[f"{package}.{name}"] = full
    return names


def _modules() -> list:
    """All public modules of the package."""
    found = pkgutil.walk_packages(minadv.__path__, "minadv.")
    names = [
        "minadv",
        *(m.name for m in found if not m.name.rpartition(".")[2].startswith("_")),
    ]
    return [importlib.import_module(name) for name in names]


def _uses(cells: list, public: dict[str, str]) -> list[str]:
    """The package's functions that a lesson's code names."""
    source = "\n".join(cell.source for cell in cells if cell.kind == "code")
    modules, used = {"minadv": "minadv"}, set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("minadv"):
            for alias in node.names:
                modules[alias.asname or alias.name] = f"{node.module}.{alias.name}"
                used.add(f"{node.module}.{alias.name}")
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            used.add(f"{modules.get(node.value.id, '')}.{node.attr}")
    full = {public.get(name) or public.get(name.removeprefix("minadv.")) for name in used}
    return sorted(
        f for f in full - {None} if f.startswith("minadv.") and f.split(".")[-1] in source
    )


def _used_in(app, what, name, obj, options, lines) -> None:
    """The lessons that use a function, below its docstring."""
    pages = [page for page in USED.get(name, ()) if page.startswith("lessons/")]
    if pages and what in ("function", "class"):
        lines += ["", ":Lessons: " + ", ".join(f":doc:`/{page}`" for page in pages), ""]


# The other pages.


def _documents(names: list[str], public: dict, source: Path, data: str) -> None:
    """The first page, the map, the glossary, handouts, benchmarks, and the API's pages."""
    others = {"map": HERE.parent / "README.md", "glossary": HERE.parent / "glossary.md"}
    others["benchmarks"] = ROOT / "tests" / "benchmarks" / "README.md"
    handouts = sorted((ROOT / "homework").rglob("*.md"))
    others |= {p.relative_to(ROOT).with_suffix("").as_posix(): p for p in handouts}
    others = {name: path for name, path in others.items() if path.exists()}
    for name, path in others.items():
        text = path.read_text("utf-8")
        text = _map(text, names, source) if name == "map" else _linked(text, names, set(), public)
        links = r"(!?)\[([^\]]*)\]\((?!https?:|#|/)[^)]*\)"  # to what is no page
        _write(source / f"{name}.md", re.sub(links, lambda m: "" if m[1] else m[2], text))
    modules = [module.__name__ for module in _modules()]
    for name in modules:  # a package's names are shown where they are defined
        hidden = "   :no-members:\n" if hasattr(sys.modules[name], "__path__") else ""
        text = f"{name}\n{'=' * len(name)}\n\n.. automodule:: {name}\n{hidden}"
        _write(source / f"api/{name}.rst", text)
    _hook(source / "hook.png")
    trees = {
        "Lessons": [f"lessons/{name}" for name in names if "/" not in name],
        "Solutions": [name for name in names if "/" in name],
        "Homework": [name for name in others if name.startswith("homework/")],
        "Reference": [n for n in ("map", "glossary", "benchmarks") if n in others] + ["api/index"],
    }
    parts = [_toc(tree, title) for title, tree in trees.items() if tree]
    _write(
        source / "api/index.md",
        "# API reference\n\n" + _toc([f"api/{m}" for m in modules]),
    )
    index = (HERE / "index.md").read_text("utf-8").replace("DATA", data)
    _write(source / "index.md", index.replace("PARTS", "\n\n".join(parts)))


def _toc(names: list[str], caption: str = "") -> str:
    """A list of pages."""
    head = f":caption: {caption}\n" if caption else ""
    pages = "\n".join(f"/{name}" for name in names)
    return f"```{{toctree}}\n:maxdepth: 1\n{head}\n{pages}\n```"


def _map(text: str, names: list[str], source: Path) -> str:
    """The map: each item's lessons link to the paragraph that mirrors it."""
    numbers = {lesson_module.lesson_number(name): name for name in names}

    def row(m: re.Match) -> str:
        def link(n: re.Match) -> str:
            name = numbers.get(str(int(n[0])) if n[0].isdigit() else n[0])
            if name is None:
                return n[0]
            page = source / f"lessons/{name}.ipynb"
            label = f"{name}-{m[1].lower()}"
            there = f"({label})=" in page.read_text("utf-8")
            return f"[{n[0]}](#{label})" if there else f"[{n[0]}](/lessons/{name}.ipynb)"

        return f"| [{m[1]}]{{#{m[1].lower()}}} | {m[2]} | {re.sub(r'[0-9]+|F', link, m[3])} |"

    head, cut, tail = text.partition("## What the documents state")
    return re.sub(r"^\| ([A-E]\d+) \| ([^|]+) \| ([^|]+) \|", row, head, flags=re.M) + cut + tail


def _hook(path: Path) -> None:
    """The picture on the first page: an image, a change that is hard to see, another label."""
    d, model = lesson_module.dataset(), lesson_module.trained_cnn()
    x, y = d.x_test[:300], d.y_test[:300]
    sure = minadv.to_numpy(probabilities(model, x))[np.arange(len(y)), minadv.to_numpy(y)] > 0.9
    x, y = x[sure], y[sure]
    sizes = minadv.to_numpy(minadv.deepfool(model, x, y=y).linf)
    i = int(sizes.argmin())
    one = minadv.pgd(model, x[i : i + 1], y=y[i : i + 1], eps=2 * float(sizes[i]))
    plotting.save(
        plotting.attack_figure(one, model),
        path,
        alt="An image, the change, another label",
    )


# What Sphinx does not do.


def setup(app) -> dict:
    """Formulas as MathML, and the lessons under each function."""
    logger = sphinx_logging.getLogger(__name__)
    converter = math_core.LatexToMathML(fancy_error=False)

    def mathml(latex: str, display: bool) -> str:
        tag = re.search(r"\\tag\{([^}]*)\}", latex)
        plain = latex.replace(tag[0], "") if tag else latex
        if display and "&" in plain and "\\begin" not in plain:
            plain = rf"\begin{{aligned}}{plain}\end{{aligned}}"
        try:
            made = converter.convert_with_local_state(plain, displaystyle=display)
        except math_core.LatexError as error:
            logger.warning("formula %r: %s", latex, error)
            return f'<code class="raw">{html.escape(latex)}</code>'
        return made + (f'<span class="tag">({tag[1]})</span>' if tag else "")

    def inline(self, node):
        self.body.append(mathml(node.astext(), False))
        raise nodes.SkipNode

    def block(self, node):
        self.body.append(f'<div class="math">{mathml(node.astext(), True)}</div>')
        raise nodes.SkipNode

    app.add_html_math_renderer("mathml", (inline, None), (block, None))
    app.connect("autodoc-process-docstring", _used_in)
    return {"parallel_read_safe": False}


def _mend(made: Path) -> None:
    """What the theme leaves undone: names, and boxes that scroll by keyboard."""
    for path in made.rglob("*.html"):
        text = path.read_text("utf-8")
        for plain, mended in MENDS.items():
            text = text.replace(plain, mended)
        text = re.sub(
            r"(<math>(?:(?!</math>).)*</math>)([,.;:)’]+)",
            r'<span class="together">\1\2</span>',
            text,
        )
        path.write_text(text, "utf-8")


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
