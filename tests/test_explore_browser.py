"""``python -m minadv explore`` in headless Chromium: by mouse, by touch, by keyboard."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from PIL import Image

from minadv import data, models
from minadv.explore.server import Server
from minadv.training import fit
from tests.browser import browser, needs_axe, needs_chromium, violations  # noqa: F401

pytestmark = needs_chromium
SCREENS = [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")]
INK = "image.reduce((sum, value) => sum + value, 0)"


@pytest.fixture(scope="module")
def server():
    sample = data.mnist_sample()
    model = models.mlp(hidden=32)
    fit(model, sample.x_train[:4000], sample.y_train[:4000], epochs=4, progress=False)
    server = Server(model, name="an MLP")
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def opened(server, browser):  # noqa: F811
    """A function that opens the page; in the end it has reported nothing, and asked nobody else."""
    contexts, asked, problems = [], [], []

    def open_page(**context):
        contexts.append(browser.new_context(**context))
        page = contexts[-1].new_page()
        page.answers = []
        page.on("response", lambda r: page.answers.append(r) if r.url.endswith("attack") else None)
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda m: problems.append(m.text) if m.type != "log" else None)
        page.problems = problems
        page.goto(server.address)
        settled(page)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not [url for url in asked if not url.startswith((server.address, "data:", "blob:"))]
    assert not problems


@pytest.fixture
def page(opened):
    return opened()


def settled(page):
    """Wait until what is shown answers what is asked for."""
    page.wait_for_selector("#shown[aria-busy=false]", state="attached")


def answered(page, act):
    """``act()`` makes the page ask for an attack; what was asked last, and what was answered.

    A slow machine may ask in the middle of a stroke, too.
    """
    with page.expect_response("**/attack"):
        act()
    settled(page)
    return page.answers[-1].request.post_data_json, page.answers[-1].json()


def says(page):
    return page.locator("#says").text_content()


def test_it_starts_with_a_digit_and_an_attack(page):
    assert "The model" in says(page)
    assert page.locator("#probabilities tr").count() == 10
    assert page.locator("#samples button").count() == 20
    assert page.locator("#samples button").first.get_attribute("aria-pressed") == "true"
    assert "an MLP" in page.locator("#model").text_content()
    assert page.locator("#high").text_content() == "+0.15"
    assert page.locator("#low").text_content() == "−0.15"


def test_every_attack_can_be_chosen(page):
    for name in page.locator("#attack option").all_text_contents():
        asked, got = answered(page, lambda name=name: page.select_option("#attack", name))
        assert asked["attack"] == name
        assert "error" not in got
        assert page.locator("#says.error").count() == 0
        assert page.locator("#goal").is_visible() == (name not in ("uniform_noise", "negative"))


def test_drawing_by_mouse(page):
    answered(page, lambda: page.click("#clear"))
    assert page.evaluate(INK) == 0
    box = page.locator("#drawing").bounding_box()
    x = box["x"] + box["width"] / 2

    def line():
        page.mouse.move(x, box["y"] + box["height"] * 0.2)
        page.mouse.down()
        page.mouse.move(x, box["y"] + box["height"] * 0.8, steps=3)
        page.mouse.up()
        page.mouse.move(x + 100, box["y"] + 20)  # the pen is up

    asked, got = answered(page, line)
    ink = np.reshape(asked["image"], (28, 28))
    assert ink[8:20, 13:15].min() > 0.5
    assert ink[:, :11].max() == ink[:, 17:].max() == 0
    assert np.argmax(got["before"]) == 1  # a stroke is a one
    assert "1 (" in says(page)


def test_drawing_by_touch(opened):
    page = opened(has_touch=True, viewport={"width": 390, "height": 800})
    answered(page, lambda: page.tap("#clear"))
    box = page.locator("#drawing").bounding_box()
    touch = page.context.new_cdp_session(page)

    def send(kind, *place):
        points = [{"x": place[0], "y": place[1]}] if place else []
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    def line():
        x, y, size = box["x"], box["y"], box["width"]
        send("touchStart", x + size / 2, y + size * 0.2)
        for share in (0.4, 0.6, 0.8):
            send("touchMove", x + size / 2, y + size * share)
        send("touchEnd")

    asked, _ = answered(page, line)
    assert np.reshape(asked["image"], (28, 28))[8:20, 13:15].min() > 0.5
    assert page.evaluate("scrollY") == 0  # drawing does not scroll the page


def test_all_by_keyboard(page):
    """Tab reaches everything, in order; arrows and Space draw; the focus is seen."""
    reached = []
    for _ in range(60):
        page.keyboard.press("Tab")
        here = page.evaluate("document.activeElement.id || document.activeElement.tagName")
        if here == "BODY":
            break
        reached.append(here)
        style = "getComputedStyle(document.activeElement)"
        assert page.evaluate(f"parseFloat({style}.outlineWidth)") >= 2, here
        assert page.evaluate(f"{style}.outlineStyle") != "none", here
    wanted = ["drawing", "clear", "center", "invert", "BUTTON", "file", "attack", "target"]
    wanted += ["setting-eps", "slide", "go"]
    assert [name for k, name in enumerate(reached) if name not in reached[:k]] == wanted

    page.focus("#clear")
    answered(page, lambda: page.keyboard.press("Enter"))
    page.focus("#drawing")
    for key in ("ArrowUp", "ArrowUp", "ArrowRight"):
        page.keyboard.press(key)
    assert "Row 13, column 16: 0 %" in page.locator("#cursor").text_content()
    asked, _ = answered(page, lambda: page.keyboard.press("Space"))
    assert np.reshape(asked["image"], (28, 28))[12, 15] == 1
    assert "Row 13, column 16: 100 %" in page.locator("#cursor").text_content()
    asked, _ = answered(page, lambda: page.keyboard.press("Backspace"))
    assert np.reshape(asked["image"], (28, 28))[12, 15] == 0

    page.focus("#slide")
    asked, got = answered(page, lambda: page.keyboard.press("End"))
    assert asked["settings"]["eps"] == "0.5"
    assert page.input_value("#setting-eps") == "0.5"
    page.focus("#go")
    answered(page, lambda: page.keyboard.press("Enter"))


def test_samples_center_and_invert(page):
    asked, _ = answered(page, lambda: page.locator("#samples button").nth(3).click())
    expected = data.mnist_sample().x_test[3].ravel()
    np.testing.assert_allclose(asked["image"], expected, atol=1e-6)
    inverted, _ = answered(page, lambda: page.click("#invert"))
    np.testing.assert_allclose(inverted["image"], 1 - expected, atol=1e-6)
    assert page.locator("#samples [aria-pressed=true]").count() == 0
    answered(page, lambda: page.click("#clear"))
    page.locator("#drawing").click(position={"x": 30, "y": 30})
    asked, _ = answered(page, lambda: page.click("#center"))
    row, column = np.mgrid[:28, :28]
    ink = np.reshape(asked["image"], (28, 28))
    assert abs((ink * row).sum() / ink.sum() - 13.5) <= 0.5
    assert abs((ink * column).sum() / ink.sum() - 13.5) <= 0.5


def test_an_image_file(page, tmp_path):
    pixels = np.zeros((200, 300, 3), np.uint8)
    pixels[:, 150:] = 255  # black left, white right; the square in the middle is taken
    Image.fromarray(pixels).save(tmp_path / "half.png")
    asked, _ = answered(page, lambda: page.set_input_files("#file", tmp_path / "half.png"))
    ink = np.reshape(asked["image"], (28, 28))
    assert ink[:, :13].max() < 0.1
    assert ink[:, 15:].min() > 0.9

    def drop():
        page.evaluate("""async () => {
            const canvas = new OffscreenCanvas(40, 40);
            canvas.getContext("2d").fillStyle = "white";
            canvas.getContext("2d").fillRect(0, 0, 40, 40);
            const files = new DataTransfer();
            files.items.add(new File([await canvas.convertToBlob()], "white.png"));
            document.getElementById("drop").dispatchEvent(
                new DragEvent("drop", {bubbles: true, dataTransfer: files}));
        }""")

    asked, _ = answered(page, drop)
    assert min(asked["image"]) > 0.99
    (tmp_path / "text.png").write_text("no image")
    page.set_input_files("#file", tmp_path / "text.png")
    page.get_by_text("text.png is not an image").wait_for()
    answered(page, lambda: page.click("#invert"))
    assert page.locator("#unread").text_content() == ""


def test_a_bad_setting_is_told_in_the_librarys_words(page):
    asked, got = answered(page, lambda: page.fill("#setting-eps", "-0.1"))
    assert says(page) == got["error"] == "eps must be >= 0, got -0.1"
    assert page.locator("#says.error").count() == 1
    assert page.locator("#says").get_attribute("aria-live") == "polite"
    assert not page.locator("#adversarial").is_visible()  # it answers other settings
    answered(page, lambda: page.fill("#setting-eps", "1/10"))
    assert page.locator("#says.error").count() == 0
    assert page.locator("#adversarial").is_visible()
    assert all("status of 400" in problem for problem in page.problems)  # the browser's report
    page.problems.clear()


def test_a_change_ends_the_attack_before_it(server, page):
    def of(steps):
        return lambda request: (
            (request.post_data_json or {}).get("settings", {}).get("steps") == str(steps)
        )

    answered(page, lambda: page.select_option("#attack", "pgd"))
    answered(page, lambda: page.fill("#setting-eps", "0"))
    with server.turn:  # no attack runs: the first one is not over before the change
        with page.expect_request(of(7)):
            page.fill("#setting-steps", "7")
        with page.expect_event("requestfailed", of(7)):
            page.fill("#setting-steps", "1")
        assert page.locator("#shown").get_attribute("aria-busy") == "true"
    settled(page)
    assert page.answers[-1].request.post_data_json["settings"]["steps"] == "1"
    assert "1 step," in page.locator("#numbers").text_content()
    assert "The model still sees" in says(page)


def test_an_answer_to_older_settings_is_not_shown(page):
    """It comes after a change, before the page asks again: in that moment fetch answers."""
    before = says(page), page.locator("#numbers").text_content()
    page.evaluate("""() => {
        window.calls = [];
        window.fetch = (_, {signal}) => new Promise((resolve, reject) => {
            calls.push(answer => resolve({ok: true, json: async () => answer}));
            signal.addEventListener("abort", () => reject(signal.reason));
        });
    }""")
    page.click("#go")
    page.evaluate("""async () => {
        const eps = document.getElementById("setting-eps");
        eps.value = "0.5";
        eps.dispatchEvent(new Event("input", {bubbles: true}));
        const flat = new Array(784).fill(0), even = new Array(10).fill(0.1);
        calls[0]({image: flat, change: flat, before: even, after: even, linf: 0, l2: 0, l0: 0,
            success: false, steps: 99, queries: null, seconds: 0, warnings: []});
        for (let k = 0; k < 20; k++) await null;
    }""")
    assert page.locator("#shown").get_attribute("aria-busy") == "true"
    assert (says(page), page.locator("#numbers").text_content()) == before


@needs_axe
@pytest.mark.parametrize(("width", "scheme"), SCREENS)
def test_accessible_and_no_wider_than_the_screen(opened, width, scheme):
    page = opened(viewport={"width": width, "height": 900}, color_scheme=scheme, bypass_csp=True)
    for name in ("fgsm", "pgd", "one_pixel", "negative"):
        answered(page, lambda name=name: page.select_option("#attack", name))
        assert violations(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    answered(page, lambda: page.select_option("#attack", "fgsm"))
    answered(page, lambda: page.fill("#setting-eps", "much"))  # an error
    assert violations(page) == []
    page.problems.clear()


def test_the_policy_lets_nothing_in(page):
    """A script in the page's own text does not run, and no other host can be asked."""
    page.evaluate("""() => {
        const script = document.createElement("script");
        script.textContent = "window.ran = true";
        document.body.append(script);
    }""")
    assert page.evaluate("window.ran") is None
    assert page.evaluate("fetch('http://127.0.0.1:1/').then(() => 'sent', () => 'refused')") == (
        "refused"
    )
    while len(page.problems) < 2:  # a report may come late
        page.wait_for_timeout(20)
    assert all("Content Security Policy" in text for text in page.problems)
    page.problems.clear()
