"""The site in headless Chromium: what each page must do, checked page by page.

All pages are visited once, by two browsers at a time; each requirement is a test of what they saw.
"""

from __future__ import annotations

import os
import re
from concurrent.futures import ThreadPoolExecutor
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.browser import browser, launched, needs_axe, needs_chromium, violations  # noqa: F401
from tests.lesson_run import HAS_DOCS, site, whole_run  # noqa: F401

pytestmark = [
    pytest.mark.lessons,
    pytest.mark.skipif(not HAS_DOCS, reason='no site: pip install "minadv[docs]"'),
    needs_chromium,
]
BROWSERS = 2
REQUIREMENTS = ["no other host", "no error", "formulas", "figures", "accessible", "contrast"]
REQUIREMENTS += ["dark", "width of a phone", "keyboard", "print"]
NOT_QUIET = ("error", "warning")
BACKGROUND = "() => getComputedStyle(document.body).backgroundColor"
RAW = """() => {
    const body = document.querySelector("article").cloneNode(true);
    body.querySelectorAll("pre, code:not(.raw), math, script").forEach(e => e.remove());
    const raw = body.textContent.match(/\\$[^$\\n]+\\$|\\\\[a-z]{2,}|\\\\[()[\\]]/g) || [];
    const flat = [...document.querySelectorAll("math")].filter(m => {
        const box = m.getBoundingClientRect();
        return m.querySelector("merror") || box.height < 4 || box.width < 2;
    });
    return [...raw, ...flat.map(m => m.outerHTML)];
}"""
FIGURES = """() => [...document.querySelectorAll("article figure")].map(f => {
    const image = f.querySelector("img"), text = f.querySelector("figcaption")?.textContent.trim();
    return {
        id: f.id, text: text || "",
        fine: Boolean(image?.alt && image.naturalWidth && image.alt !== text),
        drawn: f.closest(".cell")?.querySelector(".cell_input pre")
            ?.textContent.match(/(save|slider)\\(/g)?.length,
    };
})"""
WIDE = """() => {  // the theme's box around the article would scroll, not the page
    const boxes = [document.documentElement, ...document.querySelectorAll(".content")];
    return Math.max(...boxes.map(box => box.scrollWidth - box.clientWidth));
}"""
OUT_OF_REACH = """() => [...document.querySelectorAll("article *")].filter(e =>
    e.scrollWidth > e.clientWidth + 1
    && ["auto", "scroll"].includes(getComputedStyle(e).overflowX)
    && e.tabIndex < 0 && !e.querySelector("a, input, [tabindex='0']")
).map(e => e.outerHTML.slice(0, 200))"""
PRINTED = """() => [
    ...document.querySelectorAll(
        ".sidebar-drawer, .toc-drawer, .slider, .back-to-top, .skip-to-content"),
    ...[...document.querySelectorAll("article pre")].filter(
        e => getComputedStyle(e).whiteSpace !== "pre-wrap"),
].filter(e => e.checkVisibility()).map(e => e.outerHTML.slice(0, 100))"""
# Code has thousands of words of few kinds, and axe looks at each. Of each kind one is left.
ONE_OF_A_KIND = """() => {
    const seen = new Set();
    for (const word of document.querySelectorAll("pre span[class], pre a")) {
        const box = word.closest("div.highlight").parentElement;
        const kind = `${word.className} in ${box.className}`;
        if (seen.has(kind)) word.replaceWith(...word.childNodes);
        seen.add(kind);
    }
}"""
# What contrast depends on: the colors of a text and of all boxes around it, size, weight, opacity.
# axe takes seconds to judge all texts of a page. A look that it has judged on one page is not
# judged again on another (MINADV_CONTRAST=all: it is).
LOOKS = """judged => {
    const looks = {};
    for (const e of document.querySelectorAll("body *")) {
        const box = e.getBoundingClientRect();
        const text = [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
        const seen = e.checkVisibility({opacityProperty: true, visibilityProperty: true});
        if (!text || !seen || box.width < 2 || box.right < 0 || box.left > innerWidth) continue;
        const style = getComputedStyle(e), look = [style.color, style.fontSize, style.fontWeight];
        for (let around = e; around; around = around.parentElement) {
            const {backgroundColor, opacity} = getComputedStyle(around);
            look.push(backgroundColor, opacity);
        }
        const name = look.filter(part => part !== "rgba(0, 0, 0, 0)" && part !== "1").join();
        if (!judged.includes(name)) looks[name] ??= e;
    }
    for (const e of Object.values(looks)) e.dataset.look = "new";
    return Object.keys(looks);
}"""


def paths(folder: Path) -> list[Path]:
    """All pages of the site."""
    return sorted(p for p in folder.rglob("*.html") if "_static" not in p.parts)


