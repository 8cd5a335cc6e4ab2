import itertools
import os
import subprocess
import sys

import matplotlib
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.quiver import Quiver
from matplotlib.text import Text
from PIL import Image

from minadv import plotting
from minadv.attacks.result import AttackResult
from minadv.evaluation import accuracy_curve, roc_curve
from minadv.training import History

NAMES = ["cat", "Egyptian cat", "African chameleon, Chamaeleo chamaeleon"]


def model(x):
    """Three classes: dark, medium, bright."""
    brightness = x.reshape(len(x), -1).mean(axis=1)[:, None]
    return -20 * (brightness - np.array([0.1, 0.5, 0.9], x.dtype)) ** 2


def digits(count, channels=1, seed=0):
    return np.random.default_rng(seed).random((count, 8, 8, channels), dtype=np.float32)


def attacked(count, channels=1, eps=0.125):
    x = digits(count, channels)
    x_adv = np.clip(x + eps * np.sign(digits(count, channels, seed=1) - 0.5), 0, 1).astype(
        np.float32
    )
    label = model(x_adv).argmax(axis=1)
    return AttackResult(x, x_adv, label=label, success=label != 1, steps=np.ones(count, int))


def curve():
    x = digits(20)
    return accuracy_curve(
        model, lambda eps: np.clip(x - eps, 0, 1), np.ones(20, int), [0, 0.1, 0.2, 0.3]
    )


def a_history():
    return History(
        loss=[2.0, 1.0, 0.8],
        validation_loss=[2.1, 1.5, 1.4],
        validation_accuracy=[0.5, 0.7, 0.8],
        seconds=[1, 1, 1],
    )


def normal(count, mean=0.0):
    return np.random.default_rng(0).normal(mean, 1, count)


LONG = (
    "A title that is so long that it cannot possibly stand in a single line "
    "above the figure it belongs to"
)
GALLERY = {
    "mosaic": lambda: plotting.mosaic(digits(100), title=LONG),
    "mosaic in RGB": lambda: plotting.mosaic(digits(5, 3), rows=2, columns=3),
    "image": lambda: plotting.image(digits(1)[0], label=2, confidence=0.985, class_names=NAMES),
    "images": lambda: plotting.images(
        digits(7),
        labels=np.arange(7) % 3,
        confidences=np.linspace(0, 1, 7),
        class_names=NAMES,
        columns=4,
        title=LONG,
    ),
    "attack on one": lambda: plotting.attack_figure(
        attacked(1), model, class_names=NAMES, title=LONG
    ),
    "attack on one in RGB": lambda: plotting.attack_figure(
        attacked(1, 3), model, class_names=NAMES[::-1]
    ),
    "attack on ten": lambda: plotting.attack_figure(attacked(10), model, title=LONG),
    "attack with long names": lambda: plotting.attack_figure(
        attacked(4), model, class_names=[NAMES[2]] * 3
    ),
    "attack in RGB": lambda: plotting.attack_figure(attacked(2, 3), model, class_names=NAMES),
    "curves": lambda: plotting.curves(
        {LONG: ([0, 1], [0, 1]), "b": ([0, 1], [1, 0])},
        xlabel="ε",
        ylabel="accuracy",
        percent=True,
        title=LONG,
    ),
    "epsilon_curves": lambda: plotting.epsilon_curves(
        {"FGSM": curve(), "uniform noise": curve()}, title=LONG
    ),
    "history": lambda: plotting.history(a_history(), title="Training"),
    "history of loss alone": lambda: plotting.history({"loss": [3, 2, 1]}, title=LONG),
    "bars": lambda: plotting.bars(
        {
            "FGSM": {"conv 1": 1, "random resizing and padding": 3.25},
            "noise": {"conv 1": 0.1, "random resizing and padding": 0.2},
        },
        ylabel="difference",
        title=LONG,
    ),
    "histogram": lambda: plotting.histogram(
        {"clean": normal(50), "adversarial": normal(90, 3)},
        xlabel="KL divergence",
        threshold=1.5,
        title=LONG,
    ),
    "scatter": lambda: plotting.scatter(
        digits(40)[:, 0, :2, 0],
        np.arange(40) % 10,
        marked={"clean": np.eye(2)},
        arrows=(np.eye(2), -np.eye(2)),
        title=LONG,
    ),
    "heatmap": lambda: plotting.heatmap(np.linspace(-1, 2, 64).reshape(8, 8), title=LONG),
    "heatmap with names": lambda: plotting.heatmap(
        np.eye(6),
        rows=NAMES * 2,
        columns=NAMES * 2,
        xlabel="judge",
        ylabel="attacked",
        numbers=".0%",
        limits=(0, 1),
    ),
}
gallery = pytest.mark.parametrize("draw", GALLERY.values(), ids=GALLERY.keys())


