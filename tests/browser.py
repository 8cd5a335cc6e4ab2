"""Headless Chromium for the tests that look at pages, and axe-core, which judges them.

A module of tests imports the fixture ``browser`` and ``needs_chromium`` from here.
"""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None or find_spec("playwright") is None,
    reason='no browser: pip install "minadv[browser]"; apt-get install chromium',
)
needs_axe = pytest.mark.skipif(
    find_spec("axe_playwright_python") is None,
    reason='no axe-core: pip install "minadv[browser]"',
)
RUN_AXE = """async ([rules, inside]) => (await axe.run(inside || document, {
        preload: false, resultTypes: ["violations"], ...rules
    })).violations
    .map(v => [v.id, v.nodes.length, v.nodes[0].html.slice(0, 300), v.nodes[0].failureSummary])"""


@contextmanager
def launched():
    """Chromium. A loop of asyncio runs as long as it does, in this thread."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def browser():
    """Chromium, for the tests of a module."""
    with launched() as chromium:
        yield chromium


def violations(page, *, contrast: bool = True, only: list[str] = (), inside: str = "") -> list:
    """What axe-core finds wrong with the page as it is now; ``only`` these rules, ``inside`` it."""
    if page.evaluate("typeof axe") == "undefined":
        axe = find_spec("axe_playwright_python")
        page.add_script_tag(path=Path(axe.origin).with_name("axe.min.js"))
    rules = (
        {"runOnly": list(only)} if only else {"rules": {"color-contrast": {"enabled": contrast}}}
    )
    return page.evaluate(RUN_AXE, [rules, inside])
