"""The checklist: sound attacks pass, and each broken one fails in the line that is meant for it."""

from __future__ import annotations

import dataclasses
from functools import partial

import numpy as np
import pytest

from minadv import data, fgsm, fit, iterative_fgsm, models, ops, pgd
from minadv.autograd import Tensor, grad, raw, record, vjp
from minadv.backend import to_numpy
from minadv.defenses import adversarial_training
from minadv.evaluation import Checklist, Line, checklist
from minadv.evaluation.watching import Watched
from minadv.layers import Dense

EPS = 0.1


@pytest.fixture(scope="module")
def scene():
    """A trained network, and images of which it reads most."""
    d = data.digits()
    model = models.mlp((8, 8, 1), rng=0)
    fit(model, d.x_train, d.y_train, epochs=8, batch_size=16, progress=False)
    return model, d.x_test[:120], d.y_test[:120]


def judge(scene, **settings) -> Checklist:
    model, x, y = scene
    return checklist(**({"model": model, "x": x, "y": y, "eps": EPS, "steps": 5} | settings))


def through_softmax(model, x, y, *, eps, steps):
    """PGD as most code has it: the cross-entropy of probabilities, in float32."""
    size, z = np.float32(eps), x
    for _ in range(steps):

        def loss(z):
            p = ops.clip(ops.softmax(model(z)), 1e-7, 1)
            return -ops.log(p[np.arange(len(y)), y]).sum()

        z = z + np.float32(2.5 / steps) * size * np.sign(grad(loss, z))
        z = np.clip(np.clip(z, x - size, x + size), 0, 1)
    return z


class TestSoundEvaluations:
    @pytest.mark.parametrize("seed", range(3))
    @pytest.mark.parametrize("norm", ["linf", "l2"])
    def test_a_regular_network_passes(self, scene, norm, seed):
        settings = {"linf": {"eps": EPS}, "l2": {"eps": 0.4, "norm": "l2", "steps": 20}}[norm]
        found = judge(scene, rng=seed, **settings)
        assert found.passed, str(found)
        assert found.failed == ()
        assert all(line.passed for line in found.lines)
        assert found.attacked < found.clean - 0.1

    def test_too_few_steps_show_in_the_restarts(self, scene):
        found = judge(scene, eps=0.8, norm="l2", steps=5)
        assert found.failed == ("restarts",)
        assert found["restarts"].numbers["gain"] > 0.03

    def test_an_adversarially_trained_one_passes(self, scene):
        _, x, y = scene
        d, model = data.digits(), models.mlp((8, 8, 1), rng=1)
        attack = partial(pgd, eps=EPS, steps=5, early_stop=False)
        adversarial_training(
            model, d.x_train, d.y_train, attack=attack, epochs=6, batch_size=32, progress=False
        )
        found = judge((model, x, y))
        assert found.passed, str(found)
        assert found.attacked > judge(scene).attacked + 0.1

    def test_what_an_attack_does_not_take_is_left_out(self, scene):
        found = judge(scene, attack=fgsm)
        assert {line.name for line in found.lines if line.passed is None} == {
            "more steps", "restarts"
        }  # fmt: skip
        found = judge(scene, attack=iterative_fgsm)
        assert [line.name for line in found.lines if line.passed is None] == ["restarts"]
        assert found.passed

    def test_closed_form_on_an_affine_model(self):
        """Two classes, w and -w: at eps the images of margin > eps ‖w‖₁ stay right."""
        rng = np.random.default_rng(0)
        w, x = rng.normal(size=6), rng.uniform(-3, 3, (40, 6))
        model = Dense(6, 2, rng=0, dtype=np.float64)
        model.parameters = {"weight": np.stack([-w, w], 1) / 2, "bias": np.zeros(2)}
        y = (x @ w > 0).astype(int)
        margin, norm = abs(x @ w), abs(w).sum()
        y[:4] = 1 - y[:4]  # read wrong, so lost at any eps
        found = checklist(model, x, y, eps=0.5, steps=3, bounds=(-9.0, 9.0), rng=1)
        assert found.passed, str(found)
        assert (found.images, found.clean) == (40, 0.9)
        for eps in (0.25, 0.5, 1.0, 18.0):
            expected = (margin[4:] > eps * norm).sum() / 40
            assert found["larger eps"].numbers[f"eps={eps:.3g}"] == pytest.approx(expected)
        assert found.attacked == found["more steps"].numbers["steps=1"]
        assert found["restarts"].numbers["gain"] == 0
        assert found["the ball"].numbers["largest"] == 0.5
        assert found["gradient"].numbers["cosine"] == pytest.approx(1, abs=1e-6)
        other = checklist(model, x, y, eps=0.5, steps=3, bounds=(-9.0, 9.0), substitute=model)
        assert other["transfer"].numbers["left"] == found.attacked


