"""``python -m tests.benchmarks [foundations] [attacks] [accuracy]``: the tables of the README. Needs the extra ``peers`` and MNIST."""

from __future__ import annotations

import argparse
import importlib
import os
import platform

import numpy as np

from tests.benchmarks.harness import HEADER

PARTS = (
    "accuracy",
    "foundations",
    "attacks",
)  # accuracy first: its peak memory is then the training's own


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument(
        "parts", nargs="*", metavar="part", help=f"which of {', '.join(PARTS)} (default: all)"
    )
    parts = parser.parse_args().parts or PARTS
    if unknown := set(parts) - set(PARTS):
        parser.error(f"unknown part {', '.join(sorted(unknown))}; choose from {', '.join(PARTS)}")
    print(f"Python {platform.python_version()}, NumPy {np.__version__}, {os.cpu_count()} cores")
    for part in parts:
        print(f"\n{HEADER}" if part == "foundations" else f"\n{part}", flush=True)
        importlib.import_module(f"tests.benchmarks.{part}").main()


if __name__ == "__main__":
    main()
