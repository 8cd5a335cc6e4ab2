"""``python -m minadv explore`` without a browser: what it answers, refuses and gives up."""

from __future__ import annotations

import contextlib
import http.client
import inspect
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from minadv import __main__ as command_line
from minadv import attacks, data, models
from minadv.explore import attack as attack_module
from minadv.explore.attack import ATTACKS, Watched, form
from minadv.explore.server import Server
from minadv.training import fit

ROOT = Path(__file__).parent.parent
JSON = {"Content-Type": "application/json"}
MOVED = {"forge", "forge, cross-entropy", "jsma"}  # they need a target


def serving(model):
    server = Server(model)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    return server


@pytest.fixture(scope="module")
def sample():
    return data.mnist_sample()


@pytest.fixture(scope="module")
def model(sample):
    model = models.mlp(hidden=32)
    fit(model, sample.x_train[:2000], sample.y_train[:2000], epochs=2, progress=False)
    return model


@pytest.fixture(scope="module")
def server(model):
    server = serving(model)
    yield server
    server.shutdown()
    server.server_close()


class Slow:
    """A model that takes 20 ms, and counts."""

    def __init__(self, model):
        self.model, self.calls = model, 0

    def __call__(self, x):
        self.calls += 1
        time.sleep(0.02)
        return self.model(x)


@pytest.fixture
def slow(model):
    server = serving(Slow(model))
    yield server
    server.stopping.set()
    server.shutdown()
    server.server_close()


