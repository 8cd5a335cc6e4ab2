r"""The figures of the documents: images and attacks, curves, distributions, embeddings.

Every function returns a :class:`matplotlib.figure.Figure` of its own, made without pyplot: no
window, no display, no global state, and no figure that stays in memory. :func:`save` writes it as a
PNG that carries its alternative text::

    save(attack_figure(result, model), "attack.png", alt="Ten twos, what the attack adds, and the
    sixes that come out")

Pixels are drawn as they are: one square each, black and white at ``bounds``, never stretched to the
range that occurs. Perturbations have a symmetric scale that is stated. Series differ in color *and*
in marker, line or hatch, so that they can be told apart without seeing colors as most people do.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from pathlib import Path

import matplotlib.style
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from minadv.backend import to_numpy
from minadv.checks import (
    check_array,
    check_bounds,
    check_count,
    check_flag,
    check_mapping,
    check_number,
    check_path,
    check_reals,
    check_text,
)
from minadv.evaluation import EpsilonCurve, confidence, predict
from minadv.files import write_whole

__all__ = [
    "attack_figure",
    "bars",
    "curves",
    "epsilon_curves",
    "heatmap",
    "histogram",
    "history",
    "image",
    "images",
    "mosaic",
    "save",
    "scatter",
]

# Okabe and Ito 2008, "Color Universal Design", without their yellow, too faint for a line on white;
# then three of Paul Tol's.
COLORS = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#000000",
    "#882255",
    "#332288",
    "#661100",
)
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*")
LINES = ("-", "--", "-.", ":")
HATCHES = ("", "//", "..", "\\\\", "xx")
DIVERGING, SEQUENTIAL = "RdBu_r", "cividis"
LETTER = 0.6 * 10 / 72  # inches: the mean width of a letter at 10 points

STYLE = {
    "figure.constrained_layout.use": True,
    "figure.titlesize": 12,
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "hatch.linewidth": 0.5,
}
_styled = matplotlib.style.context(
    ["default", STYLE]
)  # a decorator; the caller's own settings are back afterwards


@_styled
def save(figure: Figure, path, *, alt: str, dpi: int = 150) -> Path:
    """Write ``figure`` to ``path`` as a PNG, whole or not at all, and return the path.

    Arguments: ``figure``; ``path``, which ends in ".png" and whose missing folders are made;
    ``alt``, a sentence for those who cannot see the figure, stored as the PNG's text "Description";
    ``dpi``, pixels per inch. Raises :class:`ValueError` for another ending and for an empty
    ``alt``.
    """
    if not isinstance(figure, Figure):
        raise TypeError(f"figure must be a Matplotlib figure, got {figure!r}")
    path = check_path("path", path)
    check_number("dpi", dpi, least=1)
    if path.suffix != ".png":
        raise ValueError(f"path must end in .png, got {path.name!r}")
    if not isinstance(alt, str) or not alt.strip():
        raise ValueError(f"alt must say what the figure shows, got {alt!r}")
    png = BytesIO()
    metadata = {
        "Description": alt,
        "Software": None,
    }  # no version number: the same figure is the same file
    figure.savefig(
        png, format="png", dpi=dpi, metadata=metadata, bbox_inches="tight", pad_inches=0.1
    )
    return write_whole(path, png.getvalue())


# Images.


@_styled
def mosaic(
    x, *, rows: int = 10, columns: int = 10, bounds=(0.0, 1.0), title: str | None = None
) -> Figure:
    """A batch of images side by side, row by row (B4).

    Arguments: ``x``, at most ``rows * columns`` images (N, H, W, 1) or (N, H, W, 3); ``bounds``,
    the pixel values that are black and white; ``title``. Raises :class:`TypeError` or
    :class:`ValueError` for what is no such batch, and for more images than cells.
    """
    x = _checked(x, bounds, "x")
    rows, columns = check_count("rows", rows), check_count("columns", columns)
    count, height, width, channels = x.shape
    if count > rows * columns:
        raise ValueError(
            f"x must hold at most rows * columns = {rows * columns} images, got {count}"
        )
    gap = sum(bounds) / 2  # a gray line of one pixel between images, and around them
    canvas = np.full((rows * (height + 1) + 1, columns * (width + 1) + 1, channels), gap, x.dtype)
    for n, picture in enumerate(x):
        row, column = divmod(n, columns)
        top, left = 1 + row * (height + 1), 1 + column * (width + 1)
        canvas[top : top + height, left : left + width] = picture
    figure = _image_figure(6, 6 * canvas.shape[0] / canvas.shape[1], title)
    _show(figure.subplots(), canvas, bounds)
    return _titled(figure, title)


@_styled
def images(
    x,
    *,
    labels=None,
    confidences=None,
    class_names=None,
    columns: int = 5,
    bounds=(0.0, 1.0),
    title: str | None = None,
) -> Figure:
    """A grid of images, each titled with its predicted label and confidence (B4).

    Arguments: ``x``, images (N, H, W, 1) or (N, H, W, 3); ``labels``, integers (N,), and
    ``confidences``, shares (N,), both optional; ``class_names``, one name per label, else the
    number is shown; ``columns`` of the grid; ``bounds``, the pixel values that are black and white;
    ``title`` of the whole figure. Raises :class:`TypeError` or
    :class:`ValueError` for what is no such batch, and for labels that do not fit.
    """
    x = _checked(x, bounds, "x")
    columns = min(check_count("columns", columns), len(x))
    rows = -(-len(x) // columns)
    cell = 3.2 if len(x) == 1 else 1.4  # inches
    captions = _captions(len(x), labels, confidences, class_names, cell)
    figure = _image_figure(cell * columns, (cell + _height(captions)) * rows, title)
    for n, ax in enumerate(figure.subplots(rows, columns, squeeze=False).flat):
        if n < len(x):
            _show(ax, x[n], bounds)
            ax.set_title(captions[n], parse_math=False)
        else:
            ax.set_axis_off()
    return _titled(figure, title)


def image(x, *, label=None, confidence=None, class_names=None, bounds=(0.0, 1.0)) -> Figure:
    """One image (H, W, 1) or (H, W, 3), titled with its predicted label and confidence (B4); else
    as :func:`images`."""
    x = check_array("x", x)
    labels = None if label is None else _one("label", label)
    confidences = None if confidence is None else _one("confidence", confidence)
    return images(
        x[None], labels=labels, confidences=confidences, class_names=class_names, bounds=bounds
    )


@_styled
def attack_figure(
    result,
    model: Callable,
    *,
    class_names=None,
    scale: float | None = None,
    bounds=(0.0, 1.0),
    title: str | None = None,
) -> Figure:
    r"""Original, perturbation and adversarial image, with what ``model`` sees in them (C5, D4, E8).

    One example stands in a row, several stand in columns. A perturbation :math:`\delta` is drawn on
    a scale s that is the same for all and is written beside it: for gray images from -s (blue) over
    0 (white) to s (red); for RGB as
    :math:`\delta / 2s + 1/2`, so that no change is gray.

    Arguments: ``result``, an :class:`AttackResult` of N images; ``model``, any callable from images
    to logits; ``class_names``, one name per label; ``scale``, s in pixel values, beyond which the
    colors saturate, by default the largest change; ``bounds``, the pixel values that are black and
    white; ``title``. Raises :class:`TypeError` or
    :class:`ValueError` for images outside ``bounds`` and for a scale <= 0.
    """
    if not (hasattr(result, "x") and hasattr(result, "x_adv")):
        raise TypeError(f"result must be an AttackResult, got {type(result).__name__}")
    before, after = (
        _checked(result.x, bounds, "result.x"),
        _checked(result.x_adv, bounds, "result.x_adv"),
    )
    change = after - before
    if scale is None:
        scale = float(np.abs(change).max()) or 1.0
    scale = check_number("scale", scale, above=0)
    count, gray = len(change), change.shape[-1] == 1
    cell = 2.3 if count == 1 else 1.3  # inches
    names = ["original", f"perturbation\n±{scale:.3g}" + ", gray = 0" * (not gray), "adversarial"]
    captions = [
        _captions(count, predict(model, result.x), confidence(model, result.x), class_names, cell),
        [""] * count,
        _captions(
            count, predict(model, result.x_adv), confidence(model, result.x_adv), class_names, cell
        ),
    ]
    if count == 1:  # a row: each image is named above its caption
        captions = [
            [f"{name}\n{row[0]}".strip()] for name, row in zip(names, captions, strict=True)
        ]
        figure = _image_figure(3 * cell + 0.8, cell + _height(sum(captions, [])), title)
        grid = figure.subplots(1, 3).reshape(3, 1)
    else:  # a column each: the rows are named at the left
        figure = _image_figure(count * cell + 1, 3 * cell + sum(map(_height, captions)), title)
        grid = figure.subplots(3, count)
        for ax, name in zip(grid[:, 0], names, strict=True):
            ax.set_ylabel(name)
    for n in range(count):
        _show(grid[0, n], before[n], bounds)
        drawn = _show_change(grid[1, n], change[n], scale)
        _show(grid[2, n], after[n], bounds)
        for ax, row in zip(grid[:, n], captions, strict=True):
            ax.set_title(row[n], parse_math=False)
    if gray:
        _color_bar(drawn).set_ticks(
            [-scale, 0, scale], labels=[f"−{scale:.3g}", "0", f"+{scale:.3g}"]
        )
    return _titled(figure, title)


# Lines, bars and points.


@_styled
def curves(
    lines: Mapping[str, tuple],
    *,
    xlabel: str,
    ylabel: str,
    percent: bool = False,
    title: str | None = None,
) -> Figure:
    """Named lines in one diagram: whatever is measured against something, a ROC curve too.

    Arguments: ``lines``, name -> (x, y), two arrays of one length; ``xlabel`` and ``ylabel``;
    ``percent``, whether y is a share, drawn from 0 to 100%; ``title``. Raises :class:`ValueError`
    without lines, and for x and y that do not match.
    """
    figure = Figure(figsize=(6.4, 4))
    _draw_lines(figure.subplots(), lines, xlabel, ylabel, percent)
    return _titled(_with_legend(figure), title)


@_styled
def epsilon_curves(measured: Mapping[str, EpsilonCurve], *, title: str | None = None) -> Figure:
    """Accuracy, and beside it confidence in the predicted label, against eps (B6, C6).

    Arguments: ``measured``, name -> curve, as :func:`~minadv.evaluation.curves.accuracy_curve`
    returns them; ``title``. Raises :class:`ValueError` without curves.
    """
    check_mapping("measured", measured, "{name: EpsilonCurve}")
    if not measured:
        raise ValueError("measured must hold at least one line to draw, got none")
    if not all(isinstance(curve, EpsilonCurve) for curve in measured.values()):
        raise TypeError(f"measured must be a dictionary {{name: EpsilonCurve}}, got {measured!r}")
    figure = Figure(figsize=(8, 3.6))
    for ax, quantity in zip(
        figure.subplots(1, 2, sharex=True), ["accuracy", "confidence"], strict=True
    ):
        lines = {
            name: (curve.epsilons, getattr(curve, quantity)) for name, curve in measured.items()
        }
        _draw_lines(ax, lines, "ε", quantity, percent=True)
    return _titled(_with_legend(figure), title)


@_styled
def history(record, *, title: str | None = None) -> Figure:
    """Loss and accuracy of a training, epoch by epoch, on training and validation images.

    Arguments: ``record``, with the lists ``loss``, ``accuracy``, ``validation_loss`` and
    ``validation_accuracy``, one number per epoch, as attributes or as keys; what is missing or
    empty is left out; ``title``. Raises :class:`ValueError` when all are empty.
    """

    def recorded(name: str) -> list:
        numbers = record.get(name) if isinstance(record, Mapping) else getattr(record, name, None)
        return [] if numbers is None else list(numbers)

    panels = {}
    for quantity in ["loss", "accuracy"]:
        numbers = {"training": recorded(quantity), "validation": recorded(f"validation_{quantity}")}
        if any(numbers.values()):
            panels[quantity] = {
                name: (np.arange(1, len(ys) + 1), ys) for name, ys in numbers.items()
            }
    if not panels:
        raise ValueError("record must hold at least one epoch of loss or accuracy, got none")
    figure = Figure(figsize=(4 * len(panels), 3.6))
    for ax, (quantity, lines) in zip(
        figure.subplots(1, len(panels), squeeze=False).flat, panels.items(), strict=True
    ):
        _draw_lines(ax, lines, "epoch", quantity, percent=quantity == "accuracy")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        if quantity == "loss":
            ax.set_ylim(bottom=0)
    return _titled(_with_legend(figure), title)


@_styled
def bars(
    series: Mapping[str, Mapping[str, float]],
    *,
    ylabel: str,
    percent: bool = False,
    title: str | None = None,
) -> Figure:
    """Groups of bars with their values written above: one color per series, one group per key.

    Arguments: ``series``, name -> {group: value}, the same groups in each; ``ylabel``; ``percent``,
    whether the values are shares, drawn from 0 to 100%; ``title``. Raises :class:`ValueError`
    without series, and for groups that differ.
    """
    check_mapping("series", series, "{name: {group: value}}")
    for name, values in series.items():
        check_mapping(f"series[{name!r}]", values, "{group: value}")
    percent = check_flag("percent", percent)
    groups = list(next(iter(series.values()), []))
    if not groups or any(set(values) != set(groups) for values in series.values()):
        raise ValueError(
            "series must have the same groups, at least one, got "
            f"{[list(v) for v in series.values()]}"
        )
    width = 0.8 / len(series)
    figure = Figure(figsize=(max(6.4, 0.55 * len(groups) * len(series) + 1), 4))
    ax = figure.subplots()
    for i, (name, values) in enumerate(series.items()):
        left = np.arange(len(groups)) + (i - (len(series) - 1) / 2) * width
        heights = [check_number(f"series[{name!r}]", values[group]) for group in groups]
        look = {"facecolor": _color(i), "edgecolor": "white", "hatch": HATCHES[i % len(HATCHES)]}
        drawn = ax.bar(left, heights, 0.94 * width, label=name, **look)
        ax.bar_label(drawn, fmt="{:.0%}" if percent else "{:.3g}", padding=2, fontsize=8)
    ax.set_xticks(range(len(groups)), [textwrap.fill(group, 14) for group in groups])
    _as_they_are(ax.get_xticklabels())
    ax.set_ylabel(check_text("ylabel", ylabel))
    if percent:
        _percent_axis(ax, 0, 1.05)
    return _titled(_with_legend(figure) if len(series) > 1 else figure, title)


@_styled
def histogram(
    samples: Mapping[str, Sequence[float]],
    *,
    xlabel: str,
    bins: int = 30,
    threshold: float | None = None,
    title: str | None = None,
) -> Figure:
    """Distributions on the same bins, each as the share of its own examples, and a threshold
    between them (D10).

    Arguments: ``samples``, name -> finite numbers; ``xlabel``; ``bins``, how many; ``threshold``,
    where to draw a line; ``title``. Raises :class:`ValueError` for samples that are missing, empty
    or not finite.
    """
    check_mapping("samples", samples, "{name: numbers}")
    numbers = {
        name: check_reals(f"samples[{name!r}]", values).ravel() for name, values in samples.items()
    }
    bins = check_count("bins", bins)
    if not numbers or not all(
        values.size and np.isfinite(values).all() for values in numbers.values()
    ):
        raise ValueError(f"samples must hold finite numbers under each name, got {samples}")
    edges = np.histogram_bin_edges(np.concatenate(list(numbers.values())), bins)
    figure = Figure(figsize=(6.4, 4))
    ax = figure.subplots()
    for i, (name, values) in enumerate(numbers.items()):
        share = np.full(values.size, 1 / values.size)
        look = {
            "hatch": HATCHES[i % len(HATCHES)],
            "linestyle": LINES[i % len(LINES)],
            "edgecolor": _color(i),
        }
        ax.hist(
            values,
            edges,
            weights=share,
            histtype="stepfilled",
            label=name,
            facecolor=(_color(i), 0.35),
            **look,
        )
    if threshold is not None:
        threshold = check_number("threshold", threshold)
        ax.axvline(
            threshold,
            color="black",
            linewidth=1.2,
            linestyle=":",
            label=f"threshold {threshold:.3g}",
        )
    ax.set_xlabel(check_text("xlabel", xlabel))
    ax.set_ylabel("share of examples")
    ax.yaxis.set_major_formatter(_percent)
    return _titled(_with_legend(figure), title)


@_styled
def scatter(
    points,
    labels,
    *,
    class_names=None,
    marked: Mapping[str, np.ndarray] | None = None,
    arrows: tuple | None = None,
    title: str | None = None,
) -> Figure:
    """A two-dimensional embedding, one color and marker per class; arrows lead from clean to
    adversarial points (D7).

    Arguments: ``points`` (N, 2); ``labels``, integers (N,); ``class_names``, one name per label;
    ``marked``, name -> points (M, 2) to ring in black; ``arrows``, (tails (M, 2), heads (M, 2));
    ``title``. Raises :class:`TypeError` or :class:`ValueError` for other shapes, and for labels
    that do not fit.
    """
    points = _points(points, "points")
    labels = _integers(labels, len(points))
    check_mapping("marked", {} if marked is None else marked, "{name: points}")
    figure = _image_figure(6.4, 5, title)
    ax = figure.subplots()
    for label in np.unique(labels):
        look = {"color": _color(label), "marker": MARKERS[label % len(MARKERS)]}
        ax.scatter(
            *points[labels == label].T,
            s=16,
            alpha=0.6,
            linewidths=0,
            label=_name(label, class_names),
            **look,
        )
    for i, (name, ringed) in enumerate((marked or {}).items()):
        look = {"facecolor": "none", "edgecolor": "black", "marker": MARKERS[i % len(MARKERS)]}
        ax.scatter(*_points(ringed, f"marked[{name!r}]").T, s=70, label=name, **look)
    if arrows is not None:
        if not isinstance(arrows, tuple | list) or len(arrows) != 2:
            raise TypeError(f"arrows must be a pair of points (tails, heads), got {arrows!r}")
        tails, heads = _points(arrows[0], "arrows[0]"), _points(arrows[1], "arrows[1]")
        if tails.shape != heads.shape:
            raise ValueError(f"arrows must be of one shape, got {tails.shape} and {heads.shape}")
        ax.quiver(
            *tails.T,
            *(heads - tails).T,
            angles="xy",
            scale_units="xy",
            scale=1,
            width=0.003,
            headwidth=5,
        )
        ax.update_datalim(heads)  # an arrow's head counts towards the axes' limits
    ax.set_aspect("equal")
    ax.set_axis_off()  # an embedding's axes have no meaning of their own
    return _titled(_with_legend(figure), title)


@_styled
def heatmap(
    values,
    *,
    rows: Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
    xlabel: str = "",
    ylabel: str = "",
    numbers: str | None = None,
    limits: tuple[float, float] | None = None,
    title: str | None = None,
) -> Figure:
    """A matrix in color: a saliency map (D5), or a transfer matrix with its numbers (C6).

    Arguments: ``values`` (R, C), finite; ``rows`` and ``columns``, their names; ``xlabel`` and
    ``ylabel``; ``numbers``, a format such as ".0%" to write each value in its cell; ``limits``, the
    values at the ends of the color scale, by default 0 to the largest, or where there are negative
    ones symmetric about 0, in two colors; ``title``. Raises :class:`ValueError` for another shape,
    NaN, names that do not fit, and empty limits.
    """
    values = check_reals("values", values)
    if values.ndim != 2 or values.size == 0 or not np.isfinite(values).all():
        raise ValueError(f"values must be a finite matrix (R, C), got shape {values.shape}")
    largest = float(np.abs(values).max()) or 1.0
    if limits is None:
        limits = (-largest if (values < 0).any() else 0.0, largest)
    low, high = check_bounds(limits, name="limits")
    if numbers is not None:
        try:
            format(0.5, check_text("numbers", numbers))
        except ValueError:
            raise ValueError(f"numbers must be a format such as '.0%', got {numbers!r}") from None
    rows, columns = (
        None if names is None else _names(names, name)
        for name, names in (("rows", rows), ("columns", columns))
    )
    figure = _image_figure(6, 4.8, title)
    ax = figure.subplots()
    drawn = ax.imshow(
        values,
        cmap=DIVERGING if low == -high else SEQUENTIAL,
        vmin=low,
        vmax=high,
        interpolation="nearest",
    )
    _frame(ax)
    ax.set(xlabel=check_text("xlabel", xlabel), ylabel=check_text("ylabel", ylabel))
    for axis, names, count in [
        (ax.yaxis, rows, values.shape[0]),
        (ax.xaxis, columns, values.shape[1]),
    ]:
        if names is not None and len(names) != count:
            raise ValueError(
                f"rows and columns must name the {values.shape} values, got {len(names)} names for "
                f"{count}"
            )
        if names is not None:
            axis.set_ticks(range(count), [textwrap.fill(name, 24) for name in names])
            axis.set_tick_params(length=0)
            _as_they_are(axis.get_ticklabels())
    if columns is not None and max(map(len, columns)) * LETTER > 3.5 / len(
        columns
    ):  # wider than a cell
        for name in ax.get_xticklabels():
            name.set(rotation=45, rotation_mode="anchor", ha="right")
    if numbers is not None:
        for (row, column), value in np.ndenumerate(values):
            ink = _readable_on(drawn.to_rgba(value))
            ax.text(column, row, format(value, numbers), ha="center", va="center", color=ink)
    bar = _color_bar(drawn)
    if numbers is not None and numbers.endswith("%"):
        bar.ax.yaxis.set_major_formatter(_percent)
    return _titled(figure, title)


# Helpers: checks.


def _checked(x, bounds, name: str) -> np.ndarray:
    """``x`` as a NumPy batch of images inside ``bounds``: pixels outside would be shown as if they
    were inside."""
    x = to_numpy(check_array(name, x))
    low, high = check_bounds(bounds)
    if x.dtype.kind != "f":
        raise TypeError(f"{name} must be floating point, got dtype {x.dtype}")
    if x.ndim != 4 or x.shape[-1] not in (1, 3) or x.size == 0:
        raise ValueError(
            f"{name} must be images of shape (N, H, W, 1) or (N, H, W, 3), got {x.shape}"
        )
    if not (x.min() >= low and x.max() <= high):
        raise ValueError(
            f"{name} must lie inside bounds ({low}, {high}), got {x.min()} to {x.max()}"
        )
    return x


def _one(name: str, value) -> np.ndarray:
    try:
        return to_numpy(value).reshape(1)
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be one number, got {value!r}") from None


def _points(points, name: str) -> np.ndarray:
    points = check_reals(name, points)
    if points.ndim != 2 or points.shape[1] != 2:
        raise ValueError(f"{name} must be points of shape (N, 2), got {points.shape}")
    if not np.isfinite(points).all():
        raise ValueError(f"{name} must be finite, got NaN or infinity")
    return points


def _integers(labels, count: int) -> np.ndarray:
    try:
        labels = to_numpy(labels)
    except (TypeError, ValueError) as error:
        raise TypeError(f"labels must hold integers: {error}") from None
    if labels.dtype.kind not in "iu":
        raise TypeError(f"labels must hold integers, got dtype {labels.dtype}")
    if labels.shape != (count,):
        raise ValueError(f"labels must have shape ({count},), got {labels.shape}")
    return labels


def _name(label: int, class_names) -> str:
    if class_names is None:
        return str(label)
    class_names = _names(class_names, "class_names")
    if not 0 <= label < len(class_names):
        raise ValueError(f"class_names must name label {label}, got {len(class_names)} names")
    return str(class_names[label])


def _names(names, name: str) -> list[str]:
    """``names``, texts or whatever a label is called, as texts."""
    try:
        if not isinstance(names, str | bytes):
            return [str(names[i]) for i in range(len(names))]
    except (TypeError, LookupError):
        pass
    raise TypeError(f"{name} must be a list of names, got {names!r}")


def _captions(count: int, labels, confidences, class_names, inches: float) -> list[str]:
    """One caption per image, such as "7, 98.5%", in lines that are as wide as the image."""
    names = (
        [""] * count
        if labels is None
        else [_name(label, class_names) for label in _integers(labels, count)]
    )
    shares = (
        [""] * count
        if confidences is None
        else [f"{share:.1%}" for share in check_reals("confidences", confidences).ravel()]
    )
    if len(shares) != count:
        raise ValueError(f"confidences must hold {count} shares, got {len(shares)}")
    both = [", ".join(filter(None, pair)) for pair in zip(names, shares, strict=True)]
    return [textwrap.fill(caption, int(inches / LETTER)) for caption in both]


# Helpers: drawing.


def _height(captions: list[str]) -> float:
    """Inches that the longest of ``captions`` needs above its image, at 10 points."""
    return 0.1 + 0.17 * max(caption.count("\n") + 1 for caption in captions)


def _image_figure(width: float, height: float, title: str | None) -> Figure:
    """A figure in inches whose axes keep the shape of what they show, and close ranks."""
    return Figure(figsize=(width, height + 0.4 * (title is not None)), layout="compressed")


def _frame(ax) -> None:
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines[:].set(visible=True, color="0.6", linewidth=0.5)


def _show(ax, pixels, bounds) -> None:
    """One image (H, W, 1) or (H, W, 3), ``bounds`` being black and white."""
    low, high = bounds
    if pixels.shape[-1] == 1:
        ax.imshow(pixels[..., 0], cmap="gray", vmin=low, vmax=high, interpolation="nearest")
    else:
        ax.imshow((pixels - low) / (high - low), interpolation="nearest")
    _frame(ax)


def _show_change(ax, change, scale: float):
    """One perturbation (H, W, 1) or (H, W, 3), no change being the middle of the scale."""
    _frame(ax)
    if change.shape[-1] == 1:
        return ax.imshow(
            change[..., 0], cmap=DIVERGING, vmin=-scale, vmax=scale, interpolation="nearest"
        )
    return ax.imshow((change / (2 * scale) + 0.5).clip(0, 1), interpolation="nearest")


def _color_bar(drawn):
    """The color bar of an image, at its right and as high as it is."""
    bar = drawn.figure.colorbar(drawn, cax=drawn.axes.inset_axes([1.05, 0, 0.06, 1]))
    bar.outline.set_visible(False)
    return bar


def _draw_lines(ax, lines: Mapping[str, tuple], xlabel: str, ylabel: str, percent: bool) -> None:
    check_mapping("lines", lines, "{name: (x, y)}")
    if not lines:
        raise ValueError("lines must hold at least one line to draw, got none")
    for i, (name, line) in enumerate(lines.items()):
        if not isinstance(line, tuple | list) or len(line) != 2:
            raise TypeError(f"lines[{name!r}] must be a pair (x, y), got {line!r}")
        x, y = (check_reals(f"lines[{name!r}]", values) for values in line)
        if x.ndim != 1 or x.shape != y.shape:
            raise ValueError(
                f"lines[{name!r}] must be two arrays of one length, got shapes {x.shape} and "
                f"{y.shape}"
            )
        if x.size:
            look = {
                "color": _color(i),
                "marker": MARKERS[i % len(MARKERS)],
                "linestyle": LINES[i % len(LINES)],
            }
            ax.plot(
                x, y, label=name, markersize=5, markevery=1 if x.size <= 20 else 0.1, **look
            )  # 0.1: ten on the way
    ax.set_xlabel(check_text("xlabel", xlabel))
    ax.set_ylabel(check_text("ylabel", ylabel))
    ax.grid(color="0.9")
    if check_flag("percent", percent):
        _percent_axis(ax, -0.03, 1.03)


def _percent(share: float, _position=None) -> str:
    return f"{100 * share:.3g}%"


def _percent_axis(ax, low: float, high: float) -> None:
    if ax.dataLim.ymin < 0 or ax.dataLim.ymax > 1:
        raise ValueError(
            f"percent=True is for shares from 0 to 1, got {ax.dataLim.ymin} to {ax.dataLim.ymax}"
        )
    ax.set_ylim(low, high)
    ax.yaxis.set_major_formatter(_percent)


def _with_legend(figure: Figure) -> Figure:
    """One legend for all axes, beside the last, where it hides nothing."""
    named = {
        label: drawn
        for ax in figure.axes
        for drawn, label in zip(*ax.get_legend_handles_labels(), strict=True)
    }
    labels = [textwrap.fill(label, 24) for label in named]
    legend = figure.axes[-1].legend(
        named.values(), labels, loc="upper left", bbox_to_anchor=(1.02, 1), borderaxespad=0
    )
    _as_they_are(legend.get_texts())
    return figure


def _as_they_are(texts) -> None:
    """Draw names with dollars as they are: a class or a file may be called "$5"."""
    for text in texts:
        text.set_parse_math(False)


def _titled(figure: Figure, title: str | None) -> Figure:
    if title is not None:
        figure.suptitle(
            textwrap.fill(
                check_text("title", title), int(figure.get_figwidth() / (1.2 * LETTER))
            ),  # at 12 points
            parse_math=False,  # a file's name may hold dollars
        )
    return figure


def _color(i: int) -> str:
    return COLORS[i % len(COLORS)]


def _readable_on(color) -> str:
    """Black or white, whichever has the higher contrast on ``color`` (WCAG 2.2, relative
    luminance)."""
    r, g, b = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in color[:3])
    return "black" if 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.179 else "white"
