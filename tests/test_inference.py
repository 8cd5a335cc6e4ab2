"""What a model says of a batch; and that a callable of unknown make is asked as it can stand it."""

import threading
from functools import partial

import numpy as np
import pytest

from minadv import inference, ops, parallel
from minadv.attacks.deepfool import deepfool
from minadv.attacks.fgsm import fgsm
from minadv.attacks.forging import forge
from minadv.attacks.one_pixel import one_pixel
from minadv.attacks.query_gradient import QueryGradient
from minadv.autograd import raw, record, vjp
from minadv.layers import Dense, Flatten, Layer, Sequential
from minadv.models import mlp
from minadv.parallel import in_chunks, is_thread_safe, thread_safe

COUNT = 700  # more than one chunk, whatever the model


@pytest.fixture(autouse=True)
def _three_cores(monkeypatch):
    monkeypatch.setattr(parallel, "_cores", lambda: 3)


@pytest.fixture
def x():
    return np.random.default_rng(0).random((COUNT, 6, 6, 1)).astype(np.float32)


@pytest.fixture
def model():
    return mlp((6, 6, 1), classes=4, hidden=64, rng=0)


class Interpreter:
    """Set, invoke, get, as TFLite has it: two threads at once would get each other's answers."""

    def __init__(self, model):
        self.model, self.threads, self.asked = model, set(), 0

    def __call__(self, x):
        self.threads.add(threading.get_ident())
        self.input = x
        z = self.model(self.input)
        self.asked += len(x)
        self.output = z
        return self.output


class InPlace:
    """Centers its input where it stands, as Keras' preprocess_input does."""

    def __init__(self, model):
        self.model = model

    def __call__(self, x):
        u = raw(x)
        u -= 0.5
        return self.model(x)


def centered(model):
    return lambda x: model(x - 0.5)


class TestForeignModels:
    def test_one_thread_at_a_time_and_every_query_counted(self, model, x):
        interpreter = Interpreter(model)
        np.testing.assert_array_equal(
            inference.logits(interpreter, x).argmax(axis=1), model(x).argmax(axis=1)
        )
        assert interpreter.threads == {threading.get_ident()}
        assert interpreter.asked == COUNT

    def test_attacks_too(self, model, x):
        for attack in (
            lambda m: fgsm(m, x, y=0, eps=0.1),
            lambda m: deepfool(m, x, steps=2),
            lambda m: forge(m, x, target=1, steps=2),
            lambda m: one_pixel(m, x[:40], y=0, population=12, generations=2),
            lambda m: fgsm(QueryGradient(m), x[:20], y=0, eps=0.1),
        ):
            interpreter = Interpreter(model)
            attack(interpreter)
            assert interpreter.threads == {threading.get_ident()}

    def test_a_query_gradient_counts_what_its_predictor_counts(self, model, x):
        interpreter = Interpreter(model)
        queried = QueryGradient(interpreter)
        inference.logits(queried, x)
        assert queried.queries == interpreter.asked == COUNT

    def test_the_images_are_left_alone(self, model, x):
        before = x.copy()
        for ask in (inference.logits, inference.predict, inference.probabilities):
            np.testing.assert_array_equal(ask(InPlace(model), x), ask(centered(model), x))
            np.testing.assert_array_equal(x, before)

    @pytest.mark.parametrize(
        "attack",
        [
            lambda m, x: fgsm(m, x, y=0, eps=0.1),
            lambda m, x: deepfool(m, x, y=0, steps=3),
            lambda m, x: forge(m, x, target=1, reference=x[::-1].copy(), steps=3),
            lambda m, x: one_pixel(m, x[:40], y=0, population=12, generations=2),
        ],
        ids=["fgsm", "deepfool", "forge", "one_pixel"],
    )
    def test_an_attack_on_a_model_that_changes_its_input(self, model, x, attack):
        before = x.copy()
        result, expected = attack(InPlace(model), x), attack(centered(model), x)
        np.testing.assert_array_equal(x, before)
        np.testing.assert_allclose(result.x_adv, expected.x_adv, atol=1e-5)
        assert result.x_adv.min() >= 0
        assert result.x_adv.max() <= 1


