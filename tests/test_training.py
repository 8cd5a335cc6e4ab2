"""Optimizers in closed form and beside PyTorch; fit: what it learns, repeats, leaves alone, and
does when it is stopped."""

import numpy as np
import pytest

from minadv import backend, losses, machine, parallel, training
from minadv.autograd import grad, raw, value_and_grad
from minadv.backend import to_numpy
from minadv.layers import Conv2D, Dense, Dropout, Flatten, Layer, ReLU, Sequential, Tanh
from minadv.models import LogisticRegression, mlp
from minadv.training import SGD, Adam, History, fit


@pytest.fixture
def problem():
    """Sixty points of three classes around three corners, and their labels."""
    rng = np.random.default_rng(0)
    y = np.arange(60) % 3
    x = (np.eye(3)[y] + rng.normal(scale=0.2, size=(60, 3))).astype(np.float32)
    return x, y


def net(rng=0, dtype=np.float32, *extra):
    return Sequential(
        Dense(3, 8, rng=rng, dtype=dtype), Tanh(), *extra, Dense(8, 3, rng=rng, dtype=dtype)
    )


def quiet(model, x, y, **options):
    return fit(model, x, y, progress=False, **options)


def copies(model):
    return {name: to_numpy(value).copy() for name, value in model.parameters.items()}


def same(one, other):
    return all(one[name].tobytes() == other[name].tobytes() for name in one)


def use_cores(monkeypatch, count):
    monkeypatch.setattr(parallel, "_cores", lambda: count)


def small_chunks(monkeypatch, size=4):
    monkeypatch.setattr(training, "chunk_size", lambda model, x: size)


class TestOptimizers:
    w0, gradients = (
        np.array([1.0, -2, 0.5]),
        [np.array([0.1, -3, 0]), np.array([0.2, 1, -1e-5]), np.array([0, 2, 4.0])],
    )

    def steps(self, optimizer):
        w, seen = self.w0.copy(), []
        for g in self.gradients:
            optimizer.step(w, g)
            seen.append(w.copy())
        return seen

    def test_sgd(self):
        a, b, c = self.gradients
        one, two, three = self.steps(SGD(0.1))
        np.testing.assert_allclose(one, self.w0 - 0.1 * a, rtol=1e-15)
        np.testing.assert_allclose(three, self.w0 - 0.1 * (a + b + c), rtol=1e-14)

    def test_momentum(self):
        a, b, c = self.gradients
        one, two, three = self.steps(SGD(0.1, momentum=0.9))
        np.testing.assert_allclose(one, self.w0 - 0.1 * a, rtol=1e-15)
        np.testing.assert_allclose(two, one - 0.1 * (0.9 * a + b), rtol=1e-14)
        np.testing.assert_allclose(three, two - 0.1 * (0.81 * a + 0.9 * b + c), rtol=1e-14)

    def test_adam(self):
        a, b, _ = self.gradients
        one, two, _ = self.steps(Adam(0.01, beta1=0.8, beta2=0.9, epsilon=1e-3))
        np.testing.assert_allclose(one, self.w0 - 0.01 * a / (np.abs(a) + 1e-3), rtol=1e-13)
        m = (0.8 * 0.2 * a + 0.2 * b) / (1 - 0.8**2)
        v = (0.9 * 0.1 * a**2 + 0.1 * b**2) / (1 - 0.9**2)
        np.testing.assert_allclose(two, one - 0.01 * m / (np.sqrt(v) + 1e-3), rtol=1e-13)

    def test_the_first_adam_step_is_lr_whatever_the_size_of_the_gradient(self):
        for size in (1e-4, 1, 1e4):
            w = np.zeros(2)
            Adam(0.001).step(w, np.array([size, -size]))
            np.testing.assert_allclose(w, [-0.001, 0.001], rtol=2e-4)

    @pytest.mark.parametrize(
        "make", [lambda: SGD(0.1), lambda: SGD(0.1, momentum=0.9), lambda: Adam(0.1)]
    )
    def test_gradients_and_dtype_stay(self, make):
        optimizer, w, g = make(), self.w0.astype(np.float32), np.ones(3, np.float32)
        before = w
        g.flags.writeable = False
        for _ in range(3):
            optimizer.step(w, g)
        assert w is before
        assert w.dtype == np.float32
        assert (w < self.w0).all()

    def test_trajectories_of_torch(self):
        torch = pytest.importorskip("torch")
        target = np.array([3.0, 0, -1])
        for mine, theirs in [
            (SGD(0.05), lambda p: torch.optim.SGD(p, lr=0.05)),
            (SGD(0.05, momentum=0.9), lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9)),
            (Adam(), lambda p: torch.optim.Adam(p)),
            (
                Adam(0.3, beta1=0.5, beta2=0.9, epsilon=0.01),
                lambda p: torch.optim.Adam(p, lr=0.3, betas=(0.5, 0.9), eps=0.01),
            ),
        ]:
            w, v = self.w0.copy(), torch.tensor(self.w0, requires_grad=True)
            theirs = theirs([v])
            for _ in range(25):
                mine.step(w, 2 * (w - target) ** 3)
                theirs.zero_grad()
                ((v - torch.tensor(target)) ** 4 / 2).sum().backward()
                theirs.step()
                np.testing.assert_allclose(w, v.detach().numpy(), rtol=1e-9, atol=1e-12)

    @pytest.mark.parametrize(
        ("make", "message"),
        [
            (lambda: SGD(0), "lr must be > 0, got 0"),
            (lambda: SGD(np.inf), "lr must be finite, got inf"),
            (lambda: SGD(momentum=1), r"momentum must be < 1, got 1"),
            (lambda: Adam(-1), "lr must be > 0, got -1"),
            (lambda: Adam(beta1=1), r"beta1 must be < 1, got 1"),
            (lambda: Adam(beta2=-0.1), r"beta2 must be >= 0, got -0.1"),
            (lambda: Adam(epsilon=0), "epsilon must be > 0, got 0"),
            (lambda: Adam(np.nan), "lr must be"),
        ],
    )
    def test_bad_numbers(self, make, message):
        with pytest.raises(ValueError, match=message):
            make()