def texts(figure):
    """Every text that is drawn; an axis keeps ticks beyond its ends, too, and does not draw
    them."""
    figure.draw_without_rendering()
    beyond = set()
    for axis in figure.findobj(matplotlib.axis.Axis):
        low, high = sorted(axis.get_view_interval())
        beyond.update(
            label
            for tick in axis.get_major_ticks()
            if not low <= tick.get_loc() <= high
            for label in (tick.label1, tick.label2)
        )
    found = figure.findobj(
        lambda artist: isinstance(artist, Text) and artist.get_visible() and artist.get_text()
    )
    return [text for text in found if text not in beyond]


def titles(figure):
    return [ax.get_title() for ax in figure.axes if ax.get_title()]


def legend(figure):
    """The name of each line, bar or marker, and what it is drawn with."""
    (found,) = [ax.get_legend() for ax in figure.axes if ax.get_legend()]
    return dict(
        zip([text.get_text() for text in found.get_texts()], found.legend_handles, strict=True)
    )


def pictures(figure):
    return [
        image for image in figure.findobj(AxesImage) if image.get_array().shape[:2] != (256, 1)
    ]  # no color bars


def pixels(figure, dpi=100):
    """What is seen, (rows, columns, RGB) from the top."""
    figure.set_dpi(dpi)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].astype(int)


def seen_at(figure, ax, x, y):
    """The color at the place (x, y) of ``ax``."""
    screen = pixels(figure)
    column, row = ax.transData.transform((x, y))
    return screen[int(len(screen) - row), int(column)]


class TestEveryFigure:
    @gallery
    def test_it_is_readable_and_changes_no_setting(self, draw):
        """Each text is inside the figure, large enough and not over another; no legend hides
        anything; each image is an inch wide."""
        before = dict(matplotlib.rcParams)
        figure = draw()
        assert dict(matplotlib.rcParams) == before
        assert type(figure) is Figure

        boxes = {text: text.get_window_extent() for text in texts(figure)}
        for text, box in boxes.items():
            assert text.get_fontsize() >= 8, text
            inside = (
                box.x0 >= -1
                and box.y0 >= -1
                and box.x1 <= figure.bbox.x1 + 1
                and box.y1 <= figure.bbox.y1 + 1
            )
            assert inside, f"cut off: {text}"
        upright = [text for text in boxes if text.get_rotation() in (0, 90)]
        for one, other in itertools.combinations(upright, 2):
            apart = not boxes[one].padded(-1).overlaps(boxes[other].padded(-1))
            assert apart, f"{one} lies over {other}"
        for one, other in itertools.product(figure.axes, repeat=2):
            hidden = one.get_legend() and one.get_legend().get_window_extent().overlaps(
                other.get_window_extent()
            )
            assert not hidden, "the legend lies over an axes"
        for picture in pictures(figure):
            box = picture.axes.get_window_extent()
            assert min(box.width, box.height) >= figure.dpi

    @pytest.mark.parametrize(
        "odd", [r"a$\frac$b.png", "$5 of $10", "100 % \\ {x", "a\nb", "\u202ebackward"]
    )
    def test_names_are_drawn_as_they_are(self, odd):
        """Dollars are no formulas: one half of a pair would fail, and two would vanish."""
        plotting.mosaic(np.zeros((1, 2, 2, 1)), title=odd).canvas.draw()
        drawn = [
            plotting.curves({odd: ([0, 1], [0, 1])}, xlabel="x", ylabel="y", title=odd),
            plotting.bars({odd: {odd: 1.0}, "b": {odd: 2.0}}, ylabel="y"),
            plotting.heatmap(np.eye(2), rows=[odd, "b"], columns=[odd, "b"]),
        ]
        for figure in drawn:
            figure.canvas.draw()
            formulas = [text for text in texts(figure) if "$" in text.get_text()]
            assert not any(text.get_parse_math() for text in formulas)
            assert bool(formulas) == ("$" in odd)

    @pytest.mark.parametrize("name", ["attack on one", "curves"])
    def test_the_callers_settings_do_not_show(self, name):
        plain = pixels(GALLERY[name]())
        with matplotlib.rc_context(
            {"font.size": 30, "axes.facecolor": "black", "image.cmap": "jet", "lines.linewidth": 9}
        ):
            figure = GALLERY[name]()
        assert np.array_equal(pixels(figure), plain)

    def test_without_pyplot_and_without_a_display(self):
        code = "import sys, minadv.plotting as p, numpy as np; p.mosaic(np.zeros((1, 2, 2, 1))); "
        code += "assert 'matplotlib.pyplot' not in sys.modules"
        environment = {
            name: value
            for name, value in os.environ.items()
            if name not in ("DISPLAY", "MPLBACKEND")
        }
        subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, env=environment)