def ask(server, body=None, *, path="/attack", method="POST", headers=JSON):
    """(status, headers, what the JSON says or the bytes)."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=20)
    body = json.dumps(body) if isinstance(body, dict) else body
    connection.request(method, path, body, headers)
    response = connection.getresponse()
    content = response.read()
    connection.close()
    if response.headers.get_content_type() == "application/json":
        content = json.loads(content)
    return response.status, response.headers, content


def body(image, attack="fgsm", target=None, **settings):
    return {"attack": attack, "image": image, "target": target, "settings": settings}


@pytest.fixture
def image(sample):
    return sample.x_test[0].ravel().tolist()


def proposals(entry):
    return {setting["name"]: setting["value"] for setting in entry["settings"]}


class TestAttacks:
    def test_every_attack_of_the_package_is_there(self):
        takes_a_model = {
            name
            for name in attacks.__all__
            if name[0].islower() and "x" in inspect.signature(getattr(attacks, name)).parameters
        } - {"estimate_gradient", "saliency_map"}
        assert takes_a_model == {name.partition(",")[0] for name in ATTACKS}

    @pytest.mark.parametrize("entry", form(), ids=lambda entry: entry["name"])
    def test_each_answers_inside_its_bound(self, server, image, entry):
        target = 3 if entry["name"] in MOVED else None
        settings = proposals(entry)
        status, _, got = ask(server, body(image, entry["name"], target, **settings))
        assert status == 200, got
        x, x_adv = np.float32(image), np.float32(got["image"])
        assert x_adv.tolist() == got["image"]  # nothing is lost on the way
        assert x_adv.min() >= 0
        assert x_adv.max() <= 1
        change = x_adv.astype(float) - x.astype(float)
        assert got["change"] == change.tolist()
        assert got["linf"] == abs(change).max() > 0
        assert got["l0"] == (change != 0).sum()
        if "eps" in settings:
            eps = Fraction(float(np.float32(settings["eps"])))
            largest = max(
                abs(Fraction(b) - Fraction(float(a))) for a, b in zip(x, got["image"], strict=True)
            )
            assert largest <= max(eps, Fraction(settings["eps"]))
        for probabilities in (got["before"], got["after"]):
            assert sum(probabilities) == pytest.approx(1, abs=1e-5)
        label, now = np.argmax(got["before"]), np.argmax(got["after"])
        assert got["success"] == (now == 3 if target else now != label)

    def test_settings_arrive(self, server, image):
        for eps, expected in (("26/260", 0.1), (0.25, 0.25), (" 0.5 ", 0.5)):
            _, _, got = ask(server, body(image, eps=eps))
            assert got["linf"] == pytest.approx(expected, abs=1e-7)
        _, _, got = ask(server, body(image, "iterative_fgsm", eps="0.1", steps="7"))
        assert got["steps"] == 7
        _, _, got = ask(server, body(image, "pgd", eps=1, norm="l2", random_start=False))
        assert 0 < got["l2"] <= 1
        _, _, got = ask(server, body(image, "pgd", eps=0.2, alpha=""))  # the default
        assert got["linf"] > 0.1

    def test_a_target_is_aimed_at(self, server, image):
        _, _, got = ask(server, body(image, target=4, eps="0.3"))
        assert got["after"][4] > got["before"][4]
        assert got["success"] == (np.argmax(got["after"]) == 4)

    def test_each_choice_is_one_of_the_librarys(self, server, image):
        for entry in form():
            for setting in entry["settings"]:
                for choice in setting.get("choices", ()):
                    given = proposals(entry) | {setting["name"]: choice}
                    target = 3 if entry["name"] in MOVED else None
                    status, _, got = ask(server, body(image, entry["name"], target, **given))
                    assert status == 200, got
                if setting["kind"] == "str":
                    assert setting["value"] in setting["choices"]

    def test_warnings_are_told(self, model, image):
        flat = serving(lambda x: np.ones((len(x), 1), np.float32) * np.arange(10, dtype="float32"))
        try:
            status, _, got = ask(flat, body(image, eps=0.1))
        finally:
            flat.shutdown()
            flat.server_close()
        assert status == 200, got
        assert "the gradient is exactly zero for 1 of 1 images" in got["warnings"][0]


class TestErrors:
    @pytest.mark.parametrize(
        ("named", "change"),
        [
            ("attack must be one of fgsm", {"attack": "fgms"}),
            ("attack must be one of fgsm", {"attack": ["fgsm"]}),
            ("784 numbers, got 3", {"image": [0, 0, 0]}),
            ("784 numbers, got str", {"image": "0"}),
            ("numbers only", {"image": ["0"] * 784}),
            ("x must lie inside bounds", {"image": [2] * 784}),
            ("x must not contain NaN", {"image": [float("nan")] * 784}),
            ("x must lie inside bounds", {"image": [1e300] * 784}),
            ("too large", {"image": [10**400] + [0] * 783}),
            ("eps must be >= 0, got -0.1", {"settings": {"eps": "-0.1"}}),
            ("eps must be a number such as", {"settings": {"eps": "much"}}),
            ("eps must be a number such as", {"settings": {"eps": "nan"}}),
            ("eps must be a number such as", {"settings": {"eps": "1e999999999"}}),
            ("eps must be a number", {"settings": {"eps": [1]}}),
            ("missing 1 required keyword-only argument: 'eps'", {"settings": {}}),
            ("settings must be among eps", {"settings": {"steps": 3}}),
            ("settings must be among eps", {"settings": [1]}),
            ("target must lie in 0..9", {"target": 10}),
            ("target must be integers", {"target": "six"}),
            ("target must be a class", {"attack": "jsma", "settings": {}}),
            ("target must be none", {"attack": "deepfool", "target": 3, "settings": {}}),
            ("norm must be", {"attack": "pgd", "settings": {"eps": 1, "norm": "l7"}}),
            ("steps must be a whole", {"attack": "pgd", "settings": {"eps": 1, "steps": 1.5}}),
            ("steps must be <= 10000", {"attack": "pgd", "settings": {"eps": 1, "steps": 10**9}}),
            ("early_stop must be true", {"attack": "pgd", "settings": {"early_stop": "no"}}),
            (
                "population must be <= 2000",
                {"attack": "one_pixel", "settings": {"population": 100_000}},
            ),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    def test_bad_requests_come_back_as_one_line(self, server, image, named, change):
        status, _, got = ask(server, body(image, eps="0.1") | change)
        assert status == 400
        assert named in got["error"]
        assert "\n" not in got["error"]

    def test_progress_is_not_a_setting_here(self, server, image):
        status, _, _ = ask(server, body(image, "one_pixel", progress=True))
        assert status == 400


class TestWhoIsAnswered:
    def test_the_page_and_its_files(self, server):
        for path, kind in {
            "/": "text/html",
            "/page.css": "text/css",
            "/page.js": "text/javascript",
            "/setup.json": "application/json",
        }.items():
            status, headers, content = ask(server, path=path, method="GET", headers={})
            assert (status, headers.get_content_type()) == (200, kind)
            assert len(content)
            assert "default-src 'none'" in headers["Content-Security-Policy"]
            assert "unsafe" not in headers["Content-Security-Policy"]
            assert headers["X-Content-Type-Options"] == "nosniff"
        assert ask(server, path="/attack", method="GET", headers={})[0] == 404
        assert ask(server, path="/../attack.py", method="GET", headers={})[0] == 404

    def test_it_listens_on_loopback_only(self, server):
        assert server.socket.getsockname()[0] == "127.0.0.1"

    @pytest.mark.parametrize("method", ["GET", "POST"])
    @pytest.mark.parametrize(
        "foreign",
        [
            {"Host": "evil.example"},
            {"Host": "evil.example:{port}"},
            {"Host": "127.0.0.1.evil.example:{port}"},
            {"Host": "127.0.0.1"},
            {"Host": ""},
            {"Origin": "http://evil.example"},
            {"Origin": "null"},
            {"Origin": "https://127.0.0.1:{port}"},
            {"Origin": "http://127.0.0.1:1"},
            {"Origin": "http://localhost:{port}"},  # of the other name
        ],
        ids=str,
    )
    def test_foreign_hosts_and_origins_are_refused(self, server, image, method, foreign):
        foreign = {k: v.format(port=server.server_port) for k, v in foreign.items()}
        path = "/setup.json" if method == "GET" else "/attack"
        given = body(image, eps=0.1) if method == "POST" else None
        status, headers, got = ask(server, given, path=path, method=method, headers=JSON | foreign)
        assert status == 403
        assert set(got) == {"error"}
        assert "Access-Control-Allow-Origin" not in headers

    def test_its_own_origin_and_localhost_are_answered(self, server, image):
        for host in ("127.0.0.1", "localhost"):
            host = f"{host}:{server.server_port}"
            own = {"Host": host, "Origin": f"http://{host}"}
            assert ask(server, body(image, eps=0.1), headers=JSON | own)[0] == 200

    @pytest.mark.parametrize("kind", ["text/plain", "", "application/x-www-form-urlencoded"])
    def test_what_a_form_can_send_is_refused(self, server, image, kind):
        status, _, got = ask(server, body(image, eps=0.1), headers={"Content-Type": kind})
        assert (status, "application/json" in got["error"]) == (415, True)

    def test_no_other_method_is_answered(self, server):
        for method in ("OPTIONS", "PUT", "DELETE"):
            assert ask(server, "{}", method=method)[0] == 501


class TestLimits:
    def test_bad_json(self, server):
        for text in ("{", "", "[" * 50_000, "[1]", "null", '{"attack": "\ud800"}', "\x00"):
            status, _, got = ask(server, text.encode("utf-8", "surrogatepass"))
            assert status == 400, text[:10]
            assert got["error"]

    def test_a_large_body_is_refused_before_it_is_read(self, server):
        for length in (server.most_bytes + 1, 10**30):
            with socket.create_connection(server.server_address, timeout=5) as client:
                client.sendall(head(server, length))
                assert client.recv(100).startswith(b"HTTP/1.1 413")

    def test_a_body_without_a_length_is_refused(self, server):
        for line in ("Content-Length: -1", "Content-Length: ten", "Transfer-Encoding: chunked"):
            with socket.create_connection(server.server_address, timeout=5) as client:
                text = head(server, 0).decode().replace("Content-Length: 0", line)
                client.sendall(text.encode())
                assert client.recv(100).startswith(b"HTTP/1.1 411")

    def test_a_body_that_does_not_come_is_not_waited_for(self, slow):
        slow.seconds = 0.3
        with socket.create_connection(slow.server_address, timeout=5) as client:

            def drip():  # the whole has a limit, not each part
                with contextlib.suppress(OSError):
                    while True:
                        client.sendall(b" ")
                        time.sleep(0.05)

            client.sendall(head(slow, 1000))
            threading.Thread(target=drip, daemon=True).start()
            assert client.recv(100).startswith(b"HTTP/1.1 408")

    def test_a_fault_is_told_and_printed(self, image, capfd):
        def faulty(x):
            raise KeyError("a fault")

        server = serving(faulty)
        status, _, got = ask(server, body(image, eps=0.1))
        server.shutdown()
        server.server_close()
        assert (status, got) == (500, {"error": "KeyError: 'a fault'"})
        assert "a fault" in capfd.readouterr().err

    def test_an_attack_has_its_time(self, slow, image):
        slow.seconds = 0.3
        status, _, got = ask(slow, body(image, "iterative_fgsm", eps=0.1, steps=10_000))
        assert status == 503
        assert "more than 0.3 s" in got["error"]
        assert slow.model.calls < 100
        assert ask(slow, body(image, eps=0.1))[0] == 200  # and the next is answered

    def test_a_second_attack_waits_for_the_first(self, slow, image):
        long = threading.Thread(
            target=ask, args=(slow, body(image, "iterative_fgsm", eps=0.1, steps=20))
        )
        long.start()
        until(lambda: slow.model.calls > 2)
        assert ask(slow, body(image, eps=0.1))[0] == 200
        assert slow.model.calls > 20
        long.join()


class TestHangingUp:
    @pytest.mark.parametrize("name", ["iterative_fgsm", "one_pixel", "forge"])
    def test_a_client_that_goes_away_ends_its_attack(self, slow, image, name, capfd):
        settings = {"iterative_fgsm": {"eps": 0.1, "steps": 10_000}}.get(name, {})
        settings = settings or {"one_pixel": {"pixels": 1, "population": 4}}.get(name, {})
        text = json.dumps(body(image, name, 3 if name == "forge" else None, **settings)).encode()
        with socket.create_connection(slow.server_address, timeout=5) as client:
            client.sendall(head(slow, len(text)) + text)
            until(lambda: slow.model.calls > 3)
        until(lambda: not slow.turn.locked())
        calls = slow.model.calls
        assert calls < 100
        time.sleep(0.1)
        assert slow.model.calls == calls
        assert capfd.readouterr().err == ""  # it is no error

    def test_one_that_waits_for_its_turn_leaves_the_line(self, slow, image):
        text = json.dumps(body(image, eps=0.1)).encode()
        with slow.turn:
            with socket.create_connection(slow.server_address, timeout=5) as client:
                client.sendall(head(slow, len(text)) + text)
                time.sleep(0.2)
            time.sleep(0.3)
        time.sleep(0.2)
        assert slow.model.calls == 0

    def test_a_watched_model_is_as_thread_safe_as_the_model(self, model):
        assert Watched(model, lambda: None).thread_safe
        assert not Watched(lambda x: x, lambda: None).thread_safe


def head(server, length):
    return (
        f"POST /attack HTTP/1.1\r\nHost: 127.0.0.1:{server.server_port}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    ).encode()


def until(true, seconds=10):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "in vain"
        time.sleep(0.01)


class TestCommand:
    @pytest.fixture
    def program(self):
        code = (
            "import signal, sys; from minadv import __main__ as m, models;"
            "signal.signal(signal.SIGINT, signal.default_int_handler);"  # a shell may ignore it
            "m.MODELS['mlp'] = (models.mlp, {'batch_size': 500, 'epochs': 1});"
            "sys.exit(m.main(['explore', '--model', 'mlp', '--port', '0']))"
        )
        process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", code],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        yield process
        process.kill()
        process.wait()

    def test_ctrl_c_stops_it_also_during_an_attack(self, program, image):
        line = program.stdout.readline()
        assert line.startswith("Open http://127.0.0.1:")
        port = int(line.split(":")[2].partition("/")[0])
        text = json.dumps(body(image, "one_pixel", generations=10_000)).encode()
        with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
            request = head(type("S", (), {"server_port": port}), len(text)) + text
            client.sendall(request)
            time.sleep(0.3)
            program.send_signal(signal.SIGINT)
            out, err = program.communicate(timeout=10)
        assert program.returncode == 0
        assert out == ""
        assert err.splitlines() == [
            "Training the mlp on the sample of MNIST ...",
            "",
            "python -m minadv explore: stopped",
        ]

    def test_a_port_that_is_taken_is_one_line(self, server, capsys, monkeypatch, model):
        monkeypatch.setattr(command_line, "trained", lambda name: (model, (28, 28, 1)))
        with pytest.raises(SystemExit) as stop:
            command_line.main(["explore", "--port", str(server.server_port)])
        assert stop.value.code == 2
        assert "python -m minadv explore: error: " in capsys.readouterr().err

    @pytest.mark.parametrize("port", ["-1", "65536", "http"])
    def test_a_bad_port_is_one_line(self, capsys, port):
        with pytest.raises(SystemExit) as stop:
            command_line.main(["explore", "--port", port])
        assert stop.value.code == 2
        assert "invalid port value" in capsys.readouterr().err


def test_no_file_of_the_page_names_another_host():
    for name in ("page.html", "page.css", "page.js"):
        text = (Path(attack_module.__file__).parent / name).read_text()
        assert not re.search(r"https?:|[\"'(]//", text)
        assert "innerHTML" not in text