class TestLearning:
    def test_the_loss_falls_and_the_points_are_told_apart(self, problem):
        x, y = problem
        model = net()
        history = quiet(
            model, x, y, epochs=30, batch_size=10, optimizer=Adam(0.02), validation=(x, y)
        )
        assert history.loss[-1] < 0.2 * history.loss[0]
        assert history.validation_accuracy[-1] == 1
        assert (model(x).argmax(axis=1) == y).all()

    def test_every_optimizer_learns(self, problem):
        for optimizer in (None, SGD(0.5), SGD(0.1, momentum=0.9), Adam(0.02)):
            history = quiet(net(), *problem, epochs=10, batch_size=10, optimizer=optimizer)
            assert history.loss[-1] < history.loss[0]

    def test_one_step_by_hand(self, problem):
        """One batch, plain SGD: w - lr · (mean of the examples' gradients)."""
        x, y = problem
        model = net(dtype=np.float64)
        before = copies(model)

        def loss(*p):
            return losses.cross_entropy(model.apply(dict(zip(before, p, strict=True)), x), y).mean()

        value, gradients = value_and_grad(loss, *before.values())
        history = quiet(model, x, y, batch_size=60, optimizer=SGD(0.1))
        assert history.loss == [pytest.approx(float(value), rel=1e-12)]
        for (name, w), g in zip(before.items(), gradients, strict=True):
            np.testing.assert_allclose(model.parameters[name], w - 0.1 * g, rtol=1e-10, atol=1e-13)

    @pytest.mark.parametrize("size", [1, 7, 16, 60, 100])
    def test_however_a_batch_is_cut_the_gradient_is_the_mean(self, problem, monkeypatch, size):
        x, y = problem
        whole, cut = net(dtype=np.float64), net(dtype=np.float64)
        one = quiet(whole, x, y, batch_size=25, epochs=2, optimizer=SGD(0.1))
        small_chunks(monkeypatch, size)
        use_cores(monkeypatch, 2)
        two = quiet(cut, x, y, batch_size=25, epochs=2, optimizer=SGD(0.1))
        np.testing.assert_allclose(two.loss, one.loss, rtol=1e-12)
        for name, w in whole.parameters.items():
            np.testing.assert_allclose(cut.parameters[name], w, rtol=1e-9, atol=1e-12)

    def test_an_epoch_meets_each_example_once_in_a_new_order(self, problem):
        x, y = problem
        seen = []

        def loss(forward, x, y):
            seen.extend(x[:, 0].tolist())
            return losses.cross_entropy(forward(x), y)

        quiet(net(), x, y, batch_size=7, epochs=3, objective=loss)
        epochs = [seen[i : i + 60] for i in (0, 60, 120)]
        for epoch in epochs:
            assert sorted(epoch) == sorted(x[:, 0].tolist())
        assert epochs[0] != epochs[1] != epochs[2]
        assert epochs[0] != x[:, 0].tolist()

    def test_labels_stay_with_their_examples(self, problem):
        x, y = problem
        key = {row.tobytes(): label for row, label in zip(x, y, strict=True)}

        def loss(forward, x, y):
            assert [key[row.tobytes()] for row in x] == y.tolist()
            return losses.cross_entropy(forward(x), y)

        quiet(net(), x, y, batch_size=8, objective=loss)

    def test_the_training_loss_is_the_mean_over_examples_not_over_batches(self):
        # Batches of 4, 4 and 1; the weights hardly move.
        x, y = np.eye(9, 3, dtype=np.float64), np.array([0, 1, 2, 0, 0, 0, 0, 0, 0])
        model = net(dtype=np.float64)
        expected = losses.cross_entropy(model(x), y).mean()
        history = quiet(model, x, y, batch_size=4, optimizer=SGD(1e-12))
        assert history.loss == [pytest.approx(expected, rel=1e-9)]

    def test_soft_labels_images_and_other_losses(self, problem):
        x, y = problem
        soft = (np.eye(3)[y] * 0.7 + 0.1).astype(np.float32)
        distil = lambda z, p: losses.soft_cross_entropy(z, p, temperature=2.0)  # noqa: E731
        history = quiet(
            net(),
            x,
            soft,
            epochs=20,
            batch_size=10,
            loss=distil,
            optimizer=Adam(0.02),
            validation=(x, soft),
        )
        assert history.loss[-1] < history.loss[0]
        assert len(history.validation_loss) == 20
        assert history.validation_accuracy == []  # soft labels: no accuracy
        to_itself = lambda z, target: losses.squared_error(z, target)  # noqa: E731
        history = quiet(net(), x, x, epochs=20, batch_size=10, loss=to_itself, optimizer=Adam(0.02))
        assert history.loss[-1] < 0.5 * history.loss[0]

    def test_a_loss_may_run_the_model_several_times(self, problem):
        x, y = problem
        model = net(dtype=np.float64)
        before = copies(model)

        def twice(forward, x, y):
            return losses.cross_entropy(forward(x), y) + losses.cross_entropy(forward(-x), y)

        quiet(model, x, y, batch_size=60, optimizer=SGD(0.1), objective=twice)

        def by_hand(w):
            f = lambda x: model.apply({**before, "0.weight": w}, x)  # noqa: E731
            return (losses.cross_entropy(f(x), y) + losses.cross_entropy(f(-x), y)).mean()

        np.testing.assert_allclose(
            model[0].weight,
            before["0.weight"] - 0.1 * grad(by_hand, before["0.weight"]),
            rtol=1e-9,
            atol=1e-12,
        )

    def test_a_loss_may_attack_the_model_and_meets_its_current_weights(self, problem):
        x, y = problem
        model, seen = net(), []

        def adversarial(forward, x, y):
            seen.append(copies(model))
            g = grad(lambda x: losses.cross_entropy(model(x), y).sum(), x)
            assert isinstance(g, np.ndarray)
            return losses.cross_entropy(forward(x + 0.1 * np.sign(g)), y)

        quiet(model, x, y, batch_size=20, objective=adversarial, optimizer=Adam(0.02), epochs=3)
        assert all(not same(one, other) for one, other in zip(seen, seen[1:], strict=False))
        assert not same(seen[-1], copies(model))

    def test_training_what_differentiates_the_forward_again_is_refused(self, problem):
        def second_order(forward, x, y):
            g = grad(lambda x: losses.cross_entropy(forward(x), y).sum(), x)
            return (g * g).sum(axis=1)

        with pytest.raises(TypeError, match="first order only"):
            quiet(net(), *problem, objective=second_order)

    def test_continuing_with_the_same_optimizer_keeps_its_momentum(self, problem):
        x, y = problem
        once, twice = net(), net()
        quiet(once, x, y, epochs=4, batch_size=60, optimizer=SGD(0.1, momentum=0.9))
        optimizer = SGD(0.1, momentum=0.9)
        for _ in range(2):
            quiet(twice, x, y, epochs=2, batch_size=60, optimizer=optimizer)
        for name, w in once.parameters.items():
            np.testing.assert_allclose(twice.parameters[name], w, rtol=1e-4, atol=1e-6)

    def test_logistic_regression_with_its_one_number_of_bias(self):
        rng = np.random.default_rng(0)
        x = rng.normal(size=(100, 2))
        y = (x @ [2, -1] + 0.5 > 0).astype(int)
        model = LogisticRegression(np.zeros(2))
        quiet(model, x, y, epochs=30, batch_size=10, optimizer=SGD(0.5))
        assert (model(x).argmax(axis=1) == y).mean() > 0.95
        assert model.bias.shape == ()


