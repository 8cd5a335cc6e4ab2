"""Sweeps: the same table from every executor, after a crash, and when workers are lost."""

from __future__ import annotations

import csv
import io
import json
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
from concurrent.futures import (
    BrokenExecutor,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
)
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from minadv import QueryGradient, deepfool, fgsm, pgd, plotting
from minadv.evaluation import accuracy, parcels, robust_accuracy, sweep, tasks
from minadv.layers import Dense
from minadv.parallel import on_one_core, thread_safe
from tests import sweep_parts
from tests.sweep_parts import ATTACKS, EPSILONS, SEEDS, Around, Exits, Leaves, Raises, Stateful

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def scene():
    return sweep_parts.scene()


@pytest.fixture(autouse=True)
def forget():
    """What other tests left in this process's memory."""
    parcels._memory.clear()
    tasks._models.clear()
    yield
    assert not parcels.running


def table(scene, *, networks=None, attacks=ATTACKS, **settings):
    models, x, y = scene
    return sweep(networks or models, attacks, x, y, epsilons=EPSILONS, seeds=SEEDS, **settings)


@pytest.fixture(scope="module")
def alone(scene) -> str:
    return table(scene).csv()


def quick_processes(count: int) -> Executor:
    """Processes that start fast, as they are forked by one that has imported everything."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["minadv.evaluation", "tests.sweep_parts"])
    return ProcessPoolExecutor(count, mp_context=context)


class TestRows:
    def test_each_is_what_the_attack_gives_by_itself(self, scene):
        models, x, y = scene
        found = table(scene)
        assert len(found.rows) == 2 * (2 + 4 + 1)  # FGSM takes no rng, DeepFool no eps either
        for row in found.rows:
            settings = {k: v for k, v in (("eps", row.eps), ("rng", row.seed)) if v is not None}
            model = models[row.model]
            result = ATTACKS[row.attack](model, x, y=y, **settings)
            assert row.images == len(x)
            assert row.accuracy == accuracy(model, x, y)
            assert row.robust_accuracy == robust_accuracy(model, x, y, result)
            lost = (model(x).argmax(axis=1) == y) & result.success
            for name in ("linf", "l2", "l0"):
                assert getattr(row, name) == np.median(getattr(result, name)[lost])
            assert row.queries is None
        by_seed = [row.l2 for row in found.rows if (row.model, row.attack) == ("one", "PGD")]
        assert len(set(by_seed)) == 4  # seeds differ, and so does eps

    def test_closed_form_on_an_affine_model(self):
        """Images of margin > eps ‖w‖₁ stay right; each change of the others is eps all over."""
        rng = np.random.default_rng(0)
        w, x = rng.normal(size=6), rng.uniform(-3, 3, (50, 6))
        model = Dense(6, 2, rng=0, dtype=np.float64)
        model.parameters = {"weight": np.stack([-w, w], 1) / 2, "bias": np.zeros(2)}
        y = (x @ w > 0).astype(int)
        y[:5] = 1 - y[:5]
        row = sweep({"affine": model}, {"FGSM": fgsm}, x, y, epsilons=[0.5], bounds=(-9, 9)).rows[0]
        margin = abs(x @ w)[5:]
        assert (row.images, row.right) == (50, 45)
        assert row.robust == (margin > 0.5 * abs(w).sum()).sum()
        assert (row.l0, row.seed) == (6, None)
        assert row.l2 == pytest.approx(0.5 * 6**0.5)

    def test_nothing_lost_has_no_size(self, scene):
        models, x, y = scene
        [row] = sweep({"one": models["one"]}, {"FGSM": fgsm}, x, y, epsilons=[0]).rows
        assert row.robust == row.right
        assert row.linf is row.l2 is row.l0 is None
        assert ",,,," in sweep({"1": models["one"]}, {"a": fgsm}, x, y, epsilons=[0]).csv()

    def test_queries_are_counted(self, scene):
        models, x, y = scene
        black = QueryGradient(models["one"], scheme="forward")
        [row] = sweep({"black": black}, {"FGSM": fgsm}, x[:3], y[:3], epsilons=[0.1]).rows
        before = black.queries
        fgsm(black, x[:3], y=y[:3], eps=0.1)
        assert row.queries == (black.queries - before) / 3
        assert before == 0  # a copy was asked

    def test_the_table(self, scene, tmp_path):
        found = table(scene, attacks={'a "b", c': fgsm})
        rows = list(csv.DictReader(io.StringIO(found.csv())))
        assert [row["attack"] for row in rows] == ['a "b", c'] * 4
        assert [float(row["l2"]) for row in rows] == [row.l2 for row in found.rows]
        assert repr(found) == "Sweep(4 rows, 0 failures)"
        assert found.save(tmp_path / "a" / "table.csv").read_text() == found.csv()

    def test_a_bar_for_a_terminal_only(self, scene, capsys, monkeypatch):
        how = {"attacks": {"FGSM": fgsm}}
        table(scene, **how, progress=True)
        assert capsys.readouterr().err == ""
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
        table(scene, **how, progress=True)
        assert "4/4" in capsys.readouterr().err
        table(scene, **how)
        assert capsys.readouterr().err == ""

    def test_the_figure(self, scene):
        curves = table(scene).curves()
        assert list(curves) == ["one, FGSM", "one, PGD", "two, FGSM", "two, PGD"]
        eps, robust = curves["one, PGD"]
        rows = [r for r in table(scene).rows if (r.model, r.attack) == ("one", "PGD")]
        assert eps == [0.05, 0.2]
        assert robust[1] == sum(r.robust_accuracy for r in rows if r.eps == 0.2) / 2
        figure = plotting.curves(curves, xlabel="eps", ylabel="robust accuracy", percent=True)
        assert len(figure.axes[0].lines) >= 4


class TestExecutors:
    @pytest.mark.parametrize("folder", [False, True])
    def test_threads(self, scene, alone, tmp_path, folder):
        where = tmp_path if folder else None
        with ThreadPoolExecutor(3) as pool:
            assert table(scene, executor=pool, folder=where).csv() == alone
        assert table(scene, executor=partial(ThreadPoolExecutor, 2)).csv() == alone

    def test_spawned_processes(self, scene, alone, tmp_path):
        """With a folder to read from, and without, where workers ask for what they lack."""
        with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
            assert table(scene, executor=pool).csv() == alone
            assert table(scene, executor=pool, folder=tmp_path).csv() == alone

    @pytest.mark.filterwarnings("default")  # what Dask says of ports and of slow machines
    def test_dask(self, scene, alone, tmp_path):
        distributed = pytest.importorskip("distributed")
        how = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": ":0"}
        with (
            distributed.LocalCluster(processes=True, **how) as cluster,
            distributed.Client(cluster) as client,
        ):
            assert table(scene, executor=client.get_executor()).csv() == alone
            assert table(scene, executor=client.get_executor(), folder=tmp_path).csv() == alone

    def test_a_model_that_is_not_thread_safe_is_asked_by_one_thread(self, scene, alone):
        networks = {name: Stateful(model) for name, model in scene[0].items()}
        with ThreadPoolExecutor(4) as pool:
            found = table(scene, networks=networks, executor=pool)
        assert not found.failures
        assert found.csv() == alone
        assert not networks["one"].scratch.any()  # a copy was asked

    def test_what_travels(self, scene, alone):
        """A model, around it what only queries, what says of itself that it is thread-safe."""
        models, x, y = scene
        kinds = {
            "layer": models["one"],
            "queries": QueryGradient(models["one"], scheme="forward", h=0.01),
            "safe": thread_safe(Around(models["one"])),
        }
        attacks = {"PGD": partial(pgd, steps=2, norm="l2")}
        with quick_processes(1) as pool:
            rows = sweep(kinds, attacks, x[:5], y[:5], epsilons=[0.5], executor=pool).rows
        assert [row.right for row in rows] == [rows[0].right] * 3
        assert rows[0].l2 == rows[2].l2
        assert rows[1].queries > 100

    def test_on_one_core_changes_nothing(self, scene):
        models, x, y = scene
        with on_one_core():
            here = pgd(models["one"], x, y=y, eps=0.1, steps=2).x_adv
        assert np.array_equal(here, pgd(models["one"], x, y=y, eps=0.1, steps=2).x_adv)


class Remote(Executor):
    """A worker elsewhere: it sees what is sent, and neither the folder nor this memory."""

    def __init__(self):
        self.sent, self.memory = [], type(parcels._memory)()

    def submit(self, function, task):
        self.sent.append(task)
        memory, parcels._memory = parcels._memory, self.memory
        running, parcels.running[:] = parcels.running[:], []
        future = Future()
        try:
            there = pickle.loads(pickle.dumps(task))
            object.__setattr__(there, "folder", there.folder and Path("/nowhere"))
            future.set_result(function(there))
        finally:
            parcels._memory, parcels.running[:] = memory, running
        return future


@pytest.mark.parametrize("folder", [False, True])
def test_nothing_is_sent_twice(scene, alone, tmp_path, folder):
    worker = Remote()
    found = table(scene, executor=worker, folder=tmp_path if folder else None)
    assert found.csv() == alone
    large = [
        a for m in scene[0].values() for a in m.parameters.values() if a.nbytes >= parcels.LARGE
    ]
    enclosed = [key for task in worker.sent for key in task.enclosed]
    assert len(set(enclosed)) == len(large) + 1  # and the images
    # all tasks were under way when the first answers came; each array came with those of its model
    assert len(pickle.dumps(worker.sent[0])) < 8000
    assert table(scene, executor=worker).csv() == alone
    again = [key for task in worker.sent[-len(found.rows) :] for key in task.enclosed]
    assert again == []
    if folder:
        assert len(list((tmp_path / "arrays").iterdir())) == len(large) + 1


class TestParcels:
    def test_a_digest_sees_values_type_shape_and_layout(self):
        a = np.arange(2000.0).reshape(40, 50)
        others = [np.asfortranarray(a), a.reshape(50, 40), a.astype(np.float32), a + 1]
        assert len({parcels.digest_of(b) for b in (a, *others)}) == 5
        assert parcels.digest_of(a) == parcels.digest_of(a.copy())
        assert parcels.digest_of(a) == parcels.digest_of(np.repeat(a, 2, 0)[::2])

    def test_a_digest_does_not_see_use_or_sharing(self, scene):
        models, x, _ = scene
        black = QueryGradient(models["one"])
        before = parcels.pack("model", black)[0].digest
        black(x)
        assert parcels.pack("model", black)[0].digest == before
        assert parcels.pack("model", QueryGradient(models["two"]))[0].digest != before
        assert parcels.pack("model", QueryGradient(models["one"], h=0.1))[0].digest != before
        one, other = "".join(["a", "b"]), "".join(["a", "b"])  # equal, and two objects
        assert parcels.pack("a", [one, one])[0].digest == parcels.pack("a", [one, other])[0].digest

    def test_arrays_come_as_they_were(self):
        a = np.asfortranarray(np.arange(2000.0).reshape(40, 50))
        small, zero = np.arange(3), np.zeros(1000)
        parcel, arrays = parcels.pack("things", [a, a, small, zero, zero.copy()])
        assert len(parcel.content) < 500
        assert len(arrays) == len(parcel.arrays) == 2
        b, again, c, z, other = parcels.unpack(parcel, arrays)
        assert np.array_equal(a, b)
        assert b.flags.f_contiguous
        assert b.flags.writeable
        assert b is again  # one stays one
        assert z is not other  # two stay two
        assert np.array_equal(c, small)
        shared = parcels.unpack(parcel, arrays, share=True)[0]
        assert not shared.flags.writeable
        assert a.flags.writeable

    def test_arrays_that_are_made_while_packing_stay_apart(self):
        thing = [sweep_parts.Unfolds(i // 2) for i in range(40)]
        parcel, arrays = parcels.pack("thing", thing)
        assert [a[0] for a in parcels.unpack(parcel, arrays)] == [i // 2 for i in range(40)]

    def test_memory_is_bounded(self, monkeypatch):
        monkeypatch.setattr(parcels, "MEMORY", 3 * 8000)
        for i in range(5):
            parcels.keep({str(i): np.full(1000, float(i))})
            assert parcels.find("0", None) is not None  # used again and again
        assert list(parcels._memory) == ["3", "4", "0"]


class TestResume:
    def test_after_kill_9(self, tmp_path, monkeypatch):
        folder, calls = tmp_path / "results", tmp_path / "calls"
        calls.mkdir()
        code = "import sys; from tests.sweep_parts import sweep_noted; sweep_noted(*sys.argv[1:])"
        command = [sys.executable, "-c", code, str(folder), str(calls)]
        done = subprocess.run(command, cwd=ROOT, env=os.environ | {"KILL_AT": "5"}, check=False)
        assert done.returncode == -signal.SIGKILL
        assert len(list(folder.glob("results/*/*.json"))) == 5
        resumed = sweep_parts.sweep_noted(folder, calls)
        assert len(list(calls.iterdir())) == 8  # 5 before, 3 now
        assert resumed.csv() == sweep_parts.sweep_noted(None, calls).csv()
        assert len(list(calls.iterdir())) == 16

    @pytest.mark.parametrize(
        "damage",
        [
            lambda text: "",
            lambda text: text[:20],
            lambda text: "[" * 100_000,
            lambda text: json.dumps({"a": 1}),
            lambda text: text.replace('"linf": 0', '"linf": NaN, "b": 0'),
            lambda text: json.dumps(json.loads(text) | {"task": "other"}),
            lambda text: json.dumps(changed(text, robust=41)),
            lambda text: json.dumps(changed(text, images=39)),
            lambda text: json.dumps(changed(text, l2=float("nan"))),
            lambda text: json.dumps(changed(text, right=True)),
        ],
    )
    def test_a_damaged_or_foreign_file_is_replaced(self, scene, alone, tmp_path, damage):
        table(scene, folder=tmp_path)
        files = sorted(tmp_path.glob("results/*/*.json"))
        before = files[0].read_text()
        files[0].write_text(damage(before))
        assert table(scene, folder=tmp_path).csv() == alone
        assert files[0].read_text() == before

    def test_a_damaged_array_is_replaced(self, scene, alone, tmp_path):
        table(scene, folder=tmp_path)
        for path in tmp_path.glob("results/*/*"):
            path.unlink()
        arrays = sorted(tmp_path.glob("arrays/*.npy"))
        content = [path.read_bytes() for path in arrays]
        arrays[0].write_bytes(b"junk")
        arrays[1].write_bytes(content[1][:-1] + bytes([content[1][-1] ^ 1]))  # one bit
        parcels._memory.clear()
        assert table(scene, folder=tmp_path).csv() == alone
        assert [path.read_bytes() for path in arrays] == content

    def test_other_weights_images_settings_are_other_tasks(self, scene, tmp_path):
        models, x, y = scene

        def results(**changed):
            how = {"x": x, "y": y, "epsilons": [0.1], "seeds": [0], "folder": tmp_path}
            model, attack = changed.pop("model", models["one"]), changed.pop("attack", pgd)
            sweep({"m": model}, {"a": attack}, **(how | changed))
            return len(list(tmp_path.glob("results/*/*.json")))

        y2 = y.copy()
        y2[0] = (y[0] + 1) % 10
        changes = [
            {}, {"model": models["two"]}, {"x": x[::-1].copy()}, {"y": y2}, {"epsilons": [0.2]},
            {"seeds": [1]}, {"attack": partial(pgd, steps=7)}, {"bounds": (-1, 1)},
            {"attack": partial(pgd, steps=8)}, {"attack": fgsm},
        ]  # fmt: skip
        assert [results(**change) for change in changes] == list(range(1, len(changes) + 1))
        assert results() == len(changes)  # and the first one is still there

    def test_two_side_by_side_in_one_folder(self, scene, alone, tmp_path):
        found, together = {}, threading.Barrier(2)

        def work(name, reverse):
            networks = dict(reversed(scene[0].items())) if reverse else scene[0]
            together.wait()
            found[name] = table(scene, networks=networks, folder=tmp_path)

        threads = [threading.Thread(target=work, args=pair) for pair in ((0, False), (1, True))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found[0].csv() == alone
        assert sorted(map(str, found[1].rows)) == sorted(map(str, found[0].rows))
        assert not list(tmp_path.rglob("*.partial"))


def changed(text, **numbers):
    found = json.loads(text)
    return found | {"numbers": found["numbers"] | numbers}


class TestFailures:
    def test_a_model_that_ends_its_worker_loses_its_own_tasks(self, scene, alone):
        models = scene[0]
        networks = {"one": models["one"], "bad": Exits(models["one"]), "two": models["two"]}
        with pytest.warns(UserWarning, match="2 of 6 tasks failed, the first one bad, FGSM: the w"):
            found = table(
                scene,
                networks=networks,
                attacks={"FGSM": fgsm},
                executor=partial(quick_processes, 2),
            )
        assert [failure.model for failure in found.failures] == ["bad"] * 2
        assert "worker was lost, 2 times (BrokenProcessPool" in found.failures[0].error
        assert found.csv() == table(scene, attacks={"FGSM": fgsm}).csv()

    def test_an_executor_that_cannot_be_replaced(self, scene):
        networks = {"bad": Exits(scene[0]["one"])}
        with (
            quick_processes(1) as pool,
            pytest.raises(RuntimeError, match="executor has lost a worker.*Give a function"),
        ):
            table(scene, networks=networks, executor=pool)

    @pytest.mark.parametrize("executor", [None, partial(ThreadPoolExecutor, 2)])
    def test_an_error_is_reported_and_the_rest_goes_on(self, scene, executor, tmp_path):
        models = scene[0]
        networks = {"r": Raises(models["one"]), "one": models["one"], "l": Leaves(models["one"])}
        how = {"attacks": {"FGSM": fgsm}, "executor": executor, "folder": tmp_path}
        with pytest.warns(UserWarning, match="4 of 6 tasks failed.*r, FGSM: Arithmetic.*no such"):
            found = table(scene, networks=networks, **how)
        assert [row.model for row in found.rows] == ["one"] * 2
        assert [f.error[:10] for f in found.failures] == ["Arithmetic"] * 2 + ["SystemExit"] * 2
        assert "sweep_parts.py" in found.failures[0].details
        assert len(list(tmp_path.glob("results/*/*"))) == 2  # a failure is no result

    def test_chance_losses_are_made_up_for(self, scene, alone):
        """Every third call loses its task, once."""
        pool = Loses(lambda n, tries: n % 3 == 0 and tries == 0)
        assert table(scene, executor=pool).csv() == alone

    def test_retries(self, scene):
        pool = Loses(lambda n, tries: n == 0 and tries < 3)
        attacks = {"FGSM": fgsm}
        with pytest.warns(UserWarning, match="1 of 4 tasks failed.*lost, 3 times"):
            found = table(scene, executor=pool, attacks=attacks, retries=2)
        assert len(found.rows) == 3
        pool = Loses(lambda n, tries: n == 0 and tries < 3)
        assert not table(scene, executor=pool, attacks=attacks, retries=3).failures

    def test_a_broken_executor_is_replaced_and_one_task_is_blamed(self, scene, alone):
        """All tasks are lost with the executor; those after the guilty one go on together."""
        made, order = [], {}

        def make():
            made.append(Breaks(order, guilty=3))
            return made[-1]

        with pytest.warns(UserWarning, match="1 of 14 tasks failed"):
            found = table(scene, executor=make)
        assert len(found.rows) == 13
        assert len(made) == 3
        assert all(pool.ended for pool in made)
        rest = alone.splitlines()
        assert found.csv().splitlines() == rest[:4] + rest[5:]

    def test_an_interrupt_ends_the_executor(self, scene):
        made = []

        def make():
            made.append(Breaks({}, guilty=-1))
            return made[-1]

        def interrupt(*_):
            raise KeyboardInterrupt

        pool = Loses(lambda n, tries: False)
        pool.submit = interrupt
        with pytest.raises(KeyboardInterrupt):
            table(scene, executor=pool)
        with pytest.raises(KeyboardInterrupt):
            table(scene, executor=make, attacks={"i": sweep_parts_interrupt})
        assert made[0].ended


def sweep_parts_interrupt(model, x, y, eps):
    raise KeyboardInterrupt


class Loses(Executor):
    """Loses those tasks of which ``bad(number, tries so far)`` says so."""

    def __init__(self, bad):
        self.bad, self.tries = bad, {}

    def submit(self, function, task):
        name = task.model.digest, task.attack.digest, str(task.settings)
        self.tries.setdefault(name, 0)
        future = Future()
        if self.bad(list(self.tries).index(name), self.tries[name]):
            future.set_exception(ConnectionError("gone"))
        else:
            future.set_result(function(task))
        self.tries[name] += 1
        return future


class Breaks(Executor):
    """As a pool of processes: it does tasks in order, later, and the guilty one ends them all."""

    def __init__(self, order: dict, guilty: int):
        self.order, self.guilty = order, guilty  # the number of each task, and the guilty one's
        self.ended, self.broken, self.queue, self.lock = False, False, [], threading.Lock()

    def submit(self, function, task):
        if self.broken:
            raise BrokenExecutor("broken")
        name = task.model.digest, task.attack.digest, str(task.settings)
        number = self.order.setdefault(name, len(self.order))
        future = Future()
        self.queue.append((future, function, task, number))
        threading.Timer(0.05, self.work).start()
        return future

    def work(self):
        with self.lock:
            while self.queue:
                future, function, task, number = self.queue.pop(0)
                if not future.set_running_or_notify_cancel():
                    continue
                self.broken = self.broken or number == self.guilty
                try:
                    if self.broken:
                        raise BrokenExecutor("a worker is gone")
                    future.set_result(function(task))
                except (BrokenExecutor, KeyboardInterrupt) as error:
                    future.set_exception(error)

    def shutdown(self, wait=True, *, cancel_futures=False):
        self.ended = True


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"models": {}}, ValueError, "models and attacks must hold at least one"),
        ({"models": [1]}, TypeError, "models must be a dictionary"),
        ({"models": {"a": 3}}, TypeError, r"models\['a'\] must be a function"),
        ({"models": {"a": lambda x: x}}, TypeError, r"models\['a'\] cannot be pickled.*a lambda"),
        ({"models": {"a": Around(threading.Lock())}}, TypeError, "cannot be pickled.*lock"),
        ({"attacks": {"a": lambda m, x, y: x}}, TypeError, r"attacks\['a'\] cannot be pickled"),
        ({"attacks": {"a": 1}}, TypeError, r"attacks\['a'\] must be a function"),
        (
            {"attacks": {"a": partial(pgd, eps=1)}},
            ValueError,
            r"attacks\['a'\] must leave eps open",
        ),
        ({"attacks": {"a": partial(pgd, rng=1)}}, ValueError, "must leave rng open"),
        ({"epsilons": []}, ValueError, "epsilons must be one or more different"),
        ({"epsilons": 0.1}, TypeError, "epsilons must be one or more numbers"),
        ({"epsilons": [0.1, -1]}, ValueError, "epsilons must be >= 0"),
        ({"epsilons": [np.nan]}, ValueError, "epsilons must be finite"),
        ({"epsilons": [0.1, 0.1]}, ValueError, "different numbers"),
        ({"seeds": [0.5]}, TypeError, "seeds must be an integer"),
        ({"seeds": [-1]}, ValueError, "seeds must be >= 0"),
        ({"retries": 0}, ValueError, "retries must be >= 1"),
        ({"progress": None}, TypeError, "progress must be True or False"),
        ({"executor": 3}, TypeError, "executor must be a function"),
        ({"executor": dict}, TypeError, "that makes an Executor, it made {}"),
        ({"folder": 3}, TypeError, "folder must be a path"),
        ({"folder": __file__}, ValueError, "folder must be a folder, got the file"),
        ({"x": np.zeros((3, 8, 8))}, ValueError, "x must be a batch of images"),
        ({"x": np.zeros((0, 8, 8, 1))}, ValueError, "x must hold at least one example"),
        ({"y": [1, 2]}, ValueError, "y must be one integer or 40"),
        ({"bounds": (0, 0.5)}, ValueError, "inside bounds"),
    ],
)
def test_bad_input(scene, settings, error, message):
    models, x, y = scene
    good = {"models": models, "attacks": ATTACKS, "x": x, "y": y, "epsilons": EPSILONS}
    if "x" in settings:
        good["y"] = 1
    with pytest.raises(error, match=message):
        sweep(**(good | settings))
    assert deepfool is ATTACKS["DeepFool"].func