class TestImages:
    def test_pixels_are_drawn_as_they_are(self):
        """Squares of one color without a blend, black at 0 and white at 1 though neither occurs."""
        x = np.array([[0.25, 0.5], [0.5, 0.75]]).reshape(1, 2, 2, 1)
        figure = plotting.image(x[0])
        (ax,) = figure.axes
        for row, column in np.ndindex(2, 2):
            for at in [-0.48, 0, 0.48]:
                expected = round(255 * x[0, row, column, 0])
                assert np.abs(seen_at(figure, ax, column + at, row + at) - expected).max() <= 1

    def test_bounds_are_black_and_white(self):
        for bounds, expected in [((0, 1), 64), ((-1, 1), 159), ((0, 0.5), 128)]:
            gray = plotting.image(np.full((2, 2, 1), 0.25), bounds=bounds)
            rgb = plotting.image(np.full((2, 2, 3), 0.25), bounds=bounds)
            for figure in gray, rgb:
                assert np.abs(seen_at(figure, figure.axes[0], 0.5, 0.5) - expected).max() <= 1
            assert pictures(gray)[0].get_clim() == bounds

    def test_colors_are_not_swapped(self):
        figure = plotting.image(np.array([[[1.0, 0.5, 0.0]]]))
        assert np.abs(seen_at(figure, figure.axes[0], 0, 0) - [255, 128, 0]).max() <= 1

    def test_mosaic(self):
        x = digits(5)
        (picture,) = pictures(plotting.mosaic(x, rows=2, columns=3))
        drawn = np.asarray(picture.get_array())
        assert drawn.shape == (2 * 9 + 1, 3 * 9 + 1)
        for n, (row, column) in enumerate([(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]):
            tile = (slice(1 + 9 * row, 9 + 9 * row), slice(1 + 9 * column, 9 + 9 * column))
            assert np.array_equal(drawn[tile], x[n, ..., 0])
            drawn[tile] = 0.5
        assert (drawn == 0.5).all()  # between them, and where there is no sixth
        assert (picture.get_interpolation(), picture.get_clim()) == ("nearest", (0, 1))
        with pytest.raises(ValueError, match="at most rows [*] columns = 4 images, got 5"):
            plotting.mosaic(x, rows=2, columns=2)

    def test_captions(self):
        figure = plotting.images(
            digits(3),
            labels=[0, 1, 0],
            confidences=[0.98512, 1, 0.5],
            class_names=["cat", "$dog_$"],
        )
        assert titles(figure) == ["cat, 98.5%", "$dog_$, 100.0%", "cat, 50.0%"]
        assert titles(plotting.images(digits(2), labels=np.array([3, 8]))) == ["3", "8"]
        assert titles(plotting.images(digits(2), confidences=[0.5, 0.25])) == ["50.0%", "25.0%"]
        assert titles(
            plotting.image(digits(1)[0], label=np.int64(7), confidence=np.float32(0.85))
        ) == ["7, 85.0%"]
        assert titles(plotting.image(digits(1)[0])) == []

    def test_a_name_that_looks_like_math_is_a_name(self):
        figure = plotting.image(digits(1)[0], label=0, class_names=["$\\notacommand$"])
        figure.draw_without_rendering()

    def test_a_grid_with_empty_cells(self):
        figure = plotting.images(digits(5), columns=3)
        assert len(figure.axes) == 6
        assert [ax.axison for ax in figure.axes] == [True] * 5 + [False]
        assert len(pictures(figure)) == 5

    @pytest.mark.parametrize("draw", [plotting.mosaic, plotting.images], ids=["mosaic", "images"])
    @pytest.mark.parametrize(
        ("x", "error", "message"),
        [
            (
                np.zeros((1, 2, 2, 1), np.uint8),
                TypeError,
                "x must be floating point, got dtype uint8",
            ),
            (np.zeros((2, 2, 1)), ValueError, r"\(N, H, W, 1\) or \(N, H, W, 3\), got \(2, 2, 1\)"),
            (np.zeros((1, 2, 2, 2)), ValueError, r"got \(1, 2, 2, 2\)"),
            (np.zeros((0, 2, 2, 1)), ValueError, r"got \(0, 2, 2, 1\)"),
            (
                np.full((1, 2, 2, 1), 1.01),
                ValueError,
                r"x must lie inside bounds \(0.0, 1.0\), got 1.01",
            ),
            (np.full((1, 2, 2, 1), np.nan), ValueError, "got nan"),
        ],
    )
    def test_bad_images(self, draw, x, error, message):
        with pytest.raises(error, match=message):
            draw(x)

    def test_bad_labels(self):
        with pytest.raises(TypeError, match="labels must hold integers, got dtype float64"):
            plotting.images(digits(2), labels=[0.0, 1.0])
        with pytest.raises(TypeError, match="labels must hold integers, got dtype float64"):
            plotting.image(digits(1)[0], label=2.5)
        with pytest.raises(ValueError, match=r"labels must have shape \(2,\), got \(3,\)"):
            plotting.images(digits(2), labels=[0, 1, 2])
        with pytest.raises(ValueError, match="confidences must hold 2 shares, got 1"):
            plotting.images(digits(2), confidences=[0.5])
        with pytest.raises(ValueError, match="class_names must name label 2, got 2 names"):
            plotting.images(digits(1), labels=[2], class_names=["a", "b"])
        with pytest.raises(ValueError, match="class_names must name label -1"):
            plotting.images(digits(1), labels=[-1], class_names=["a", "b"])

    def test_on_every_backend(self, xp):
        x, labels = xp.asarray(digits(2)), xp.asarray([0, 1])
        figure = plotting.images(x, labels=labels, confidences=xp.asarray([0.5, 0.25]))
        assert titles(figure) == ["0, 50.0%", "1, 25.0%"]
        assert titles(plotting.image(x[0], label=labels[1], confidence=xp.asarray(0.5))) == [
            "1, 50.0%"
        ]
        assert len(pictures(plotting.mosaic(x))) == 1


class TestAttackFigure:
    def test_one_example_in_a_row(self):
        result = attacked(1)
        figure = plotting.attack_figure(result, model, class_names=["dark", "medium", "bright"])
        original, perturbation, adversarial = titles(figure)
        assert perturbation == "perturbation\n±0.125"
        confidence = np.exp(model(result.x)).max() / np.exp(model(result.x)).sum()
        assert original == f"original\nmedium, {confidence:.1%}"
        assert adversarial.startswith("adversarial\nmedium, ")

    def test_several_examples_in_columns(self):
        x = np.stack([np.full((4, 4, 1), value, np.float32) for value in (0.1, 0.5, 0.9)])
        result = AttackResult(
            x,
            x[[1, 2, 0]],
            label=np.array([1, 2, 0]),
            success=np.ones(3, bool),
            steps=np.ones(3, int),
        )
        figure = plotting.attack_figure(result, model)
        assert [title.split(",")[0] for title in titles(figure)] == ["0", "1", "2", "1", "2", "0"]
        assert [ax.get_ylabel() for ax in figure.axes if ax.get_ylabel()] == [
            "original",
            "perturbation\n±0.8",
            "adversarial",
        ]
        drawn = np.array(
            [np.asarray(picture.get_array())[0, 0] for picture in pictures(figure)]
        ).reshape(3, 3)
        np.testing.assert_allclose(
            drawn, [[0.1, 0.5, 0.9], [0.4, 0.4, -0.8], [0.5, 0.9, 0.1]], rtol=1e-6
        )

    @pytest.mark.parametrize(("count", "scale"), [(1, None), (3, None), (3, 0.5)])
    def test_a_gray_perturbation_has_a_symmetric_scale(self, count, scale):
        figure = plotting.attack_figure(attacked(count), model, scale=scale)
        limits = [picture.get_clim() for picture in pictures(figure)]
        s = scale or 0.125
        assert limits == [(0, 1)] * count + [(-s, s)] * count + [(0, 1)] * count
        (bar,) = [bar for ax in figure.axes for bar in ax.child_axes]
        assert [text.get_text() for text in bar.get_yticklabels()] == [
            f"−{s:.3g}",
            "0",
            f"+{s:.3g}",
        ]
        assert bar.get_yticks().tolist() == [-s, 0, s]

    def test_no_change_is_white_less_is_blue_and_more_is_red(self):
        x = np.full((1, 1, 3, 1), 0.5, np.float32)
        change = np.array([-0.25, 0, 0.25], np.float32).reshape(x.shape)
        figure = plotting.attack_figure(AttackResult(x, x + change, *[np.zeros(1, int)] * 3), model)
        less, none, more = [seen_at(figure, figure.axes[1], column, 0) for column in range(3)]
        assert np.ptp(none) <= 3
        assert none.min() > 240
        assert less[2] > less[0] + 50
        assert more[0] > more[2] + 50

    @pytest.mark.parametrize("scale", [None, 0.25])
    def test_an_rgb_perturbation_is_gray_where_nothing_changes(self, scale):
        result = attacked(2, 3)
        figure = plotting.attack_figure(result, model, scale=scale)
        s = scale or 0.125
        for n in range(2):
            np.testing.assert_allclose(
                pictures(figure)[2 + n].get_array(),
                result.perturbation[n] / (2 * s) + 0.5,
                atol=1e-6,
            )
        assert f"perturbation\n±{s:.3g}, gray = 0" in [ax.get_ylabel() for ax in figure.axes]

    def test_beyond_the_scale_the_colors_saturate(self):
        result = attacked(1, 3)
        drawn = np.asarray(
            pictures(plotting.attack_figure(result, model, scale=0.01))[1].get_array()
        )
        assert (drawn.min(), drawn.max()) == (0, 1)
        assert np.array_equal(drawn == 1, result.perturbation[0] >= 0.01)

    @pytest.mark.parametrize("channels", [1, 3])
    def test_an_attack_that_changed_nothing(self, channels):
        result = attacked(2, channels, eps=0)
        assert not result.perturbation.any()
        plotting.attack_figure(result, model).draw_without_rendering()

    def test_what_came_in_is_unchanged(self):
        result = attacked(2)
        x, x_adv = result.x.copy(), result.x_adv.copy()
        plotting.attack_figure(result, model)
        assert np.array_equal(result.x, x)
        assert np.array_equal(result.x_adv, x_adv)

    def test_bad_arguments(self):
        for scale in (0, -0.1, np.nan):
            with pytest.raises(ValueError, match=f"scale must be .*, got {scale}"):
                plotting.attack_figure(attacked(1), model, scale=scale)
        outside = attacked(1)
        outside.x_adv[0, 0, 0] = 1.1
        with pytest.raises(ValueError, match=r"result.x_adv must lie inside bounds \(0.0, 1.0\)"):
            plotting.attack_figure(outside, model)

    def test_on_every_backend(self, xp):
        x = xp.asarray(digits(2))
        result = AttackResult(x, 1 - x, *[xp.asarray([1, 1])] * 3)
        figure = plotting.attack_figure(result, lambda x: x[:, 0, :3, 0])
        assert len(titles(figure)) == 4


class TestLines:
    def test_curves(self):
        figure = plotting.curves(
            {"FGSM": ([0, 0.1], [1, 0.25]), "noise": ([0, 0.2], [1, 1])},
            xlabel="ε",
            ylabel="accuracy",
        )
        (ax,) = figure.axes
        assert (ax.get_xlabel(), ax.get_ylabel()) == ("ε", "accuracy")
        assert [line.get_xydata().tolist() for line in ax.lines] == [
            [[0, 1], [0.1, 0.25]],
            [[0, 1], [0.2, 1]],
        ]
        assert list(legend(figure)) == ["FGSM", "noise"]

    def test_no_two_lines_look_alike_even_in_black_and_white(self):
        many = {str(i): ([0, 1], [i, i]) for i in range(20)}
        (ax,) = plotting.curves(many, xlabel="x", ylabel="y").axes
        assert (
            len({(line.get_color(), line.get_linestyle(), line.get_marker()) for line in ax.lines})
            == 20
        )
        assert len({(line.get_linestyle(), line.get_marker()) for line in ax.lines[:10]}) == 10

    def test_percent(self):
        figure = plotting.curves({"a": ([0, 1], [0.4, 0.6])}, xlabel="x", ylabel="y", percent=True)
        low, high = figure.axes[0].get_ylim()
        assert -0.1 < low <= 0
        assert 1 <= high < 1.1
        assert {"0%", "20%", "100%"} <= {text.get_text() for text in texts(figure)}
        with pytest.raises(ValueError, match="shares from 0 to 1, got 40.0 to 60.0"):
            plotting.curves({"a": ([0, 1], [40, 60])}, xlabel="x", ylabel="y", percent=True)

    def test_a_roc_curve(self):
        roc = roc_curve(normal(200), normal(200, 1))
        line = {
            "detector": (roc.false_positive_rate, roc.true_positive_rate),
            "chance": ([0, 1], [0, 1]),
        }
        figure = plotting.curves(
            line, xlabel="false-positive rate", ylabel="true-positive rate", percent=True
        )
        assert figure.axes[0].lines[0].get_xydata().shape == (len(roc.thresholds), 2)
        figure.draw_without_rendering()

    def test_epsilon_curves(self):
        measured = {"FGSM": curve(), "noise": curve()}
        left, right = plotting.epsilon_curves(measured).axes
        for ax, quantity in [(left, "accuracy"), (right, "confidence")]:
            assert (ax.get_xlabel(), ax.get_ylabel()) == ("ε", quantity)
            for line, values in zip(ax.lines, measured.values(), strict=True):
                assert np.array_equal(
                    line.get_xydata().T, [values.epsilons, getattr(values, quantity)]
                )

    def test_history(self):
        figure = plotting.history(a_history())
        loss, accuracy = figure.axes
        assert [line.get_xydata().tolist() for line in loss.lines] == [
            [[1, 2], [2, 1], [3, 0.8]],
            [[1, 2.1], [2, 1.5], [3, 1.4]],
        ]
        assert [line.get_xydata().tolist() for line in accuracy.lines] == [
            [[1, 0.5], [2, 0.7], [3, 0.8]]
        ]
        assert loss.get_ylim()[0] == 0
        validation = legend(figure)["validation"]
        assert validation.get_color() == loss.lines[1].get_color() == accuracy.lines[0].get_color()
        assert list(legend(figure)) == ["training", "validation"]

    def test_history_from_keys(self):
        figure = plotting.history(
            {"loss": np.array([2.0, 1.0]), "accuracy": [], "validation_accuracy": None}
        )
        (ax,) = figure.axes
        assert ax.get_ylabel() == "loss"
        assert list(legend(figure)) == ["training"]
        ticks = [text.get_text() for text in texts(figure) if text in ax.get_xticklabels()]
        assert ticks == ["1", "2"]

    def test_bad_lines(self):
        with pytest.raises(ValueError, match="at least one line"):
            plotting.curves({}, xlabel="x", ylabel="y")
        with pytest.raises(ValueError, match="at least one line"):
            plotting.epsilon_curves({})
        with pytest.raises(
            ValueError,
            match=r"lines\['a'\] must be two arrays of one length, got shapes \(2,\) and \(3,\)",
        ):
            plotting.curves({"a": ([0, 1], [1, 2, 3])}, xlabel="x", ylabel="y")
        with pytest.raises(ValueError, match="at least one epoch"):
            plotting.history(History())


class TestBarsAndPoints:
    def test_bars(self):
        series = {"FGSM": {"a": 1.0, "b": 12.94}, "noise": {"b": 0.5, "a": 0.25}}
        figure = plotting.bars(series, ylabel="difference")
        (ax,) = figure.axes
        assert [[bar.get_height() for bar in group] for group in ax.containers] == [
            [1, 12.94],
            [0.25, 0.5],
        ]
        assert [text.get_text() for text in ax.texts] == ["1", "12.9", "0.25", "0.5"]
        assert [text.get_text() for text in ax.get_xticklabels()] == ["a", "b"]
        places = np.array(
            [[bar.get_x() + bar.get_width() / 2 for bar in group] for group in ax.containers]
        )
        np.testing.assert_allclose(
            places.mean(axis=0), [0, 1], atol=1e-12
        )  # each group stands over its name
        assert list(legend(figure)) == ["FGSM", "noise"]

    def test_bars_in_percent_start_at_zero(self):
        figure = plotting.bars(
            {"accuracy": {"a": 0.014, "b": 1.0}}, ylabel="accuracy", percent=True
        )
        (ax,) = figure.axes
        assert ax.get_ylim()[0] == 0
        assert [text.get_text() for text in ax.texts] == ["1%", "100%"]
        with pytest.raises(ValueError, match="shares from 0 to 1"):
            plotting.bars({"accuracy": {"a": 98.5}}, ylabel="accuracy", percent=True)

    def test_bars_must_match(self):
        for series in ({}, {"a": {}}, {"a": {"x": 1}, "b": {"y": 1}}):
            with pytest.raises(ValueError, match="series must have the same groups"):
                plotting.bars(series, ylabel="y")

    def test_histogram_of_shares_on_common_bins(self):
        samples = {"clean": [0.0, 0, 0, 1], "adversarial": [3.0, 4, 4, 4, 4, 4, 4, 4]}
        figure = plotting.histogram(samples, xlabel="KL", bins=4, threshold=2.5)
        (ax,) = figure.axes
        outlines = [patch.get_path().vertices for patch in ax.patches]
        for outline in outlines:
            assert set(outline[:, 0]) == {0, 1, 2, 3, 4}
        assert [outline[:, 1].max() for outline in outlines] == [
            0.75,
            1,
        ]  # 4.0 belongs to the last bin, as 3.0 does
        assert ax.lines[0].get_xdata() == [2.5, 2.5]
        assert list(legend(figure)) == ["clean", "adversarial", "threshold 2.5"]

    @pytest.mark.parametrize(
        "samples", [{}, {"a": []}, {"a": [1.0, np.nan]}, {"a": [1.0], "b": [np.inf]}]
    )
    def test_bad_samples(self, samples):
        with pytest.raises(ValueError, match="samples must hold finite numbers under each name"):
            plotting.histogram(samples, xlabel="x")

    def test_scatter(self):
        points, labels = np.arange(12.0).reshape(6, 2), np.array([0, 2, 0, 2, 2, 0])
        figure = plotting.scatter(
            points, labels, class_names=["cat", "dog", "eel"], marked={"clean": points[:2]}
        )
        (ax,) = figure.axes
        cats, eels, clean = ax.collections
        assert np.array_equal(cats.get_offsets(), points[[0, 2, 5]])
        assert np.array_equal(eels.get_offsets(), points[[1, 3, 4]])
        assert np.array_equal(clean.get_offsets(), points[:2])
        assert list(legend(figure)) == ["cat", "eel", "clean"]
        assert ax.get_aspect() == 1

    def test_a_class_keeps_its_color_whatever_else_is_shown(self):
        both = plotting.scatter(np.eye(2), [0, 1]).axes[0].collections
        one = plotting.scatter(np.eye(2), [1, 1]).axes[0].collections
        assert to_hex(one[0].get_facecolor()[0]) == to_hex(both[1].get_facecolor()[0])

    def test_arrows_lead_from_tails_to_heads_and_are_all_in_view(self):
        tails, heads = np.array([[0.0, 0], [1, 1]]), np.array([[5.0, -7], [2, 9]])
        figure = plotting.scatter(np.eye(2), [0, 1], arrows=(tails, heads))
        (arrows,) = figure.findobj(Quiver)
        assert np.array_equal(arrows.get_offsets(), tails)
        assert np.array_equal(np.stack([arrows.U, arrows.V], axis=1), heads - tails)
        assert (arrows.angles, arrows.scale, arrows.scale_units) == ("xy", 1, "xy")
        figure.draw_without_rendering()
        (left, right), (low, high) = figure.axes[0].get_xlim(), figure.axes[0].get_ylim()
        assert left < 0 < 5 < right
        assert low < -7 < 9 < high

    def test_bad_points(self):
        with pytest.raises(
            ValueError, match=r"points must be points of shape \(N, 2\), got \(2, 3\)"
        ):
            plotting.scatter(np.ones((2, 3)), [0, 1])
        with pytest.raises(ValueError, match=r"labels must have shape \(2,\)"):
            plotting.scatter(np.ones((2, 2)), [0])
        with pytest.raises(ValueError, match=r"marked\['clean'\] must be points"):
            plotting.scatter(np.ones((2, 2)), [0, 1], marked={"clean": [1, 2]})
        with pytest.raises(ValueError, match=r"arrows\[1\] must be points"):
            plotting.scatter(np.ones((2, 2)), [0, 1], arrows=(np.ones((1, 2)), np.ones((1, 3))))


class TestHeatmap:
    @pytest.mark.parametrize(
        ("values", "limits", "expected", "colors"),
        [
            ([[1, 3]], None, (0, 3), "cividis"),
            ([[-1, 3]], None, (-3, 3), "RdBu_r"),
            ([[-5, 3]], None, (-5, 5), "RdBu_r"),
            ([[0, 0]], None, (0, 1), "cividis"),
            ([[0.2, 0.4]], (0, 1), (0, 1), "cividis"),
            ([[0.2, 0.4]], (-1, 1), (-1, 1), "RdBu_r"),
        ],
    )
    def test_scales_begin_at_zero_or_are_symmetric(self, values, limits, expected, colors):
        (picture,) = pictures(plotting.heatmap(values, limits=limits))
        assert (picture.get_clim(), picture.get_cmap().name) == (expected, colors)

    @pytest.mark.parametrize("limits", [(0, 1), (-1, 1)])
    def test_numbers_are_readable_on_their_cells(self, limits):
        """At least 4.5 : 1, what WCAG 2.2 asks of text."""

        def luminance(color):
            linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in color]
            return np.dot([0.2126, 0.7152, 0.0722], linear)

        values = np.linspace(*limits, 81).reshape(9, 9)
        figure = plotting.heatmap(values, numbers=".2f", limits=limits)
        (picture,) = pictures(figure)
        assert [text.get_text() for text in figure.axes[0].texts] == [
            f"{value:.2f}" for value in values.flat
        ]
        for text, value in zip(figure.axes[0].texts, values.flat, strict=True):
            ink, paper = (
                luminance(matplotlib.colors.to_rgb(text.get_color())),
                luminance(picture.to_rgba(value)[:3]),
            )
            assert (max(ink, paper) + 0.05) / (min(ink, paper) + 0.05) >= 4.5

    def test_rows_and_columns_are_where_they_belong(self):
        figure = plotting.heatmap(
            [[0, 0.25, 0.5], [1, 1, 1]], rows=["a", "b"], columns=["x", "y", "z"], numbers=".0%"
        )
        ax = figure.axes[0]
        assert {text.get_text(): text.get_position() for text in ax.texts[:3]} == {
            "0%": (0, 0),
            "25%": (1, 0),
            "50%": (2, 0),
        }
        assert [(text.get_text(), text.get_position()[0]) for text in ax.get_xticklabels()] == [
            ("x", 0),
            ("y", 1),
            ("z", 2),
        ]
        assert [(text.get_text(), text.get_position()[1]) for text in ax.get_yticklabels()] == [
            ("a", 0),
            ("b", 1),
        ]
        assert ax.yaxis_inverted()  # row 0 on top

    def test_bad_arguments(self):
        for values in (np.ones(3), np.ones((0, 3)), [[np.nan]]):
            with pytest.raises(ValueError, match=r"values must be a finite matrix \(R, C\)"):
                plotting.heatmap(values)
        with pytest.raises(ValueError, match="got 3 names for 2"):
            plotting.heatmap(np.eye(2), rows=["a", "b", "c"])
        with pytest.raises(ValueError, match=r"low < high, got \(1, 1\)"):
            plotting.heatmap(np.eye(2), limits=(1, 1))