class TestThreadSafe:
    def test_who_knows_better_says_so(self, model, x):
        together = threading.Barrier(2)

        def both(part):
            if len(part) == parallel.MOST // 4:
                together.wait(20)  # passed only if two threads ask at the same time
            return model(part)

        many = np.concatenate([x, x])[: 2 * (parallel.MOST // 4)]
        foreign = thread_safe(both)
        foreign.activation_bytes = lambda shape, dtype: 4 * parallel.CHUNK_BYTES // parallel.MOST
        assert parallel.chunk_size(foreign, many) == parallel.MOST // 4
        np.testing.assert_array_equal(inference.logits(foreign, many)[:5], model(many[:128])[:5])

    def test_layers_are_and_functions_are_not(self, model):
        assert is_thread_safe(model)
        assert is_thread_safe(Dense(2, 2))
        assert is_thread_safe(thread_safe(len))
        assert not is_thread_safe(len)
        assert not is_thread_safe(lambda x: model(x))
        assert not is_thread_safe(None)

    def test_one_layer_that_keeps_state_is_enough(self):
        class Counter(Layer):
            thread_safe = False

        assert not is_thread_safe(Sequential(Flatten(), Counter()))
        assert not is_thread_safe(Sequential(Sequential(Counter()), Flatten()))

    def test_it_answers_as_the_model(self, model, x):
        np.testing.assert_array_equal(inference.logits(thread_safe(model), x[:9]), model(x[:9]))
        assert thread_safe(model).layers is model.layers
        with pytest.raises(TypeError, match="model must be callable, got int"):
            thread_safe(3)

    def test_an_own_model_gets_no_copies(self, model, x):
        assert inference.on_a_copy(model) is model
        seen = []
        in_chunks(model, lambda part: seen.append(np.shares_memory(part, x)) or part, x)
        in_chunks(None, lambda part: seen.append(np.shares_memory(part, x)) or part, x)
        assert set(seen) == {True}

    def test_a_copy_is_differentiable(self, x):
        def square(v):
            return record(raw(v) ** 2, (v, lambda g: 2 * g * raw(v)))

        value, pull = vjp(inference.on_a_copy(square), x)
        np.testing.assert_array_equal(pull(np.ones_like(value)), 2 * x)


class TestChunksOfForeignModels:
    def test_no_more_than_asked_for(self, x):
        sizes = []
        in_chunks(len, lambda part: sizes.append(len(part)) or part, x, most=100)
        assert sizes == [100] * 7

    def test_results_joined_in_order(self, x):
        one, two = in_chunks(len, lambda part: (part, 2 * part), x)
        np.testing.assert_array_equal(one, x)
        np.testing.assert_array_equal(two, 2 * x)
        assert in_chunks(len, lambda part: part, x[:0]).shape == (0, 6, 6, 1)

    def test_a_model_inside_a_foreign_one_uses_all_cores(self, model, x):
        threads, another = set(), threading.Event()

        class Watched(Layer):
            def apply(self, parameters, x, rng=None):
                threads.add(threading.get_ident())
                if len(threads) > 1:
                    another.set()
                if len(x) > 1:  # more than the image of which memory is estimated
                    another.wait(20)  # a busy machine may start the other thread late
                return x

        inner = Sequential(Watched(), *model)
        inference.logits(lambda part: inference.logits(inner, np.repeat(part, 20, 0))[::20], x)
        assert threads - {threading.get_ident()}


class TestMessages:
    @pytest.mark.parametrize(
        ("answer", "error", "message"),
        [
            (lambda x: x.reshape(len(x), -1)[:1], ValueError, "must return logits .N, K. with N"),
            (lambda x: x.reshape(len(x), -1)[:, :1], ValueError, "K >= 2, got shape"),
            (lambda x: [1, 2], ValueError, "got shape None"),
            (lambda x: np.zeros((len(x), 3), int), TypeError, "floating-point numbers, got int64"),
            (lambda x: np.full((len(x), 3), np.nan), ValueError, "finite logits, got NaN"),
        ],
    )
    def test_answers_that_are_no_logits(self, x, answer, error, message):
        with pytest.raises(error, match=message):
            inference.logits(answer, x)

    def test_a_class_is_no_model(self, x):
        for ask in (inference.logits, partial(fgsm, y=0, eps=0.1)):
            with pytest.raises(TypeError, match=r"model is called as model\(x\), but cannot be"):
                ask(Dense, x)

    def test_answers_of_pytorch(self, x):
        torch = pytest.importorskip("torch")
        with pytest.raises(TypeError, match=r"got Tensor of torch; .*z.detach\(\).cpu\(\).numpy"):
            inference.logits(lambda part: torch.zeros(len(part), 3), x)

    @pytest.mark.parametrize("batch", [[[1.0]], 3.0, "x", None])
    def test_batches_that_are_no_arrays(self, model, batch):
        with pytest.raises(TypeError, match="must be .*array"):
            inference.logits(model, batch)

    def test_probabilities_are_told_from_logits(self, model, x):
        assert inference.are_probabilities(ops.softmax(model(x)))
        assert inference.are_probabilities(np.round(ops.softmax(model(x)), 4))
        assert not inference.are_probabilities(model(x))
        assert not inference.are_probabilities(model(x[:0]))

    def test_batches_of_pytorch_and_tensors(self, model, x):
        torch = pytest.importorskip("torch")
        with pytest.raises(TypeError, match=r"got Tensor of torch: convert it first, x.detach"):
            inference.logits(model, torch.from_numpy(x))
        with pytest.raises(TypeError, match="got Tensor: .*call the model itself"):
            vjp(lambda v: inference.logits(model, v), x)