def stays(model, x, y, *, eps):
    return x


def descends(model, x, y, *, eps):
    return 2 * x - fgsm(model, x, y=y, eps=eps).x_adv  # outside bounds, too


def too_far(model, x, y, *, eps):
    return fgsm(model, x, y=y, eps=1.5 * eps).x_adv


def outside(model, x, y, *, eps):
    return fgsm(model, x, y=y, eps=eps, bounds=(-1.0, 2.0)).x_adv


def goes_back(model, x, y, *, eps, steps):
    return fgsm(model, x, y=y, eps=eps / steps).x_adv


def gives_up(model, x, y, *, eps):
    return pgd(model, x, y=y, eps=eps).x_adv if 0.1 <= eps < 0.15 else x


def lazy(model, x, y, *, eps, rng):
    tried = np.random.default_rng(rng).random(len(x)) < 0.5
    return np.where(tried[:, None, None, None], fgsm(model, x, y=y, eps=eps).x_adv, x)


class TestBrokenAttacks:
    @pytest.mark.parametrize(
        ("attack", "fails"),
        [
            (stays, {"no bound", "transfer", "random noise"}),
            (descends, {"the ball", "no bound", "transfer", "random noise"}),
            (too_far, {"the ball"}),
            (outside, {"the ball"}),
            (goes_back, {"more steps", "transfer"}),
            (gives_up, {"larger eps", "no bound"}),
            (lazy, {"restarts", "no bound", "transfer"}),
        ],
    )
    def test_each_fails_in_its_lines(self, scene, attack, fails):
        found = judge(scene, attack=attack, substitute=scene[0], slack=0.01)
        assert fails <= set(found.failed), str(found)
        allowed = fails | {"more steps"} if attack is descends else fails
        assert set(found.failed) <= allowed | {"no bound"}, str(found)
        assert not found.passed

    def test_a_masked_gradient(self, scene):
        """Logits times 40: what an attack through probabilities must fail, and margins pass."""
        model, x, y = scene
        x, y, loud = x[:80], y[:80], lambda x: 40 * model(x)
        found = judge((loud, x, y), attack=through_softmax, substitute=model)
        assert set(found.failed) >= {"zero gradients", "gradient", "no bound", "transfer"}
        assert found["zero gradients"].numbers["zero"] > 0.3
        assert found["gradient"].numbers["cosine"] < 0.5
        assert judge((loud, x, y)).passed
        own = judge((loud, x, y), attack=through_softmax, eps=0.2)  # the substitute learns from x
        assert "transfer" in own.failed

    def test_a_wrong_gradient_rule(self, scene):
        """A planted bug: the model's gradient is that of the image turned by a quarter."""
        model, x, y = scene

        def turned(x):
            value, pull = vjp(model, raw(x))
            return record(value, (x, lambda g: np.rot90(pull(g), axes=(1, 2)).copy()))

        found = judge((turned, x, y))
        assert "gradient" in found.failed
        assert found["gradient"].numbers["cosine"] < 0.6
        assert found["zero gradients"].passed

    def test_an_attack_by_queries_asks_for_no_gradient(self, scene):
        found = judge(scene, attack=stays)
        assert found["gradient"].passed is found["zero gradients"].passed is None
        assert "asks for no gradient" in found["gradient"].found


class TestWatched:
    def test_it_is_the_model_and_remembers_its_gradients(self, scene):
        model, x, y = scene
        watched = Watched(model)
        plain = iterative_fgsm(model, x, y=y, eps=EPS, steps=2)
        seen = iterative_fgsm(watched, x, y=y, eps=EPS, steps=2)
        assert np.array_equal(plain.x_adv, seen.x_adv)
        assert sum(len(g) for _, g in watched.seen) == 2 * len(x)
        assert watched.zero_share() == 0
        assert isinstance(vjp(watched, x[:1])[0], np.ndarray)
        assert not isinstance(watched(x[:1]), Tensor)

    def test_the_share_of_zeros(self):
        """A ReLU that is off for the negative half of the inputs."""
        x = np.array([[-1.0, 0], [2, 0], [-3, 0], [4, 0]])
        watched = Watched(lambda x: ops.relu(x) * np.array([[1.0, 0]]))
        _, pull = vjp(watched, x)
        pull(np.ones((4, 2)))
        assert watched.zero_share() == 0.5
        assert Watched(lambda x: x).zero_share() is None


