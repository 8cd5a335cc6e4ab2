"""Chunks on all cores: the same results as without, in order, whatever fails, nests or runs beside it."""

import os
import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minadv import parallel
from minadv.autograd import grad
from minadv.layers import Dense, Flatten, Layer, ReLU, Sequential
from minadv.models import cnn
from minadv.parallel import chunk_size, map_chunks, one_blas_thread, run_chunks


@pytest.fixture(autouse=True)
def _no_thread_outlives_its_test():
    yield
    if parallel._pool.cache_info().currsize:
        parallel._pool().shutdown()
    parallel._pool.cache_clear()


@pytest.fixture(params=[1, 2, 3])
def cores(request, monkeypatch):
    """As many threads as are asked for, whatever the machine has."""
    use(monkeypatch, request.param)
    return request.param


@pytest.fixture
def three_cores(monkeypatch):
    use(monkeypatch, 3)


def use(monkeypatch, count):
    parallel._pool.cache_clear()
    monkeypatch.setattr(parallel, "_cores", lambda: count)


def blas_threads():
    """Of NumPy's BLAS; other tests may have loaded further ones since."""
    return [pool["num_threads"] for pool in parallel._blas().info() if pool["user_api"] == "blas"]


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
        assert parallel._blas_users == 0
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

    def test_inside_a_chunk_further_calls_run_where_they_are(self, three_cores, monkeypatch):
        caller, pool = threading.get_ident(), parallel._pool()

        def pool_of_the_caller():
            assert (
                threading.get_ident() == caller
            )  # else the chunks may wait for each other for ever
            return pool

        def outer(x):
            here = threading.get_ident()
            inner = run_chunks(lambda _: threading.get_ident(), np.arange(5), chunk=1)
            return set(inner) == {here}

        with monkeypatch.context() as patch:
            patch.setattr(parallel, "_pool", pool_of_the_caller)
            assert run_chunks(outer, np.arange(20), chunk=1) == [True] * 20

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
        assert parallel._blas_users == 0

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

    @pytest.mark.parametrize("size", [1, 2**12, 2**14, 2**16 + 1, 2**18, 2**40])
    def test_a_power_of_two_that_fits_the_cache_within_limits(self, size):
        chunk = chunk_size(self.Known(size), self.x)
        assert parallel.LEAST <= chunk <= parallel.MOST
        assert chunk & (chunk - 1) == 0
        assert chunk * size <= parallel.CACHE or chunk == parallel.LEAST
        assert 2 * chunk * size > parallel.CACHE or chunk == parallel.MOST

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
        assert chunk == (parallel.CACHE // 2**16 if xp is np else parallel.GPU_CHUNK)


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
        assert parallel._blas_users == 0

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
        parallel._blas().limit(limits=before[0], user_api="blas")  # whatever came of it
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