def visited(pages: list[Path], judged: set) -> list[dict]:
    """What is wrong with each of the pages: requirement -> what was seen."""
    with launched() as chromium:
        page = chromium.new_page()
        asked, problems = [], []
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda m: problems.append(m.text) if m.type in NOT_QUIET else None)
        found = []
        for path in pages:
            asked.clear()
            problems.clear()
            page.set_viewport_size({"width": 1280, "height": 900})
            page.emulate_media(media="screen", color_scheme="light")
            page.goto(path.as_uri(), wait_until="load")
            page.evaluate("for (const i of document.images) i.loading = 'eager'")
            page.wait_for_function("[...document.images].every(i => i.complete)")
            light = page.evaluate(BACKGROUND)
            seen = {
                "no other host": [url for url in asked if not url.startswith(("file:", "data:"))],
                "no error": list(problems),
                "formulas": page.evaluate(RAW),
                "figures": wrong_figures(page.evaluate(FIGURES), path),
            }
            page.evaluate(ONE_OF_A_KIND)
            seen["accessible"] = violations(page, contrast=False)
            seen["contrast"] = low_contrast(page, judged)
            page.set_viewport_size({"width": 390, "height": 900})
            page.emulate_media(color_scheme="dark")
            seen["contrast"] += low_contrast(page, judged)
            seen["dark"] = [light] if page.evaluate(BACKGROUND) == light else []
            seen["width of a phone"] = [w] if (w := page.evaluate(WIDE)) > 0 else []
            seen["keyboard"] = page.evaluate(OUT_OF_REACH)
            page.emulate_media(media="print")
            seen["print"] = page.evaluate(PRINTED)
            found.append(seen)
        return found


def low_contrast(page, judged: set) -> list:
    """Where axe finds too little contrast, of the looks that it has not judged yet."""
    if os.environ.get("MINADV_CONTRAST") == "all":
        return violations(page, only=["color-contrast"])
    looks = page.evaluate(LOOKS, sorted(judged))
    found = violations(page, only=["color-contrast"], inside="[data-look]") if looks else []
    page.evaluate("for (const e of document.querySelectorAll('[data-look]')) delete e.dataset.look")
    judged.update(looks)
    return found


def wrong_figures(figures: list[dict], path: Path) -> list:
    """Figures without alternative text or caption; in a lesson also: misnumbered, or misplaced."""
    wrong = [figure for figure in figures if not (figure["fine"] and figure["text"])]
    for k, figure in enumerate(figures if path.parent.name == "lessons" else (), 1):
        number = re.match(r"Figure (\w+)\.(\d+)\.", figure["text"])
        named = number and figure["id"] == f"figure-{number[1]}-{k}".lower()
        if not (named and int(number[2]) == k and figure["drawn"]):
            wrong.append(figure)
    return wrong


@pytest.fixture(scope="module")
def seen(site) -> dict[str, dict]:  # noqa: F811
    """What is wrong with each page."""
    pages, judged = paths(site), set()
    with ThreadPoolExecutor(BROWSERS) as pool:
        parts = [pages[k::BROWSERS] for k in range(BROWSERS)]
        results = pool.map(visited, parts, [judged] * BROWSERS)
        return {
            str(path.relative_to(site)): found
            for part, result in zip(parts, results, strict=True)
            for path, found in zip(part, result, strict=True)
        }


@needs_axe
@pytest.mark.parametrize("requirement", REQUIREMENTS)
def test_every_page(seen, requirement):
    wrong = {name: found[requirement] for name, found in seen.items() if found[requirement]}
    assert not wrong, "\n".join(f"{name}: {what}" for name, what in wrong.items())


def test_there_is_something_to_see(site, page):  # noqa: F811
    page.goto((site / "lessons/02_fgsm.html").as_uri())
    assert page.locator("math").count() > 10
    assert page.locator("article figure").count() > 4
    assert page.evaluate("document.fonts.check('16px \"STIX Two Math\"')")


@pytest.fixture
def page(browser):  # noqa: F811
    page = browser.new_page()
    yield page
    page.close()


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

    wrong = {str(path): found for path in paths(site) if (found := check(path))}
    assert not wrong


def test_lessons_link_to_functions_and_back(site):  # noqa: F811
    lesson = (site / "lessons/02_fgsm.html").read_text("utf-8")
    assert "../api/minadv.attacks.fgsm.html#minadv.attacks.fgsm.fgsm" in lesson
    function = (site / "api/minadv.attacks.fgsm.html").read_text("utf-8")
    assert "../lessons/02_fgsm.html" in function
    assert "lessons/02_fgsm.html#" in function.replace("../", "")  # to the section


def test_every_item_links_to_the_paragraphs_that_mirror_it(site):  # noqa: F811
    rows = re.findall(r'<tr[^>]*><td><p><span id="[a-e]\d+">.*?</tr>', _text(site / "map.html"))
    items = {
        re.search(r'id="(.*?)"', row)[1]: re.findall(r'href="lessons/(.*?)"', row) for row in rows
    }
    there = {path.stem for path in (site / "lessons").glob("*.html")}
    assert len(items) > 40
    for item, links in items.items():
        assert all(link.endswith(f"-{item}") for link in links), item
        assert links or len(there) < 19 or item == "e11", item


def _text(path):
    return path.read_text("utf-8").replace("\n", "")


def test_next_and_previous(site, page):  # noqa: F811
    page.goto((site / "index.html").as_uri())
    seen = []
    while page.locator("a.next-page").count():
        page.goto(
            page.locator("a.next-page").evaluate("a => a.href"), wait_until="domcontentloaded"
        )
        seen.append(page.url)
    assert "/lessons/" in seen[0]
    assert len(seen) == len(set(seen))
    page.locator("a.prev-page").click()
    assert page.url == seen[-2]


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