class TestRepeatability:
    def learned(self, x, y, seed, **options):
        model = net(0, np.float32, Dropout(0.3))
        history = quiet(model, x, y, epochs=2, batch_size=16, rng=seed, **options)
        return copies(model), history

    def test_one_seed_one_result_bit_for_bit_on_any_number_of_cores(self, problem, monkeypatch):
        small_chunks(monkeypatch)
        found = []
        for count in (1, 2, 3, 3):
            use_cores(monkeypatch, count)
            found.append(self.learned(*problem, seed=5))
        for weights, history in found[1:]:
            assert same(weights, found[0][0])
            assert history.loss == found[0][1].loss

    def test_another_seed_another_result(self, problem):
        assert not same(self.learned(*problem, seed=1)[0], self.learned(*problem, seed=2)[0])

    def test_a_generator_is_as_good_as_its_seed(self, problem):
        assert same(
            self.learned(*problem, seed=5)[0],
            self.learned(*problem, seed=np.random.default_rng(5))[0],
        )

    def test_validation_and_progress_change_nothing(self, problem, capsys):
        plain = self.learned(*problem, seed=5)[0]
        assert same(plain, self.learned(*problem, seed=5, validation=problem)[0])
        model = net(0, np.float32, Dropout(0.3))
        fit(model, *problem, epochs=2, batch_size=16, rng=5)
        assert same(plain, copies(model))
        assert "training" in capsys.readouterr().err

    def test_without_progress_nothing_is_printed(self, problem, capsys):
        quiet(net(), *problem, validation=problem)
        assert capsys.readouterr() == ("", "")


