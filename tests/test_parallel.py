"""Chunks on all cores: as without, in order, whatever fails, nests or runs beside it."""

import math
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import weakref
from pathlib import Path

import numpy as np
import pytest
import threadpoolctl
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_info, threadpool_limits

from minadv import helpers, machine, parallel
from minadv.autograd import grad
from minadv.layers import Dense, Flatten, Layer, ReLU, Sequential
from minadv.models import cnn
from minadv.parallel import (
    chunk_size,
    map_chunks,
    on_one_core,
    one_blas_thread,
    run_chunks,
)


@pytest.fixture(params=[1, 2, 3])
def cores(request, monkeypatch):
    """As many threads as are asked for, whatever the machine has."""
    use(monkeypatch, request.param)
    return request.param


@pytest.fixture
def three_cores(monkeypatch):
    use(monkeypatch, 3)


ROOT = Path(__file__).parent.parent


def use(monkeypatch, count):
    monkeypatch.setattr(parallel, "_cores", lambda: count)


def blas_threads():
    """Of NumPy's BLAS; other tests may have loaded further ones since."""
    return [get(library) for library, get, _ in (*machine._SHARED, *machine._OWN)]


class TestRunChunks:
    @given(st.integers(0, 40), st.integers(1, 50))
    @settings(max_examples=40)
    def test_consecutive_parts_in_order(self, cores, count, chunk):
        x, y = np.arange(count), np.arange(count) * 10
        parts = run_chunks(lambda x, y: (x.tolist(), y.tolist()), x, y, chunk=chunk)
        assert [v for xs, _ in parts for v in xs] == x.tolist()
        assert [v for _, ys in parts for v in ys] == y.tolist()
        assert [len(xs) for xs, _ in parts[:-1]] == [chunk] * (len(parts) - 1)
        assert len(parts) == max(1, -(-count // chunk))

    def test_order_is_that_of_the_parts_not_of_who_is_first(self, cores):
        def slow_first(x):
            time.sleep(0.02 if x[0] == 0 else 0)
            return int(x[0])

        assert run_chunks(slow_first, np.arange(8), chunk=1) == list(range(8))

    def test_an_empty_batch_is_one_empty_part(self, cores):
        assert run_chunks(lambda x: x.shape, np.ones((0, 3)), chunk=4) == [(0, 3)]

    def test_more_cores_than_parts_and_more_parts_than_cores(self, cores):
        for count in (2, 50):
            assert run_chunks(lambda x: int(x[0]), np.arange(count), chunk=1) == list(range(count))

    def test_lengths_must_agree(self, cores):
        with pytest.raises(ValueError, match=r"same length, got \[3, 2\]"):
            run_chunks(lambda x, y: x, np.ones(3), np.ones(2), chunk=1)

    @pytest.mark.parametrize("failing", [0, 5, 9])
    def test_exceptions_come_through_and_leave_nothing_behind(self, cores, failing):
        before = blas_threads()

        def fail(x):
            if x[0] == failing:
                raise ZeroDivisionError(f"in part {failing}")
            return x

        with pytest.raises(ZeroDivisionError, match=f"in part {failing}"):
            run_chunks(fail, np.arange(10), chunk=1)
        assert blas_threads() == before
        assert not machine._holders
        assert run_chunks(lambda x: int(x[0]), np.arange(10), chunk=1) == list(range(10))

    def test_the_first_failing_part_is_the_one_reported(self, cores):
        def fail(x):
            time.sleep(0.02 if x[0] == 2 else 0)
            if x[0] >= 2:
                raise ValueError(f"part {x[0]}")

        with pytest.raises(ValueError, match="part 2"):
            run_chunks(fail, np.arange(6), chunk=1)

    def test_it_uses_the_cores_that_there_are(self, cores):
        together = threading.Barrier(cores)  # passed only if so many parts run at the same time

        def work(x):
            together.wait(timeout=20)
            return threading.get_ident()

        assert len(set(run_chunks(work, np.arange(cores), chunk=1))) == cores

    @pytest.mark.usefixtures("three_cores")
    def test_inside_a_chunk_further_calls_run_where_they_are(self):
        def outer(x):
            here = threading.get_ident()
            inner = run_chunks(lambda _: threading.get_ident(), np.arange(5), chunk=1)
            return set(inner) == {here}

        assert run_chunks(outer, np.arange(20), chunk=1) == [True] * 20

    @pytest.mark.usefixtures("three_cores")
    def test_on_a_on_one_core_until_the_block_ends(self):
        def work(x):
            time.sleep(0.01)
            return threading.get_ident()

        before = blas_threads()
        with on_one_core():
            assert set(run_chunks(work, np.arange(6), chunk=1)) == {threading.get_ident()}
            assert set(blas_threads()) == {1}
        assert blas_threads() == before
        assert len(set(run_chunks(work, np.arange(6), chunk=1))) > 1

    @pytest.mark.usefixtures("three_cores")
    def test_calls_from_several_threads_at_once(self):
        found = [None] * 6

        def work(i):
            found[i] = [
                map_chunks(lambda x: x * x, np.arange(50) + i, chunk=3).tolist() for _ in range(5)
            ]

        threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == [[[(v + i) ** 2 for v in range(50)]] * 5 for i in range(6)]
        assert not machine._holders

    @pytest.mark.parametrize("xp", ["strict", "cupy"], indirect=True)
    @pytest.mark.usefixtures("three_cores")
    def test_a_gpu_is_asked_from_one_thread_only(self, xp):
        here = threading.get_ident()
        assert (
            run_chunks(lambda x: threading.get_ident() == here, xp.arange(6), chunk=2) == [True] * 3
        )


class TestMapChunks:
    @given(st.integers(0, 20), st.integers(1, 25))
    @settings(max_examples=40)
    def test_one_array_or_several(self, cores, count, chunk):
        x, y = np.random.default_rng(0).normal(size=(2, count, 3))
        np.testing.assert_array_equal(map_chunks(lambda x, y: x * y, x, y, chunk=chunk), x * y)
        total, product = map_chunks(lambda x, y: (x.sum(axis=1), x * y), x, y, chunk=chunk)
        np.testing.assert_array_equal(total, x.sum(axis=1))
        np.testing.assert_array_equal(product, x * y)

    def test_on_every_backend(self, xp, cores):
        x = xp.asarray(np.arange(10.0))
        double, square = map_chunks(lambda x: (2 * x, x * x), x, chunk=3)
        assert isinstance(double, xp.ndarray)
        assert [float(v) for v in square] == [v * v for v in range(10)]
        assert map_chunks(lambda x: x + 1, x[:0], chunk=3).shape == (0,)

    def test_results_do_not_depend_on_the_cores(self, monkeypatch):
        model = cnn((12, 12, 1))
        x = np.random.default_rng(0).random((70, 12, 12, 1)).astype(np.float32)
        found = []
        for count in (1, 2, 3, 5):
            use(monkeypatch, count)
            logits = map_chunks(model, x, chunk=16)
            gradient = map_chunks(
                lambda x: grad(lambda x: model(x).max(axis=1).sum(), x), x, chunk=16
            )
            found.append((logits.tobytes(), gradient.tobytes()))
        assert len(set(found)) == 1


class TestChunkSize:
    x = np.zeros((5, 8, 8, 1), np.float32)

    class Known:
        def __init__(self, size):
            self.size = size

        def activation_bytes(self, shape, dtype):
            assert shape == (8, 8, 1)
            assert dtype == np.float32
            return self.size

    @pytest.mark.parametrize("size", [1, 2**12, 2**14, 2**16 + 1, 2**18, parallel.CHUNK_BYTES])
    def test_a_power_of_two_that_fits_the_cache_within_limits(self, size):
        chunk = chunk_size(self.Known(size), self.x)
        assert parallel.LEAST <= chunk <= parallel.MOST
        assert chunk & (chunk - 1) == 0
        assert chunk * size <= parallel.CHUNK_BYTES or chunk == parallel.LEAST
        assert 2 * chunk * size > parallel.CHUNK_BYTES or chunk == parallel.MOST

    def test_an_example_that_does_not_fit_is_a_chunk(self):
        assert chunk_size(self.Known(parallel.CHUNK_BYTES + 1), self.x) == 1
        assert chunk_size(self.Known(2**40), self.x) == 1
        large = np.broadcast_to(np.float32(0), (5, 512, 512, 3))
        assert chunk_size(len, large) == parallel.LEAST  # only guessed

    def test_it_depends_on_model_and_example_alone(self, monkeypatch):
        model = Sequential(Flatten(), Dense(64, 100), ReLU())
        sizes = set()
        for count in (1, 4):
            use(monkeypatch, count)
            sizes |= {chunk_size(model, self.x[:n]) for n in (0, 1, 5)}
        assert len(sizes) == 1

    def test_models_of_unknown_make(self):
        for model in (lambda x: x, Layer(), len):
            assert parallel.LEAST <= chunk_size(model, self.x) <= parallel.MOST
            assert parallel.LEAST <= chunk_size(model, self.x[:0]) <= parallel.MOST

    def test_a_gpu_takes_more(self, xp):
        chunk = chunk_size(self.Known(2**16), xp.asarray(self.x))
        assert chunk == (parallel.CHUNK_BYTES // 2**16 if xp is np else parallel.GPU_CHUNK)


@pytest.mark.skipif(not blas_threads(), reason="no BLAS whose threads can be seen")
class TestBlasThreads:
    def test_one_inside_and_as_before_outside(self, monkeypatch):
        before = blas_threads()
        with one_blas_thread():
            assert set(blas_threads()) == {1}
            with one_blas_thread():
                assert set(blas_threads()) == {1}
            assert set(blas_threads()) == {1}  # the inner one does not lift the limit
        assert blas_threads() == before

    def test_lifted_after_an_exception(self):
        before = blas_threads()
        with pytest.raises(ZeroDivisionError), one_blas_thread():
            raise ZeroDivisionError
        assert blas_threads() == before
        assert not machine._holders

    @pytest.mark.parametrize("order", [(0, 1), (1, 0)])
    def test_the_last_to_leave_lifts_it_in_whatever_order_they_go(self, order):
        before = blas_threads()
        with one_blas_thread():  # as when the main thread has trained before
            pass
        entered, leave, left = ([threading.Event() for _ in range(2)] for _ in range(3))
        end = threading.Event()

        def user(i):
            with one_blas_thread():
                entered[i].set()
                leave[i].wait(20)
            left[i].set()
            end.wait(20)

        threads = [threading.Thread(target=user, args=(i,)) for i in range(2)]
        seen = []
        for i in range(2):
            threads[i].start()
            assert entered[i].wait(20)
            seen.append(set(blas_threads()))
        for i in order:
            leave[i].set()
            assert left[i].wait(20)
            seen.append(set(blas_threads()))
        end.set()
        for thread in threads:
            thread.join()
        assert seen == [{1}, {1}, {1}, set(before)]

    @pytest.mark.usefixtures("three_cores")
    def test_inside_chunks_and_inside_chunks_of_chunks(self):
        before = blas_threads()

        def inner(x):
            return np.array([max(blas_threads())])

        def outer(x):
            return np.array([max(blas_threads()), *run_chunks(inner, np.arange(3), chunk=1)[0]])[
                None
            ]

        assert (map_chunks(outer, np.arange(9), chunk=1) == 1).all()
        assert blas_threads() == before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_after_a_fork_the_child_computes_as_well(three_cores):
    x = np.arange(12.0)
    expected = map_chunks(lambda x: x * x, x, chunk=2)  # the pool has its threads; a child does not
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = 0 if (map_chunks(lambda x: x * x, x, chunk=2) == expected).all() else 2
        finally:
            os._exit(code)
    deadline = time.monotonic() + 30
    while (done := os.waitpid(child, os.WNOHANG))[0] == 0 and time.monotonic() < deadline:
        time.sleep(0.01)
    if done[0] == 0:
        os.kill(child, 9)
        os.waitpid(child, 0)
    assert done[0] == child, "the child waits for threads that it does not have"
    assert os.waitstatus_to_exitcode(done[1]) == 0


@pytest.mark.usefixtures("three_cores")
def test_an_errstate_of_the_caller_holds_in_the_chunks():
    with np.errstate(over="ignore"):
        found = map_chunks(lambda x: np.exp(x), np.full(10, 1000.0), chunk=1)
    assert (found == np.inf).all()


# --- threads and their ends


def first(x):
    return int(x[0])


def in_child(f, seconds=30):
    """The exit code of ``f`` in a forked child; None if the child hangs."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = f() or 0
        finally:
            os._exit(code)
    deadline = time.monotonic() + seconds
    while (done := os.waitpid(child, os.WNOHANG))[0] == 0 and time.monotonic() < deadline:
        time.sleep(0.01)
    if done[0] == 0:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return None
    return os.waitstatus_to_exitcode(done[1])


def script(text, seconds=60):
    """What a program of its own prints. A program that hangs fails."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(text)],
        capture_output=True,
        text=True,
        timeout=seconds,
        cwd=ROOT,
    )
    assert done.stderr == ""
    assert done.returncode == 0
    return done.stdout.split()


@pytest.mark.usefixtures("three_cores")
def test_a_model_that_asks_others_in_threads_of_its_own_is_no_deadlock():
    def inner(x):
        time.sleep(0.001)
        return x * x

    def outer(x):
        found = []
        thread = threading.Thread(
            target=lambda: found.append(run_chunks(inner, np.arange(6.0), chunk=1))
        )
        thread.start()
        thread.join(20)
        assert not thread.is_alive()
        return len(found[0])

    assert run_chunks(outer, np.arange(12), chunk=1) == [6] * 12


@pytest.mark.usefixtures("three_cores")
def test_helpers_that_never_come_are_not_waited_for():
    release, taken = threading.Event(), threading.Semaphore(0)

    def block(x):
        taken.release()
        release.wait(30)
        return x

    stuck = threading.Thread(target=run_chunks, args=(block, np.arange(3)), kwargs={"chunk": 1})
    stuck.start()
    try:
        for _ in range(3):
            assert taken.acquire(timeout=20)
        start = time.monotonic()
        for _ in range(50):
            assert run_chunks(first, np.arange(5), chunk=1) == list(range(5))
        assert time.monotonic() - start < 20
        assert helpers._jobs.qsize() < 20  # calls for help do not pile up
    finally:
        release.set()
        stuck.join()


@pytest.mark.usefixtures("three_cores")
def test_a_part_that_ends_the_thread_is_reported_and_the_helper_lives():
    caller = threading.get_ident()
    both = threading.Barrier(2)

    def leave(x):
        if x[0] < 2:
            both.wait(20)
        if threading.get_ident() != caller:
            raise SystemExit(3)
        time.sleep(0.01)

    with pytest.raises(SystemExit):
        run_chunks(leave, np.arange(8), chunk=1)
    assert run_chunks(first, np.arange(5), chunk=1) == list(range(5))


@pytest.mark.usefixtures("three_cores")
def test_after_an_interrupt_nothing_runs_on():
    ran = []

    def work(x):
        ran.append(int(x[0]))
        if threading.get_ident() == caller:
            raise KeyboardInterrupt
        time.sleep(0.02)

    caller = threading.get_ident()
    with pytest.raises(KeyboardInterrupt):
        run_chunks(work, np.arange(50), chunk=1)
    before = list(ran)
    time.sleep(0.1)
    assert ran == before
    assert len(ran) < 10
    assert not machine._holders


@pytest.mark.usefixtures("three_cores")
def test_an_idle_helper_keeps_no_array_alive():
    x = np.zeros(10)
    alive = weakref.ref(x)
    run_chunks(lambda part: part.sum(), x, chunk=1)
    del x
    deadline = time.monotonic() + 10
    while alive() is not None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert alive() is None


@pytest.mark.usefixtures("three_cores")
def test_no_thread_to_be_had_is_no_error(monkeypatch):
    """As at the interpreter's end, from Python 3.12 on."""

    def refuse(self):
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(helpers, "_helpers", [])
    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert run_chunks(first, np.arange(5), chunk=1) == list(range(5))


def test_threads_that_outlive_the_main_thread_and_exit_handlers():
    told = script("""
        import atexit, threading, time
        import numpy as np
        from minadv import parallel
        parallel._cores = lambda: 3
        def work(name):
            print(name, sum(parallel.run_chunks(lambda x: int(x[0]), np.arange(40), chunk=1)))
        atexit.register(work, "exit")
        threading.Thread(target=lambda: (time.sleep(0.3), work("thread"))).start()
        work("main")
    """)
    assert told == ["main", "780", "thread", "780", "exit", "780"]


def test_exit_handlers_alone():
    told = script("""
        import atexit
        import numpy as np
        from minadv import parallel
        parallel._cores = lambda: 3
        atexit.register(
            lambda: print(sum(parallel.run_chunks(lambda x: int(x[0]), np.arange(9), chunk=1)))
        )
    """)
    assert told == ["36"]


fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
quiet_fork = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")


@fork
@quiet_fork
@pytest.mark.usefixtures("three_cores")
def test_a_fork_while_another_thread_computes():
    """At twenty moments; the child computes, and finds BLAS as it was before."""
    model = Sequential(Flatten(), Dense(16, 8), ReLU(), Dense(8, 3))
    x = np.random.default_rng(0).random((64, 16)).astype(np.float32)
    expected, before = map_chunks(model, x, chunk=8), blas_threads()
    stop = threading.Event()

    def attack():
        while not stop.is_set():
            map_chunks(model, x, chunk=8)

    def child():
        good = (map_chunks(model, x, chunk=8) == expected).all() and blas_threads() == before
        return 0 if good and not machine._holders else 2

    threads = [threading.Thread(target=attack) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        assert [in_child(child) for _ in range(20)] == [0] * 20
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert blas_threads() == before


@fork
@quiet_fork
@pytest.mark.usefixtures("three_cores")
def test_a_child_has_helpers_of_its_own():
    run_chunks(first, np.arange(5), chunk=1)

    def child():
        together = threading.Barrier(3)
        run_chunks(lambda x: together.wait(20), np.arange(3), chunk=1)

    assert in_child(child) == 0


@fork
@quiet_fork
@pytest.mark.usefixtures("three_cores")
def test_a_fork_while_another_thread_holds_the_lock():
    held, release = threading.Event(), threading.Event()

    def hold():
        with machine._lock, one_blas_thread():
            held.set()
            release.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        assert held.wait(20)
        assert in_child(lambda: run_chunks(first, np.arange(5), chunk=1) != list(range(5))) == 0
    finally:
        release.set()
        thread.join()


@fork
@quiet_fork
@pytest.mark.usefixtures("three_cores")
def test_a_model_that_forks_may_go_on_in_the_child():
    """The parts that the helpers had are computed again, for the child has no helpers."""
    caller, parent, pids = threading.get_ident(), os.getpid(), []
    both = threading.Barrier(3)

    def work(x):
        if x[0] < 3 and os.getpid() == parent:
            both.wait(20)
            if threading.get_ident() == caller:
                pids.append(os.fork())
            else:
                time.sleep(0.2)
        return int(x[0])

    results = run_chunks(work, np.arange(9), chunk=1)
    if os.getpid() != parent:
        os._exit(0 if results == list(range(9)) and not machine._holders else 2)
    assert results == list(range(9))
    deadline = time.monotonic() + 30
    while (done := os.waitpid(pids[0], os.WNOHANG))[0] == 0 and time.monotonic() < deadline:
        time.sleep(0.01)
    if done[0] == 0:
        os.kill(pids[0], signal.SIGKILL)
        os.waitpid(pids[0], 0)
    assert done[0] == pids[0], "the child waits for helpers that it does not have"
    assert os.waitstatus_to_exitcode(done[1]) == 0


@pytest.mark.skipif(not blas_threads(), reason="no BLAS whose threads can be seen")
class TestLimitsOfOthers:
    """``threadpool_limits`` of another library ends as it would alone, in whatever order."""

    @pytest.fixture(autouse=True)
    def _four_before_and_as_it_was_after(self):
        with threadpool_limits(4, user_api="blas"):
            before = blas_threads()
            yield
            threadpoolctl.OpenBLASController.clear_controlling_thread(force=True)
            assert blas_threads() == before
        threadpoolctl.OpenBLASController.clear_controlling_thread(force=True)

    @pytest.mark.parametrize("order", ["outside", "inside", "before", "across"])
    @pytest.mark.parametrize("limit", [1, 2, 3])
    def test_in_one_thread(self, order, limit):
        ours, theirs = one_blas_thread(), None
        if order in ("inside", "across"):
            ours.__enter__()
            theirs = threadpool_limits(limit, user_api="blas")
        else:
            theirs = threadpool_limits(limit, user_api="blas")
            ours.__enter__()
        assert set(blas_threads()) == {1}
        if order in ("before", "inside"):
            theirs.restore_original_limits()
            assert set(blas_threads()) == {1}
            ours.__exit__()
        else:
            ours.__exit__()
            assert set(blas_threads()) == {limit}
            theirs.restore_original_limits()
        assert set(blas_threads()) == {4}

    def test_a_limit_set_for_good_while_it_is_held_holds_afterwards(self):
        with one_blas_thread():
            threadpool_limits(2, user_api="blas")
        assert set(blas_threads()) == {2}
        threadpool_limits(4, user_api="blas")

    def test_what_others_see_is_what_will_be(self):
        with one_blas_thread():
            assert {p["num_threads"] for p in threadpool_info() if p["user_api"] == "blas"} == {4}

    def test_another_thread_across(self):
        threadpoolctl.OpenBLASController.clear_controlling_thread(force=True)
        started, leave = threading.Event(), threading.Event()

        def other():
            with threadpool_limits(2, user_api="blas"):
                started.set()
                leave.wait(20)

        thread = threading.Thread(target=other)
        with one_blas_thread():
            thread.start()
            assert started.wait(20)
            assert set(blas_threads()) == {1}
        assert set(blas_threads()) == {2}
        leave.set()
        thread.join()
        assert set(blas_threads()) == {4}

    def test_a_limit_that_is_not_left_in_order_is_left_with_its_object(self):
        hold = one_blas_thread()
        hold.__enter__()
        assert set(blas_threads()) == {1}
        del hold
        assert set(blas_threads()) == {4}
        assert not machine._holders


class TestCores:
    def tree(self, root, cgroup, **files):
        (root / "proc/self").mkdir(parents=True)
        (root / "proc/self/cgroup").write_text(cgroup)
        for name, text in files.items():
            path = root / "sys/fs/cgroup" / name.replace("__", "/").replace("_dot_", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return root

    @pytest.mark.parametrize(
        ("own", "parent", "expected"),
        [
            ("150000 100000", "max 100000", 2),
            ("max 100000", "50000 100000", 1),
            ("400000 100000", "300000 100000", 3),
            ("max 100000", "max 100000", math.inf),
            ("", "nonsense", math.inf),
        ],
    )
    def test_version_2_and_the_groups_above(self, tmp_path, own, parent, expected):
        root = self.tree(tmp_path, "0::/a/b\n", a__b__cpu_dot_max=own, a__cpu_dot_max=parent)
        assert machine.cgroup_quota(root) == expected

    @pytest.mark.parametrize("folder", ["cpu", "cpu,cpuacct"])
    @pytest.mark.parametrize(("quota", "expected"), [("250000", 3), ("-1", math.inf)])
    def test_version_1(self, tmp_path, folder, quota, expected):
        group = f"{folder}__a__cpu_dot_"
        files = {group + "cfs_quota_us": quota + "\n", group + "cfs_period_us": "100000\n"}
        root = self.tree(tmp_path, f"3:memory:/x\n2:{folder}:/a\n0::/\n", **files)
        assert machine.cgroup_quota(root) == expected

    def test_a_container_sees_its_group_at_the_mount(self, tmp_path):
        root = self.tree(tmp_path, "0::/docker/0123\n", cpu_dot_max="200000 100000")
        assert machine.cgroup_quota(root) == 2

    def test_no_cgroups_no_limit(self, tmp_path):
        assert machine.cgroup_quota(tmp_path) == math.inf

    def test_the_quota_counts(self, monkeypatch):
        monkeypatch.setattr(machine, "_quota", lambda: 1)
        assert machine.cores() == 1
        monkeypatch.setattr(machine, "_quota", lambda: math.inf)
        assert machine.cores() >= 1


def test_a_function_that_asks_models_is_as_thread_safe_as_they_are():
    model = cnn((8, 8, 1), rng=0)
    x = np.random.default_rng(0).random((40, 8, 8, 1), dtype=np.float32)
    twice = parallel.asking(lambda x: model(x) + model(x), model, model)
    assert parallel.is_thread_safe(twice)
    assert twice.activation_bytes(x.shape[1:], x.dtype) == 2 * model.activation_bytes(
        x.shape[1:], x.dtype
    )
    np.testing.assert_allclose(parallel.in_chunks(twice, twice, x), twice(x), rtol=1e-4, atol=1e-5)
    other = parallel.asking(twice, model, lambda x: x)  # nobody knows what this one does
    assert not parallel.is_thread_safe(other)
    known = model.activation_bytes(x.shape[1:], x.dtype)
    assert other.activation_bytes(x.shape[1:], x.dtype) == known + 32 * x[:1].nbytes
