"""``python -m tests.benchmarks [part ...] [--quick] [--out FOLDER]``: see README.md here.

Parts: accuracy, foundations, attacks, certify, growth. Needs the extra ``peers``, but for growth.
"""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

from tests.benchmarks import harness

# accuracy first: its peak memory is then the training's own
PARTS = ("accuracy", "foundations", "attacks", "certify", "growth")
DEFAULT = ("accuracy", "foundations", "attacks", "certify")
QUICK = ("foundations",)


def main():
    """Run the parts; write table and figure where ``--out`` says."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument(
        "parts",
        nargs="*",
        metavar="part",
        help=f"which of {', '.join(PARTS)} (default: all but growth)",
    )
    parser.add_argument(
        "--quick", action="store_true", help="two minutes: three rounds, less work, foundations"
    )
    parser.add_argument("--out", type=Path, help="a folder for benchmarks.md and benchmarks.png")
    given = parser.parse_args()
    parts = given.parts or (QUICK if given.quick else DEFAULT)
    if unknown := set(parts) - set(PARTS):
        parser.error(f"unknown part {', '.join(sorted(unknown))}; choose from {', '.join(PARTS)}")
    harness.quick = given.quick
    lines = [harness.machine(), harness.quiet()[1]]
    print("\n".join(lines))
    for part in parts:
        print(f"\n{harness.HEADER}" if part == "foundations" else f"\n{part}", flush=True)
        module = importlib.import_module(f"tests.benchmarks.{part}")
        more = module.main()
        lines += more or []
    lines.append(f"At the end: {harness.quiet()[1]}")
    print(f"\n{lines[-1]}")
    if given.out:
        harness.write(given.out, lines)
        if "growth" in parts:
            importlib.import_module("tests.benchmarks.growth").draw(given.out)


if __name__ == "__main__":
    main()