class TestDropout:
    def test_on_while_training_and_off_while_validating(self, problem):
        x, y = problem
        dropped = []

        class Spy(Layer):
            def apply(self, parameters, x, rng=None):
                y = Dropout(0.5).apply({}, x, rng)
                if len(x) > 1:  # one example of zeros is run to see how much memory it takes
                    dropped.append((rng is not None, float((raw(y) == 0).mean())))
                return y

        model = Sequential(Dense(3, 200), Spy(), Dense(200, 3))
        quiet(model, x, y, batch_size=20, validation=(x, y))
        assert all(
            share == pytest.approx(0.5, abs=0.1) if training else share == 0
            for training, share in dropped
        )
        assert {training for training, _ in dropped} == {True, False}

    def test_chunks_and_batches_draw_anew(self, problem, monkeypatch):
        x, y = problem
        small_chunks(monkeypatch, 5)
        masks = []

        def loss(forward, x, y):
            z = forward(np.ones_like(x))
            masks.append((raw(z) == 0).tobytes())
            return losses.cross_entropy(z, y)

        quiet(Sequential(Dense(3, 64), Dropout(0.5)), x, y, batch_size=20, epochs=2, objective=loss)
        assert len(masks) == 2 * 3 * 4
        assert len(set(masks)) == len(masks)