class TestSave:
    figure = staticmethod(lambda: plotting.mosaic(digits(1), rows=1, columns=1))

    def test_the_alternative_text_is_in_the_file(self, tmp_path):
        alt = "Ten twos; ε = 0.1, ±0.10 — and “the sixes” that come out"
        path = plotting.save(self.figure(), tmp_path / "new" / "folder" / "figure.png", alt=alt)
        assert path == tmp_path / "new" / "folder" / "figure.png"
        with Image.open(path) as png:
            assert png.format == "PNG"
            assert png.text == {"Description": alt}

    def test_all_of_it_is_saved(self, tmp_path):
        """Nothing is cut off at the edge: all around there is white."""
        with Image.open(
            plotting.save(GALLERY["curves"](), tmp_path / "figure.png", alt="Lines")
        ) as png:
            screen = np.asarray(png.convert("RGB"))
        for edge in (screen[0], screen[-1], screen[:, 0], screen[:, -1]):
            assert (edge == 255).all()

    def test_the_same_figure_is_the_same_file(self, tmp_path):
        one, other = (
            plotting.save(self.figure(), tmp_path / name, alt="x").read_bytes()
            for name in ("a.png", "b.png")
        )
        assert one == other

    def test_resolution(self, tmp_path):
        widths = []
        for dpi in (50, 100):
            with Image.open(
                plotting.save(self.figure(), tmp_path / "a.png", alt="x", dpi=dpi)
            ) as png:
                widths.append(png.width)
        assert widths[1] == pytest.approx(2 * widths[0], abs=2)

    def test_whole_or_not_at_all(self, tmp_path, monkeypatch):
        path = plotting.save(self.figure(), tmp_path / "figure.png", alt="before")
        before = path.read_bytes()

        def fail(*_args):
            raise OSError("disk full")

        monkeypatch.setattr(os, "replace", fail)
        monkeypatch.setattr(type(path), "replace", fail)
        with pytest.raises(OSError, match="disk full"):
            plotting.save(self.figure(), path, alt="after")
        assert path.read_bytes() == before
        assert os.listdir(tmp_path) == ["figure.png"]

    def test_a_figure_that_cannot_be_drawn_leaves_nothing(self, tmp_path):
        figure = self.figure()
        figure.suptitle("$\\nosuchcommand$")
        with pytest.raises(ValueError, match="nosuchcommand"):
            plotting.save(figure, tmp_path / "folder" / "figure.png", alt="x")
        assert os.listdir(tmp_path) == []

    @pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX")
    def test_others_may_read_it(self, tmp_path):
        path = plotting.save(self.figure(), tmp_path / "figure.png", alt="x")
        (tmp_path / "plain").touch()
        assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode

    def test_bad_arguments(self, tmp_path):
        with pytest.raises(ValueError, match="path must end in .png, got 'figure.jpg'"):
            plotting.save(self.figure(), tmp_path / "figure.jpg", alt="x")
        for alt in ("", "  ", None):
            with pytest.raises(ValueError, match="alt must say what the figure shows"):
                plotting.save(self.figure(), tmp_path / "figure.png", alt=alt)


# Severe protanomaly, deuteranomaly and tritanomaly in linear RGB: Machado, Oliveira and Fernandes
# 2009, table 1.
VISIONS = {
    "most people": np.eye(3),
    "no red cones": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "no green cones": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.01182, 0.04294, 0.968881],
    ],
    "no blue cones": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.3039],
    ],
}


@pytest.mark.parametrize("vision", VISIONS)
def test_colors_are_told_apart(vision):
    """CIE 1976 differences of at least 15 between any two, where about 2 is just noticed."""

    def lab(color):
        rgb = np.array(matplotlib.colors.to_rgb(color))
        linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
        seen = np.clip(VISIONS[vision] @ linear, 0, 1)
        xyz = (
            np.array([[0.4125, 0.3576, 0.1804], [0.2127, 0.7152, 0.0722], [0.0193, 0.1192, 0.9503]])
            @ seen
        )
        t = xyz / [0.9505, 1, 1.0888]
        f = np.where(t > 216 / 24389, np.cbrt(t), (24389 / 27 * t + 16) / 116)
        return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])

    for one, other in itertools.combinations(plotting.COLORS, 2):
        assert np.linalg.norm(lab(one) - lab(other)) > 15, (one, other)
