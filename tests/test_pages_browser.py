"""The site in headless Chromium: what each page must do, checked page by page."""

from __future__ import annotations

import os
import re
import shutil
from collections import Counter
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.lesson_run import HAS_DOCS, site, whole_run  # noqa: F401

sync_api = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.lessons,
    pytest.mark.skipif(not HAS_DOCS, reason='no site: pip install "minadv[docs]"'),
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium"),
]
SCREENS = [(1280, "light"), (390, "dark")]
RUN_AXE = """async contrast => (await axe.run({
        preload: false, resultTypes: ["violations"], rules: {"color-contrast": {enabled: contrast}}
    })).violations
    .map(v => [v.id, v.nodes.length, v.nodes[0].html.slice(0, 300), v.nodes[0].failureSummary])"""
# Code has thousands of words in few colors, and axe takes ten seconds to look at each. Of each kind
# of word in each kind of box one keeps its color, and is looked at.
ONE_OF_A_KIND = """() => {
    const seen = new Set();
    for (const word of document.querySelectorAll("pre span[class]")) {
        const box = word.closest("div.highlight").parentElement;
        const kind = `${word.className} in ${box.className}`;
        if (seen.has(kind)) word.replaceWith(...word.childNodes);
        seen.add(kind);
    }
}"""
BAD_FIGURES = """() => [...document.querySelectorAll("article figure")].filter(f => {
    const img = f.querySelector("img"), text = f.querySelector("figcaption")?.textContent.trim();
    return !(img?.alt && img.naturalWidth > 0 && text && text !== img.alt);
}).map(f => f.outerHTML.slice(0, 200))"""


def paths(folder: Path) -> list[Path]:
    """All pages of the site."""
    return sorted(p for p in folder.rglob("*.html") if "_static" not in p.parts)


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser):
    """A new page; ``asked`` are the addresses it fetched, ``problems`` its errors."""
    page = browser.new_page()
    page.asked, page.problems = [], []
    page.on("request", lambda request: page.asked.append(request.url))
    page.on("pageerror", lambda error: page.problems.append(str(error)))
    page.on(
        "console",
        lambda m: page.problems.append(m.text) if m.type in ("error", "warning") else None,
    )
    yield page
    page.close()


def each_page(folder: Path, check) -> None:
    """``check(path)`` gives what is wrong with a page; all pages are looked at before it fails."""
    wrong = {
        str(path.relative_to(folder)): found for path in paths(folder) if (found := check(path))
    }
    assert not wrong, "\n".join(f"{name}: {found}" for name, found in wrong.items())


def test_no_page_asks_another_host_or_reports_an_error(site, page):  # noqa: F811
    def check(path):
        page.asked.clear()
        page.problems.clear()
        page.goto(path.as_uri(), wait_until="load")
        away = [url for url in page.asked if not url.startswith(("file:", "data:"))]
        return away + page.problems

    each_page(site, check)


@pytest.mark.parametrize(("width", "scheme"), SCREENS)
def test_no_accessibility_violation_and_no_sideways_scroll(
    site,  # noqa: F811
    page,
    width,
    scheme,
):
    if find_spec("axe_playwright_python") is None:
        pytest.skip('no axe-core: pip install "minadv[browser]"')
    axe = Path(find_spec("axe_playwright_python").origin).with_name("axe.min.js")
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=scheme)

    # Contrast takes seconds on a long page, and all pages of a folder have one style sheet: two
    # pages of each folder are looked at, or all with MINADV_CONTRAST=all.
    seen = Counter()

    def check(path):
        seen[path.parent] += 1
        contrast = seen[path.parent] <= 2 or os.environ.get("MINADV_CONTRAST") == "all"
        page.goto(path.as_uri())
        wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        found = []
        if contrast or scheme == "light":  # without contrast, both schemes are one to axe
            page.add_script_tag(path=axe)
            page.evaluate(ONE_OF_A_KIND)
            found = page.evaluate(RUN_AXE, contrast)
        return found + ([f"{wide} px too wide"] if wide > 0 else [])

    each_page(site, check)


def test_every_formula_is_rendered(site, page):  # noqa: F811
    def check(path):
        page.goto(path.as_uri())
        raw = page.evaluate("""() => {
            const body = document.querySelector("article").cloneNode(true);
            body.querySelectorAll("pre, code, math, script").forEach(e => e.remove());
            return body.textContent.match(/\\$[^$\\n]+\\$|\\\\[a-z]{2,}|\\\\[()[\\]]/g) || [];
        }""")
        flat = page.evaluate("""() => [...document.querySelectorAll("math")].filter(m => {
            const box = m.getBoundingClientRect();
            return m.querySelector("merror") || box.height < 4 || box.width < 2;
        }).map(m => m.outerHTML)""")
        return (
            raw
            + flat
            + page.evaluate("[...document.querySelectorAll('code.raw')].map(e => e.textContent)")
        )

    each_page(site, check)
    page.goto((site / "lessons/02_fgsm.html").as_uri())
    assert page.locator("math").count() > 10
    assert page.evaluate("document.fonts.check('16px \"STIX Two Math\"')")


