"""How Sphinx makes the site: nothing is executed, nothing is asked of another host, formulas are
MathML, and what the theme leaves out of the keyboard's and the screen reader's reach is mended."""

import html
import re
from pathlib import Path

import math_core
import ziamath
from docutils import nodes
from sphinx.util import logging

project = html_title = "minadv"
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_codeautolink",
]
exclude_patterns = ["notebooks"]
suppress_warnings = ["config.cache", "ref.python", "mystnb.lexer"]

nb_execution_mode = "off"
nb_render_markdown_format = "myst"
nb_mime_priority_overrides = [("html", "text/markdown", 0)]
myst_enable_extensions = ["dollarmath", "attrs_inline", "deflist"]
myst_heading_anchors = 4

autodoc_default_options = {"members": True, "member-order": "bysource"}
napoleon_google_docstring = napoleon_use_param = napoleon_use_rtype = False
codeautolink_concat_default = True  # the cells of a lesson are one program
codeautolink_autodoc_inject = True  # under each function: where the lessons use it

HERE = Path(__file__).resolve().parent
FONT = Path(ziamath.__file__).parent / "fonts" / "STIXTwoMath-Regular.ttf"
html_theme = "furo"
html_static_path = [str(HERE / "static"), str(FONT)]
html_css_files, html_js_files = ["page.css"], ["slider.js"]
html_copy_source = html_show_sphinx = html_show_copyright = False
html_math_renderer = "mathml"
pygments_style = "a11y-high-contrast-light"
pygments_dark_style = "a11y-high-contrast-dark"

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
USES = re.compile(r"<summary>Expand for references to .*?</summary>")  # no link inside a summary
FORMULA_AND_MARK = re.compile(r"(<math>(?:(?!</math>).)*</math>)([,.;:)’]+)")


def setup(app):
    """Called by Sphinx."""
    app.add_html_math_renderer("mathml", (inline, None), (block, None))
    app.connect("build-finished", mend)


def inline(writer, node):
    writer.body.append(mathml(node.astext()))
    raise nodes.SkipNode


def block(writer, node):
    writer.body.append(f'<div class="math">{mathml(node.astext(), display=True)}</div>')
    raise nodes.SkipNode


def mathml(latex: str, display: bool = False) -> str:
    """A formula as MathML, with its number from ``\\tag``; a formula that fails is a warning."""
    tag = re.search(r"\\tag\{([^}]*)\}", latex)
    plain = latex.replace(tag[0], "") if tag else latex
    if display and "&" in plain and "\\begin" not in plain:
        plain = rf"\begin{{aligned}}{plain}\end{{aligned}}"
    try:
        converter = math_core.LatexToMathML(fancy_error=False)
        made = converter.convert_with_local_state(plain, displaystyle=display)
    except math_core.LatexError as error:
        logging.getLogger(__name__).warning("formula %r: %s", latex, error)
        return f'<code class="raw">{html.escape(latex)}</code>'
    return made + (f'<span class="tag">({tag[1]})</span>' if tag else "")


def mend(app, error):
    """What the theme leaves undone, page by page; a formula stays with the comma behind it."""
    for path in Path(app.outdir).rglob("*.html") if error is None else ():
        text = path.read_text("utf-8")
        for plain, mended in MENDS.items():
            text = text.replace(plain, mended)
        text = USES.sub("<summary>Where it is used</summary>", text)
        text = FORMULA_AND_MARK.sub(r'<span class="together">\1\2</span>', text)
        path.write_text(text, "utf-8")