class TestHistory:
    def test_validation_numbers(self, problem):
        x, y = problem
        held_out = x[:7] + 0.3, (y[:7] + (np.arange(7) > 4)) % 3
        model = net(0, np.float32, Dropout(0.5))  # off while validating
        history = quiet(
            model, x, y, epochs=3, batch_size=16, validation=held_out, optimizer=Adam(0.02)
        )
        assert len(history) == 3
        assert [
            len(v)
            for v in (
                history.loss,
                history.validation_loss,
                history.validation_accuracy,
                history.seconds,
            )
        ] == [3] * 4
        logits = model(held_out[0])
        assert history.validation_loss[-1] == pytest.approx(
            float(losses.cross_entropy(logits, held_out[1]).mean()), rel=1e-6
        )
        assert history.validation_accuracy[-1] == (logits.argmax(axis=1) == held_out[1]).mean()
        assert all(
            isinstance(v, float)
            for v in [*history.loss, *history.validation_loss, *history.validation_accuracy]
        )
        assert not history.interrupted

    def test_validation_in_chunks(self, problem, monkeypatch):
        whole = quiet(net(), *problem, validation=problem)
        small_chunks(monkeypatch, 7)
        cut = quiet(net(), *problem, validation=problem)
        assert cut.validation_loss == [pytest.approx(whole.validation_loss[0], rel=1e-5)]
        assert cut.validation_accuracy == whole.validation_accuracy

    def test_without_validation(self, problem):
        history = quiet(net(), *problem, epochs=2)
        assert (len(history.loss), history.validation_loss, history.validation_accuracy) == (
            2,
            [],
            [],
        )

    def test_no_epoch(self, problem):
        model = net()
        before = copies(model)
        assert len(quiet(model, *problem, epochs=0)) == 0
        assert same(before, copies(model))

    def test_it_can_be_plotted(self, problem):
        plotting = pytest.importorskip("minadv.plotting")
        plotting.history(quiet(net(), *problem, epochs=2, validation=problem))


class TestStopping:
    @pytest.mark.parametrize("options", [{}, {"on_interrupt": "raise"}])
    def test_ctrl_c_comes_through_with_the_weights_in_place(self, problem, options):
        stopped, expected = net(), net()
        how = {"batch_size": 20, "epochs": 9}
        with pytest.raises(KeyboardInterrupt):
            quiet(stopped, *problem, **how, objective=self.interrupting(at=3), **options)
        quiet(expected, *problem, **how, objective=self.interrupting(at=3), on_interrupt="return")
        assert same(copies(stopped), copies(expected))
        assert not same(copies(stopped), copies(net()))
        assert not machine._holders

    @staticmethod
    def interrupting(at):
        calls = []

        def loss(forward, x, y):
            calls.append(len(x))
            if len(calls) == at:
                raise KeyboardInterrupt
            return losses.cross_entropy(forward(x), y)

        return loss

    @pytest.mark.parametrize("cores", [1, 2])
    def test_ctrl_c_keeps_what_was_learned(self, problem, monkeypatch, cores):
        use_cores(monkeypatch, cores)
        x, y = problem
        stopped, reference = net(), net()
        history = quiet(
            stopped,
            x,
            y,
            batch_size=20,
            epochs=9,
            objective=self.interrupting(at=6),
            on_interrupt="return",
        )  # the last batch of the second epoch
        assert history.interrupted
        assert len(history.loss) == len(history.seconds) == 1
        seen = []

        def remembering(forward, x, y):
            seen.append(copies(reference))
            return losses.cross_entropy(forward(x), y)

        quiet(reference, x, y, batch_size=20, epochs=2, objective=remembering)
        assert same(copies(stopped), seen[5])
        assert not machine._holders
        assert stopped(x).shape == (60, 3)

    def test_ctrl_c_while_validating_leaves_whole_epochs_only(self, problem):
        x, y = problem
        loss = self.interrupting(at=3 + 1 + 3 + 1)  # three batches and a validation, twice
        history = quiet(
            net(),
            x,
            y,
            batch_size=20,
            epochs=9,
            objective=loss,
            validation=(x, y),
            on_interrupt="return",
        )
        assert history.interrupted
        lengths = {
            len(v)
            for v in (
                history.loss,
                history.validation_loss,
                history.validation_accuracy,
                history.seconds,
            )
        }
        assert lengths == {1}

    def test_ctrl_c_in_a_chunk_on_another_core(self, problem, monkeypatch):
        small_chunks(monkeypatch)
        use_cores(monkeypatch, 2)
        history = quiet(
            net(),
            *problem,
            batch_size=20,
            epochs=9,
            objective=self.interrupting(at=12),
            on_interrupt="return",
        )
        assert history.interrupted
        assert not machine._holders

    def test_a_loss_that_is_no_longer_finite(self, problem):
        x, y = problem
        model = net()
        with (
            np.errstate(all="ignore"),
            pytest.raises(
                FloatingPointError, match="loss became .* in epoch 1: lower the learning rate"
            ),
        ):
            quiet(
                model,
                x,
                y,
                batch_size=20,
                epochs=50,
                objective=lambda f, x, y: losses.squared_error(f(x) * 1e30, x),
            )
        before = copies(net())
        with pytest.raises(FloatingPointError, match="nan in epoch 1"):
            quiet(model := net(), x * np.nan, y)
        assert same(copies(model), before)  # no step was taken

    def test_other_exceptions_come_through(self, problem):
        def broken(forward, x, y):
            raise ZeroDivisionError("in the loss")

        with pytest.raises(ZeroDivisionError, match="in the loss"):
            quiet(net(), *problem, objective=broken)
        assert not machine._holders


