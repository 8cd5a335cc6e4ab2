"""The server of the live page: whom it answers, how much it reads, and how long it computes.

It listens on 127.0.0.1 alone. A page of another site can still send requests here, by a name that
is made to point to 127.0.0.1 (DNS rebinding) or by a form. So a request must name this server as
its host, come from this page or from no page at all, and an attack is asked for in JSON, which
no form can send.

An attack runs in the thread of its request. Its model looks before each answer whether the client
is still there, the time is left and the server is up, and else raises.
"""

from __future__ import annotations

import json
import select
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from typing import Any

from minadv import data
from minadv.backend import to_numpy
from minadv.explore.attack import Watched, attack_once, form
from minadv.images import to_8bit

__all__ = ["Server", "serve"]

HOST = "127.0.0.1"
MOST_BYTES = 64 * 1024  # of a request's body: 784 numbers take 16 of them
SECONDS = 10.0  # for one attack, and for one request to arrive
SAMPLES = 20
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; img-src 'self' data: blob:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Gone(Exception):
    """The client is gone, or the server stops: nobody waits for the answer."""


class Refused(Exception):
    """A request that is answered with ``status`` and one line."""

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status


def serve(model: Callable, *, name: str = "the model", port: int = 0) -> None:
    """Serve the page for ``model`` (28 x 28 x 1 images, ten classes) until Ctrl-C.

    Arguments: ``name``, what the page calls the model; ``port``, by default any that is free.
    Raises :class:`OSError` if the port is taken.
    """
    with Server(model, name=name, port=port) as server:
        print(f"Open {server.address} (Ctrl-C stops it)", flush=True)
        try:
            server.serve_forever(poll_interval=0.1)
        except KeyboardInterrupt:
            print("\npython -m minadv explore: stopped", file=sys.stderr)
        finally:
            server.stopping.set()


class Server(ThreadingHTTPServer):
    """The page, the ``model`` behind it, and its limits: ``seconds`` and ``most_bytes``."""

    daemon_threads = True  # a thread that waits for its client does not hold up the end

    def __init__(self, model: Callable, *, name: str = "the model", port: int = 0):
        super().__init__((HOST, port), Handler)
        self.model, self.seconds, self.most_bytes = model, SECONDS, MOST_BYTES
        self.stopping = threading.Event()
        self.turn = threading.Lock()  # one attack at a time: it may take all cores
        self.hosts = {f"{host}:{self.server_port}" for host in (HOST, "localhost")}
        self.address = f"http://{HOST}:{self.server_port}/"
        sample = data.mnist_sample()
        self.pages = {
            "/": ("text/html", page_file("page.html")),
            "/page.css": ("text/css", page_file("page.css")),
            "/page.js": ("text/javascript", page_file("page.js")),
            "/setup.json": (
                "application/json",
                json.dumps(
                    {
                        "model": name,
                        "attacks": form(),
                        "samples": [
                            {"label": int(label), "pixels": pixels.ravel().tolist()}
                            for label, pixels in zip(
                                sample.y_test[:SAMPLES],
                                to_numpy(to_8bit(sample.x_test[:SAMPLES])),
                                strict=True,
                            )
                        ],
                    }
                ).encode(),
            ),
        }

    def handle_error(self, request, client_address) -> None:
        """A client that hangs up is no error of the server's."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError | Gone):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: Server
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "minadv", ""
    timeout = SECONDS
    disable_nagle_algorithm = True  # else an answer waits 40 ms for the client's acknowledgment

    def do_GET(self) -> None:
        self.answered(self.page)

    def do_POST(self) -> None:
        self.answered(self.attack)

    def answered(self, answer: Callable[[], tuple[str, bytes]]) -> None:
        """Send what ``answer`` gives, or why it refuses."""
        try:
            self.check_sender()
            self.send(200, *answer())
        except Refused as refused:
            self.close_connection = True  # a body may be left unread
            self.send(refused.status, "application/json", in_json({"error": str(refused)}))
        except (Gone, OSError):
            self.close_connection = True
        except Exception as error:  # a fault of this program's: printed here and told there
            traceback.print_exc()
            self.close_connection = True
            self.send(
                500, "application/json", in_json({"error": f"{type(error).__name__}: {error}"})
            )

    def check_sender(self) -> None:
        """Only this page, and programs that name no page, are answered."""
        host, origin = self.headers.get("Host", ""), self.headers.get("Origin")
        if host not in self.server.hosts:
            raise Refused(403, f"Host must be {HOST}:{self.server.server_port}")
        if origin is not None and origin != f"http://{host}":
            raise Refused(403, "Origin must be this page")

    def page(self) -> tuple[str, bytes]:
        try:
            return self.server.pages[self.path]
        except KeyError:
            raise Refused(404, "no such page") from None

    def attack(self) -> tuple[str, bytes]:
        if self.path != "/attack":
            raise Refused(404, "no such page")
        asked = self.asked()
        end = time.monotonic() + self.server.seconds

        def watch():
            if self.server.stopping.is_set() or hung_up(self.connection):
                raise Gone
            if time.monotonic() > end:
                raise Refused(
                    503, f"this took more than {self.server.seconds:g} s: ask for fewer steps"
                )

        while not self.server.turn.acquire(timeout=0.05):
            watch()
        try:
            start = time.perf_counter()
            answer = attack_once(Watched(self.server.model, watch), asked)
            answer["seconds"] = time.perf_counter() - start
        except (ValueError, TypeError, OverflowError) as error:
            raise Refused(400, " ".join(str(error).split())) from None
        except MemoryError:
            raise Refused(503, "not enough memory for this: ask for less") from None
        finally:
            self.server.turn.release()
        return "application/json", in_json(answer)

    def asked(self) -> dict[str, Any]:
        """The JSON object of the body."""
        kind = self.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise Refused(415, "Content-Type must be application/json")
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdecimal()) or "Transfer-Encoding" in self.headers:
            raise Refused(411, "Content-Length must say how long the body is")
        if len(length) > 9 or int(length) > self.server.most_bytes:
            raise Refused(413, f"the body must have at most {self.server.most_bytes} bytes")
        try:
            body = json.loads(self.body(int(length)))
        except (ValueError, RecursionError) as error:
            raise Refused(400, f"the body must be JSON: {error}") from None
        if not isinstance(body, dict):
            raise Refused(400, f"the body must be a JSON object, got {type(body).__name__}")
        return body

    def body(self, length: int) -> bytes:
        """So many bytes, which must arrive in time."""
        end, read = time.monotonic() + self.server.seconds, b""
        while len(read) < length:
            left = end - time.monotonic()
            if left <= 0:
                raise Refused(408, "the body did not arrive in time")
            self.connection.settimeout(left)
            try:
                part = self.rfile.read1(length - len(read))
            except TimeoutError:
                raise Refused(408, "the body did not arrive in time") from None
            if not part:
                raise Gone
            read += part
        self.connection.settimeout(self.timeout)
        return read

    def send(self, status: int, kind: str, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        if self.close_connection:
            self.send_header("Connection", "close")
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_) -> None:
        """Nothing is logged: the page shows what went wrong."""


def hung_up(connection: socket.socket) -> bool:
    """Whether the client has closed the connection; what it sent in the meantime stays there."""
    try:
        ready, _, _ = select.select([connection], [], [], 0)
        return bool(ready) and connection.recv(1, socket.MSG_PEEK) == b""
    except (OSError, ValueError):
        return True


def in_json(content: dict[str, Any]) -> bytes:
    return json.dumps(content).encode()


def page_file(name: str) -> bytes:
    return files("minadv.explore").joinpath(name).read_bytes()
