"""How a report shows values: in a line, as source to paste, the worst places, an 8×8 picture."""

from __future__ import annotations

import numpy as np

from homework.grader.serve import Served

MOST = 24  # numbers of an array that are shown in full
SHADES = " .:-=+*#%@"


def numbers(v) -> str:
    """A value in a line: arrays of at most 24 numbers in full, else the shape and the first
    five."""
    if isinstance(v, (np.ndarray, np.generic)):
        v = np.asarray(v)
        if v.size > MOST:
            first = ", ".join(f"{a:.6g}" for a in v.ravel()[:5])
            return f"array of shape {v.shape}: {first}, ..."
        return _nested(v)
    if isinstance(v, (tuple, list)):
        return _bracketed(v, [numbers(a) for a in v])
    if isinstance(v, dict):
        return "{" + ", ".join(f"{k!r}: {numbers(a)}" for k, a in v.items()) + "}"
    if isinstance(v, Served):
        return v.source or ("model" if v.kind == "model" else "a function")
    if isinstance(v, np.random.SeedSequence):
        return f"np.random.default_rng({v.entropy})"
    text = repr(v)
    return text if len(text) <= 200 else text[:200] + "..."


def _nested(v: np.ndarray) -> str:
    if v.ndim:
        return "[" + ", ".join(_nested(a) for a in v) + "]"
    short = f"{v[()]:g}" if v.dtype.kind == "f" else str(v)
    return short if v.dtype.kind != "f" or v.dtype.type(short) == v else str(v)


def python(v) -> str:
    """``v`` as Python source that makes it bit for bit, or an empty text where that is too long."""
    if isinstance(v, (np.ndarray, np.generic)):
        v = np.asarray(v)
        if v.size > MOST:
            return ""
        if not v.size:
            return f"np.zeros({v.shape}, np.{v.dtype.name})"
        body = repr(v.tolist()).replace("inf", "np.inf").replace("nan", "np.nan")
        kind = "" if v.dtype in (np.float64, np.bool_) else f", np.{v.dtype.name}"
        return f"np.array({body}{kind})"
    if isinstance(v, (tuple, list)):
        parts = [python(a) for a in v]
        return _bracketed(v, parts) if all(parts) else ""
    if isinstance(v, dict):
        parts = {k: python(a) for k, a in v.items()}
        inside = ", ".join(f"{k!r}: {a}" for k, a in parts.items())
        return "{" + inside + "}" if all(parts.values()) else ""
    if isinstance(v, Served):
        return v.source
    if isinstance(v, np.random.SeedSequence):
        return f"np.random.default_rng({v.entropy})"
    return repr(v)


def _bracketed(v, parts: list[str]) -> str:
    inside = ", ".join(parts)
    if isinstance(v, list):
        return f"[{inside}]"
    return f"({inside},)" if len(parts) == 1 else f"({inside})"


def worst(returned, expected) -> str:
    """The five places where a large array is farthest from what was expected, or nothing."""
    pair = returned, expected
    if not all(isinstance(v, np.ndarray) and v.dtype.kind in "fiu" for v in pair):
        return ""
    if returned.shape != expected.shape or returned.size <= MOST:
        return ""
    off = np.abs(returned.astype(float) - expected)
    places = np.argsort(-off, axis=None)[:5]
    lines = [
        f"{list(map(int, np.unravel_index(i, off.shape)))}: {returned.ravel()[i]:.6g}, expected "
        f"{expected.ravel()[i]:.6g}"
        for i in places
        if off.ravel()[i] > 0
    ]
    return "; ".join(lines)


def picture(before, after, chosen: int | None = None) -> list[str]:
    """An 8×8 image after a change as lines of text, the changed pixels in brackets.

    ``before`` and ``after``: (N, 64), (64,) or (8, 8), values from 0 to 1. ``chosen``: which of the
    N; else the one with the largest change. The last lines say in words what the others show.
    """
    b, a = (np.asarray(v, float).reshape(-1, 64) for v in (before, after))
    i = int(np.abs(a - b).sum(axis=1).argmax()) if chosen is None else chosen
    if not 0 <= i < len(a) or not np.isfinite(a[i]).all():
        return []
    shade = np.clip(np.rint(a[i] * 9), 0, 9).astype(int).tolist()
    moved = a[i] != b[i]
    cells = [f"[{SHADES[s]}]" if m else f" {SHADES[s]} " for s, m in zip(shade, moved, strict=True)]
    rows = ["|" + "".join(cells[r : r + 8]) + "|" for r in range(0, 64, 8)]
    far = np.abs(a[i] - b[i])
    p = int(far.argmax())
    rows.append(f"image {i} as it came back; in brackets what changed: {int(moved.sum())} of 64")
    if moved.any():
        rows.append(f"most of all row {p // 8}, column {p % 8}: {b[i][p]:.3g} became {a[i][p]:.3g}")
    return rows


def image_before(arguments, returned):
    """The argument that the returned images are a change of, or None where they are no images."""
    if not isinstance(returned, np.ndarray) or returned.dtype.kind not in "fiu":
        return None
    if returned.shape[-1:] != (64,) and returned.shape != (8, 8):
        return None
    same = (a for a in arguments if isinstance(a, np.ndarray) and a.shape == returned.shape)
    return next(same, None)