def test_every_figure_has_number_caption_alt_and_stands_after_its_code(site, page):  # noqa: F811
    def check(path):
        page.goto(path.as_uri())
        page.evaluate("for (const i of document.images) i.loading = 'eager'")
        page.wait_for_function("[...document.images].every(i => i.complete)")
        return page.evaluate(BAD_FIGURES)

    each_page(site, check)
    seen = 0
    for path in sorted((site / "lessons").glob("*.html")):
        page.goto(path.as_uri())
        figures = page.evaluate("""() => [...document.querySelectorAll("article figure")].map(f => [
            f.id, f.querySelector("figcaption").textContent.trim(),
            f.closest(".cell")?.querySelector(".cell_input pre")
                ?.textContent.match(/(save|slider)\\(/g)?.length])""")
        for k, (identity, caption, calls) in enumerate(figures, 1):
            number = re.match(r"Figure (\w+)\.(\d+)\.", caption)
            assert number, caption
            assert int(number[2]) == k, path.name
            assert identity == f"figure-{number[1]}-{k}".lower()
            assert calls, f"{path.name}: figure {k} does not follow the code that drew it"
        seen += len(figures)
    assert seen > 5


class _Links(HTMLParser):
    """A page's anchors and links."""

    def __init__(self, text: str):
        super().__init__()
        self.ids, self.links = set(), []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if attrs.get("id"):
            self.ids.add(attrs["id"])
        for name in ("href", "src"):
            if attrs.get(name):
                self.links.append(attrs[name])


def test_all_links_and_anchors_resolve(site):  # noqa: F811
    parsed = {path.resolve(): _Links(path.read_text("utf-8")) for path in paths(site)}

    def check(path):
        wrong = []
        for link in parsed[path.resolve()].links:
            parts = urlsplit(link)
            if parts.scheme:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path.resolve()
            anchor = unquote(parts.fragment)
            if not target.exists() or (
                anchor and target in parsed and anchor not in parsed[target].ids
            ):
                wrong.append(link)
        return wrong

    each_page(site, check)


def test_lessons_link_to_functions_and_back(site):  # noqa: F811
    lesson = (site / "lessons/02_fgsm.html").read_text("utf-8")
    assert "../api/minadv.attacks.fgsm.html#minadv.attacks.fgsm.fgsm" in lesson
    function = (site / "api/minadv.attacks.fgsm.html").read_text("utf-8")
    assert "../lessons/02_fgsm.html" in function
    items = (site / "map.html").read_text("utf-8")
    assert re.search(r'href="lessons/02_fgsm\.html#[^"]*b5"', items, flags=re.I)


def test_search_finds_a_lesson(site, page):  # noqa: F811
    page.goto((site / "search.html").as_uri() + "?q=deepfool")
    page.wait_for_selector("#search-results li a")
    assert any(
        "deepfool" in a.get_attribute("href") for a in page.locator("#search-results li a").all()
    )


def test_readable_without_javascript(site, browser):  # noqa: F811
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((site / "lessons/02_fgsm.html").as_uri())
    assert page.locator("article h1").is_visible()
    assert page.locator("article math").first.is_visible()
    assert page.locator("article figure img").first.is_visible()
    assert page.locator("article pre").first.is_visible()
    for slider in page.locator(".slider").all():
        assert not slider.is_visible()
    assert page.locator(".sidebar-tree a").first.is_visible()
    context.close()


def test_keyboard_alone(site, page):  # noqa: F811
    """Tab reaches the skip link, the search box, the menu, and every box that scrolls."""
    page.goto((site / "lessons/02_fgsm.html").as_uri())
    reached = set()
    for _ in range(400):
        page.keyboard.press("Tab")
        reached.add(
            page.evaluate("document.activeElement.tagName + '.' + document.activeElement.className")
        )
        if page.evaluate("document.activeElement === document.body"):
            break
    assert any("skip" in name for name in reached)
    assert any("sidebar-search" in name for name in reached)
    assert any(name.startswith("PRE.") for name in reached)
    assert not page.evaluate("""() => [...document.querySelectorAll("article *")].filter(e =>
        e.scrollWidth > e.clientWidth + 1
        && ["auto", "scroll"].includes(getComputedStyle(e).overflowX)
        && e.tabIndex < 0 && !e.querySelector("a, input, [tabindex='0']")
    ).map(e => e.outerHTML.slice(0, 200))""")


def test_slider_by_keyboard(site, page):  # noqa: F811
    sliders = [p for p in paths(site) if 'class="slider"' in p.read_text("utf-8")]
    if not sliders:
        pytest.skip("no lesson has a slider")
    page.goto(sliders[0].as_uri())
    box = page.locator(".slider").first
    slider, image = box.locator("input"), box.locator("img")
    first = image.get_attribute("src"), slider.get_attribute("aria-valuetext")
    slider.focus()
    page.keyboard.press("End")
    last = image.get_attribute("src"), slider.get_attribute("aria-valuetext")
    assert first[0] != last[0]
    assert first[1] != last[1]
    assert last[1] == box.locator("p").text_content()
    page.keyboard.press("Home")
    assert (image.get_attribute("src"), slider.get_attribute("aria-valuetext")) == first
    assert page.evaluate(
        "id => document.querySelector(`label[for=${id}]`).textContent", slider.get_attribute("id")
    )


def test_print_shows_figures_and_hides_the_menu(site, page):  # noqa: F811
    page.emulate_media(media="print")
    page.goto((site / "lessons/02_fgsm.html").as_uri())
    assert not page.locator(".sidebar-drawer").is_visible()
    assert page.locator("article figure img").first.is_visible()
    for slider in page.locator(".slider").all():
        assert not slider.is_visible()
    assert page.evaluate("""[...document.querySelectorAll("article pre")]
        .every(e => getComputedStyle(e).whiteSpace === "pre-wrap")""")
    assert len(page.pdf()) > 10_000