class TestWhatIsGiven:
    def test_x_y_and_the_validation_stay(self, problem):
        x, y = problem
        for array in problem:
            array.flags.writeable = False
        quiet(net(), x, y, batch_size=7, epochs=2, validation=(x, y))

    def test_the_arrays_given_to_the_model_stay_and_its_own_move(self, problem):
        weight = np.zeros(3)
        weight.flags.writeable = False
        model = LogisticRegression(weight)
        quiet(model, problem[0], problem[1] % 2)
        assert not weight.any()
        assert model.weight.any()

    def test_parts_of_a_model_share_what_is_learned(self, problem):
        model = net()
        head = model[2:]
        quiet(model, *problem, optimizer=Adam(0.1))
        np.testing.assert_array_equal(head[0].weight, model[2].weight)
        assert model.parameters["2.weight"] is model[2].weight

    def test_dtype_and_shapes_of_the_weights_stay(self, problem):
        for dtype in (np.float32, np.float64):
            model = net(dtype=dtype)
            shapes = {name: (value.shape, dtype) for name, value in model.parameters.items()}
            quiet(model, problem[0].astype(np.float64), problem[1], epochs=2)
            assert {
                name: (value.shape, value.dtype) for name, value in model.parameters.items()
            } == shapes

    def test_on_every_backend(self, xp, problem, monkeypatch):
        x, y = problem
        images = np.tile(x[:, :, None, None], (1, 1, 3, 1))  # (60, 3, 3, 1)

        def make():
            return Sequential(
                Conv2D(1, 4, 2, rng=1), ReLU(), Flatten(), Dropout(0.2), Dense(16, 3, rng=2)
            )

        model = make()
        history = quiet(
            model,
            xp.asarray(images),
            xp.asarray(y),
            batch_size=20,
            epochs=2,
            validation=(xp.asarray(images), xp.asarray(y)),
        )
        assert all(
            isinstance(p, xp.ndarray) and p.dtype == np.float32 for p in model.parameters.values()
        )
        monkeypatch.setattr(backend, "_current", np)
        monkeypatch.setattr(training, "chunk_size", lambda model, x: parallel.GPU_CHUNK)
        reference = make()
        expected = quiet(reference, images, y, batch_size=20, epochs=2, validation=(images, y))
        np.testing.assert_allclose(history.loss, expected.loss, rtol=1e-4)
        np.testing.assert_allclose(history.validation_loss, expected.validation_loss, rtol=1e-4)
        for name, value in model.parameters.items():
            np.testing.assert_allclose(
                to_numpy(value), reference.parameters[name], rtol=1e-3, atol=1e-5
            )

    def test_on_every_backend_in_more_than_one_chunk(self, xp, problem, monkeypatch):
        small_chunks(monkeypatch, 8)
        use_cores(monkeypatch, 2)
        for optimizer in (SGD(0.1, momentum=0.5), Adam()):
            x, y = map(xp.asarray, problem)
            history = quiet(net(), x, y, batch_size=20, validation=(x, y), optimizer=optimizer)
            assert np.isfinite(history.loss[0])

    @pytest.mark.parametrize(
        ("options", "error", "message"),
        [
            (
                {"y": np.zeros(59, int)},
                ValueError,
                "x and y must have the same length, at least 1, got 60 and 59",
            ),
            ({"x": np.zeros((0, 3)), "y": np.zeros(0, int)}, ValueError, "at least 1, got 0 and 0"),
            ({"y": [0] * 60}, TypeError, "y must be a NumPy or CuPy array, got list"),
            ({"epochs": -1}, ValueError, "epochs must be >= 0.*got -1"),
            ({"batch_size": 0}, ValueError, "batch_size must be >= 1, got 0"),
            ({"model": Sequential(ReLU())}, ValueError, "the model has no weights to train"),
            (
                {"loss": lambda z, y: losses.cross_entropy(z, y).mean()},
                ValueError,
                r"one value per example, shape \(32,\), got \(\)",
            ),
            (
                {"loss": lambda z, y: z},
                ValueError,
                r"one value per example, shape \(32,\), got \(32, 3\)",
            ),
            ({"y": np.full(60, 3)}, ValueError, "y must lie in 0..2, got 3..3"),
        ],
    )
    def test_wrong_arguments(self, problem, options, error, message):
        arguments = {"model": net(), "x": problem[0], "y": problem[1], **options}
        with pytest.raises(error, match=message):
            fit(**arguments, progress=False)