class TestTable:
    def test_it_fits_a_terminal_and_says_what_failure_means(self, scene):
        found = judge(scene, attack=stays)
        table = str(found).splitlines()
        assert max(map(len, table)) <= 80
        assert table[0].startswith("120 images: ")
        for line in found.lines:
            assert any(row.startswith(("ok", "FAILS", "-")) and line.name in row for row in table)
            said = " ".join(str(found).split())
            assert (line.meaning.split(":")[0] in said) == (line.passed is False)
        assert isinstance(found["no bound"], Line)
        with pytest.raises(KeyError, match="the lines are zero gradients, gradient"):
            found["nothing"]
        with pytest.raises(dataclasses.FrozenInstanceError):
            found.eps = 1

    def test_the_same_seed_gives_the_same_numbers(self, scene):
        one, two, other = (judge(scene, rng=seed) for seed in (3, np.random.default_rng(3), 4))
        assert str(one) == str(two)
        assert [line.numbers for line in one.lines] == [line.numbers for line in two.lines]
        assert str(one) != str(other)

    def test_nothing_given_is_changed(self, scene):
        model, x, y = scene
        before, weights = x.copy(), {k: v.copy() for k, v in model.parameters.items()}
        x.flags.writeable = y.flags.writeable = False
        judge(scene)
        x.flags.writeable = y.flags.writeable = True
        assert np.array_equal(x, before)
        assert all(np.array_equal(v, weights[k]) for k, v in model.parameters.items())

    def test_backends(self, xp, scene):
        model, x, y = scene
        there = models.mlp((8, 8, 1))
        there.parameters = {name: xp.asarray(v) for name, v in model.parameters.items()}
        found = checklist(there, xp.asarray(x[:40]), xp.asarray(y[:40]), eps=EPS, steps=3)
        here = checklist(model, x[:40], y[:40], eps=EPS, steps=3)
        for a, b in zip(found.lines, here.lines, strict=True):
            assert a.passed == b.passed
            assert a.numbers == pytest.approx(b.numbers, abs=1e-3), a.name
        assert to_numpy(xp.asarray(x)).shape == x.shape


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"eps": 0}, ValueError, "eps must be > 0"),
        ({"eps": np.nan}, ValueError, "eps must be finite"),
        ({"steps": 0}, ValueError, "steps must be >= 1"),
        ({"restarts": -1}, ValueError, "restarts must be >= 0"),
        ({"draws": 0}, ValueError, "draws must be >= 1"),
        ({"slack": 1}, ValueError, "slack must be < 1"),
        ({"norm": "l1"}, ValueError, "norm must be 'linf' or 'l2'"),
        ({"rng": None}, TypeError, "rng must be"),
        ({"progress": 1}, TypeError, "progress must be True or False"),
        ({"attack": 3}, TypeError, "attack must be a function"),
        ({"attack": lambda model, x, y: x}, TypeError, "attack is called as .*eps"),
        ({"attack": partial(pgd, eps=0.1)}, ValueError, "attack must leave eps open"),
        ({"attack": partial(pgd, norm="l2")}, ValueError, "leave norm open.*got norm='l2'"),
        ({"attack": lambda m, x, y, eps: x[:1]}, ValueError, "attack must return images of shape"),
        ({"attack": lambda m, x, y, eps: 1}, TypeError, r"attack\(model, x, y=y\) must be"),
        ({"substitute": 3}, TypeError, "substitute must be a function"),
        ({"model": 3}, TypeError, "model must be a function"),
        ({"y": np.full(120, 99)}, ValueError, r"y must lie in 0\.\.9"),
    ],
)
def test_bad_input(scene, settings, error, message):
    with pytest.raises(error, match=message):
        judge(scene, **settings)


def test_no_image_is_read_right(scene):
    model, x, y = scene
    wrong = (model(x).argmax(axis=1) + 1) % 10
    with pytest.raises(ValueError, match="an image that the model reads right, got none"):
        checklist(model, x, wrong, eps=EPS)
    with pytest.raises(ValueError, match="at least one example"):
        checklist(model, x[:0], y[:0], eps=EPS)
