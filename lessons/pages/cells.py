"""A lesson in cells (percent format): split, run once, kept as an executed notebook."""

from __future__ import annotations

import contextlib
import io
import json
import sys
import traceback
import types
import warnings
from dataclasses import dataclass, field
from pathlib import Path

from minadv.parallel import one_blas_thread


@dataclass
class Cell:
    """A cell of a lesson: its kind, its text, its first line in the script, and what it gave."""

    kind: str
    source: str
    line: int
    outputs: list = field(default_factory=list)  # str (printed), lesson.Shown, or Failed
    count: int | None = None


@dataclass(frozen=True)
class Failed:
    """The exception that ended a lesson: its class, its message, and the traceback's text."""

    name: str
    message: str
    trace: str

    @classmethod
    def of(cls, error: BaseException) -> Failed:
        """With the traceback from the lesson's own line on."""
        here = error.__traceback__
        while here is not None and here.tb_frame.f_code.co_filename == __file__:
            here = here.tb_next
        trace = "".join(traceback.format_exception(type(error), error, here))
        return cls(type(error).__name__, str(error), trace)


def split(text: str) -> list[Cell]:
    """The cells of a script in percent format; Markdown loses its leading ``#``."""
    cells = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("# %%"):
            kind = "markdown" if "[markdown]" in line else "code"
            cells.append(Cell(kind, "", number + 1))
            continue
        if not cells:
            cells.append(Cell("code", "", number))
        if cells[-1].kind == "markdown":
            line = line.removeprefix("#").removeprefix(" ")
        cells[-1].source += line + "\n"
    for cell in cells:
        ahead = cell.source[: len(cell.source) - len(cell.source.lstrip("\n"))]
        cell.line, cell.source = cell.line + len(ahead), cell.source.strip("\n")
    return [cell for cell in cells if cell.source]


class _Recorder(io.TextIOBase):
    """Takes what a cell prints and shows, in its order."""

    encoding = "utf-8"

    def __init__(self):
        self.outputs: list = []

    def write(self, text: str) -> int:
        if text and self.outputs and isinstance(self.outputs[-1], str):
            self.outputs[-1] += text
        elif text:
            self.outputs.append(text)
        return len(text)

    def show(self, shown) -> None:
        self.outputs.append(shown)


def execute(script: Path, settings) -> tuple[list[Cell], BaseException | None]:
    """Run a lesson once, in this process, and return its cells with their outputs, and its error.

    Ctrl-C is not an output: it goes on to the caller. Matrix products use one thread: those of the
    lessons are small, and with more, each would wait for the slowest core.
    """
    text = script.read_text(encoding="utf-8")
    cells, recorder = split(text), _Recorder()
    settings.source, settings.show = text.encode(), recorder.show
    module = types.ModuleType("__main__")  # dataclasses and pickles look there for the lesson
    module.__file__ = str(script)
    outer, sys.modules["__main__"] = sys.modules["__main__"], module
    try:
        output = contextlib.redirect_stdout(recorder)
        with output, warnings.catch_warnings(), one_blas_thread():
            for count, cell in enumerate((c for c in cells if c.kind == "code"), 1):
                recorder.outputs, cell.count = cell.outputs, count
                try:
                    source = "\n" * (cell.line - 1) + cell.source  # a traceback's lines are right
                    exec(compile(source, str(script), "exec"), module.__dict__)
                except (Exception, SystemExit) as error:
                    cell.outputs.append(Failed.of(error))
                    return cells, error
    finally:
        sys.modules["__main__"], settings.show = outer, None
    return cells, None


def text(cells: list[Cell]) -> str:
    """What the run printed, with a line for each figure."""
    out = io.StringIO()
    for output in (output for cell in cells for output in cell.outputs):
        if isinstance(output, str):
            out.write(output)
        elif isinstance(output, Failed):
            out.write(output.trace)
        else:
            out.write(f"[{output.title}]\n")
    return out.getvalue()


def notebook(cells: list[Cell], figure=None) -> str:
    """A notebook (nbformat 4.5) with all outputs; ``figure(shown)`` gives a figure's MIME types."""
    return json.dumps(
        {
            "cells": [_json(number, cell, figure) for number, cell in enumerate(cells)],
            "metadata": {
                "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
                "language_info": {"name": "python", "file_extension": ".py"},
            },
            "nbformat": 4,
            "nbformat_minor": 5,
        },
        ensure_ascii=False,
        indent=1,
    )


def _json(number: int, cell: Cell, figure) -> dict:
    common = {"id": f"cell-{number}", "metadata": {}, "source": cell.source}
    if cell.kind == "markdown":
        return {"cell_type": "markdown", **common}
    outputs = [_output(output, figure) for output in cell.outputs]
    return {
        "cell_type": "code",
        **common,
        "execution_count": cell.count,
        "outputs": outputs,
    }


def _output(output, figure) -> dict:
    if isinstance(output, str):
        return {"output_type": "stream", "name": "stdout", "text": output}
    if isinstance(output, Failed):
        return {
            "output_type": "error",
            "ename": output.name,
            "evalue": output.message,
            "traceback": output.trace.splitlines(),
        }
    return {"output_type": "display_data", "metadata": {}, "data": figure(output)}