class TestHandedIn:
    @pytest.mark.parametrize("validation", [False, True])
    def test_a_loss_of_logits_is_the_objective_of_it(self, problem, validation):
        how = {"epochs": 2, "validation": problem if validation else None}
        plain, by_model, default = net(), net(), net()
        a = quiet(plain, *problem, loss=lambda z, y: losses.cross_entropy(z, y), **how)
        b = quiet(
            by_model, *problem, objective=lambda f, x, y: losses.cross_entropy(f(x), y), **how
        )
        c = quiet(default, *problem, **how)
        assert same(copies(plain), copies(by_model))
        assert same(copies(plain), copies(default))
        for h in (b, c):
            assert (a.loss, a.validation_loss) == (h.loss, h.validation_loss)
            assert a.validation_accuracy == h.validation_accuracy

    @pytest.mark.parametrize(
        ("options", "error", "message"),
        [
            ({"loss": "ce"}, TypeError, r"loss must be a function, called as loss\(logits, y\)"),
            (
                {"loss": lambda f, x, y: 0},
                TypeError,
                r"loss is called as loss\(logits, y\), but cannot be: missing .* 'y'",
            ),
            (
                {"objective": losses.cross_entropy},
                TypeError,
                r"called as objective\(forward, x, y\)",
            ),
            (
                {"objective": lambda f, x, y: 0, "loss": losses.squared_error},
                ValueError,
                "give loss or objective, not both",
            ),
            ({"loss": lambda z, y: None}, ValueError, "loss must return one value .* got None"),
            ({"optimizer": "adam"}, TypeError, "optimizer must be an object .* got 'adam'"),
            ({"optimizer": Adam}, TypeError, "optimizer must be an object .* got <class"),
            ({"validation": np.zeros((3, 3))}, TypeError, r"validation must be a pair .* ndarray"),
            (
                {"validation": (np.zeros((3, 3)), np.zeros(2, int))},
                ValueError,
                r"validation\[0\] and validation\[1\] must have the same length",
            ),
            ({"model": lambda x: x}, TypeError, "model must be a Layer"),
            ({"x": np.zeros((60, 3), np.uint8)}, TypeError, "floating point, got uint8: divide by"),
            ({"x": np.full((60, 3), np.nan)}, FloatingPointError, "x holds NaN or infinity"),
            ({"epochs": 1.0}, TypeError, "epochs must be an integer, got 1.0"),
            ({"rng": "x"}, TypeError, "rng must be .* a seed"),
            ({"on_interrupt": "stop"}, ValueError, "on_interrupt must be 'raise' or 'return'"),
        ],
    )
    def test_wrong(self, problem, options, error, message):
        arguments = {"model": net(), "x": problem[0], "y": problem[1], **options}
        with np.errstate(all="ignore"), pytest.raises(error, match=message):
            fit(**arguments, progress=False)

    def test_tensors_of_torch(self, problem):
        torch = pytest.importorskip("torch")
        with pytest.raises(TypeError, match=r"write x.detach\(\).cpu\(\).numpy\(\)"):
            quiet(net(), torch.zeros(60, 3), problem[1])

    @pytest.mark.parametrize("make", [lambda: SGD(0.1), Adam])
    def test_an_optimizer_of_another_model(self, problem, make):
        optimizer = make()
        quiet(net(), *problem, optimizer=optimizer)
        with pytest.raises(ValueError, match="optimizer has trained another model"):
            quiet(Sequential(Dense(3, 3)), *problem, optimizer=optimizer)

    def test_integers_of_numpy(self, problem):
        a, b = net(), net()
        quiet(a, *problem, epochs=2, batch_size=16, rng=1)
        quiet(b, *problem, epochs=np.int64(2), batch_size=np.uint8(16), rng=np.int32(1))
        assert same(copies(a), copies(b))


