"""What every test starts from: a known backend, and Hypothesis settings that suit a shared, slow
machine."""

from __future__ import annotations

import os
import sys
import threading

import hypothesis
import pytest

from minadv import backend, helpers, machine
from tests import strict_cupy

os.environ.pop("MINADV_BACKEND", None)  # the user's shell does not choose what is tested

# A test fails for its numbers, not for its time (deadline, too_slow). function_scoped_fixture: `xp`
# and `monkeypatch` are set up once for all examples of a test, which is meant: the backend does not
# change from example to example.
_settings = hypothesis.settings(
    deadline=None,
    print_blob=True,
    suppress_health_check=[
        hypothesis.HealthCheck.too_slow,
        hypothesis.HealthCheck.function_scoped_fixture,
    ],
)
hypothesis.settings.register_profile("minadv", _settings, max_examples=50)
hypothesis.settings.register_profile(
    "ci", _settings, max_examples=50, derandomize=True, database=None
)
hypothesis.settings.register_profile(
    "fast", _settings, max_examples=5
)  # pytest --hypothesis-profile=fast
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "minadv")


@pytest.fixture(autouse=True)
def _switch(monkeypatch):
    """Each test finds the switch untouched, and leaves it so."""
    monkeypatch.setattr(backend, "_current", None)


@pytest.fixture(autouse=True)
def _no_limit_stays():
    """No test leaves its thread, or BLAS, with a limit that slows the tests after it."""
    yield
    busy = getattr(helpers._here, "busy", False)
    helpers._here.busy = False
    assert not busy
    assert threading.get_ident() not in machine._holders.values()


def _device() -> str:
    """What computes on a GPU here, or why nothing does."""
    try:
        cupy = backend.use_backend("cupy")
        return f"CuPy {cupy.__version__}"
    except backend.BackendError as error:
        return f"none ({str(error).partition(':')[0]}): tests on CuPy are left out"
    finally:
        backend._current = None


DEVICE = _device()


def pytest_report_header(config):
    return f"GPU: {DEVICE}"


def pytest_collection_modifyitems(config, items):
    """Leave out what would compute on CuPy where no GPU answers; the header says so, once."""
    if DEVICE.startswith("none"):
        items[:] = [
            item
            for item in items
            if getattr(item, "callspec", None) is None or item.callspec.params.get("xp") != "cupy"
        ]


@pytest.fixture(params=["numpy", "strict", "cupy"])
def xp(request, monkeypatch):
    """The module that computes: NumPy, the strict stand-in for CuPy, and CuPy where a GPU answers.

    ``use_backend`` has been called, so new data and weights are made there; ``xp.asarray(...)``
    makes an array there. Only some of them:
    ``@pytest.mark.parametrize("xp", ["strict", "cupy"], indirect=True)``.
    """
    if request.param == "strict":
        monkeypatch.setitem(sys.modules, "cupy", strict_cupy.cupy)
    return backend.use_backend("numpy" if request.param == "numpy" else "cupy")