def test_a_layer_used_twice_learns_as_in_torch():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 5)), rng.integers(0, 3, size=40)
    twice = Dense(5, 5, rng=1, dtype=np.float64)
    head = Dense(5, 3, rng=2, dtype=np.float64)
    model = Sequential(twice, Tanh(), Sequential(twice, Tanh()), head)
    s = torch.nn.Linear(5, 5, dtype=torch.float64)
    end = torch.nn.Linear(5, 3, dtype=torch.float64)
    with torch.no_grad():
        for theirs, ours in ((s, twice), (end, head)):
            theirs.weight.copy_(torch.tensor(ours.weight.T))
            theirs.bias.copy_(torch.tensor(ours.bias))
    net_of_torch = torch.nn.Sequential(s, torch.nn.Tanh(), s, torch.nn.Tanh(), end)
    descent = torch.optim.SGD(net_of_torch.parameters(), lr=0.1, momentum=0.9)
    for _ in range(20):
        descent.zero_grad()
        torch.nn.functional.cross_entropy(net_of_torch(torch.tensor(x)), torch.tensor(y)).backward()
        descent.step()
    quiet(model, x, y, epochs=20, batch_size=40, optimizer=SGD(0.1, momentum=0.9))
    np.testing.assert_allclose(twice.weight, s.weight.detach().numpy().T, rtol=1e-8, atol=1e-12)
    np.testing.assert_allclose(head.bias, end.bias.detach().numpy(), rtol=1e-8, atol=1e-12)
    assert model.parameters["0.weight"] is model.parameters["2.0.weight"]


def test_a_history_starts_empty():
    assert len(History()) == 0
    assert History().loss is not History().loss


def test_the_cnn_of_torch_learns_the_same():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    x, y = rng.random((40, 6, 6, 1)), rng.integers(0, 3, size=40)
    model = mlp((6, 6, 1), 3, hidden=7, dtype=np.float64)
    w = {name: torch.tensor(value, requires_grad=True) for name, value in model.parameters.items()}
    adam = torch.optim.Adam(w.values(), lr=0.01)
    order = np.random.default_rng(3)
    for _ in range(3):
        permutation = order.permutation(40)
        for i in range(0, 40, 16):
            batch = permutation[i : i + 16]
            order.integers(2**63)  # the seed that fit draws for Dropout
            hidden = torch.relu(
                torch.tensor(x[batch]).reshape(len(batch), 36) @ w["1.weight"] + w["1.bias"]
            )
            loss = torch.nn.functional.cross_entropy(
                hidden @ w["3.weight"] + w["3.bias"], torch.tensor(y[batch])
            )
            adam.zero_grad()
            loss.backward()
            adam.step()
    quiet(model, x, y, epochs=3, batch_size=16, rng=3, optimizer=Adam(0.01))
    for name, value in model.parameters.items():
        np.testing.assert_allclose(value, w[name].detach().numpy(), rtol=1e-8, atol=1e-11)
