"""``python -m tests.benchmarks [part ...] [--quick] [--out FOLDER]``: see README.md here.

Parts: accuracy, foundations, cores, attacks, certify, growth, resnet; all by default. All but
cores and growth need the extra ``peers``. On two cores they take ten minutes, half of them attacks.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import time
from pathlib import Path

# Settings that hold back one library and not another: its kernels or its threads.
LIMITS = (
    *("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "OPENBLAS_NUM_THREADS", "GOTO_NUM_THREADS"),
    *("OMP_NUM_THREADS", "MKL_NUM_THREADS", "MKL_CBWR", "MKL_ENABLE_INSTRUCTIONS"),
    *("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY", "NPY_DISABLE_CPU_FEATURES"),
)
SET_ASIDE = "MINADV_BENCHMARKS_SET_ASIDE"
# accuracy first: its own peak
PARTS = ("accuracy", "foundations", "cores", "attacks", "certify", "growth", "resnet")
QUICK = ("foundations", "cores")


def main():
    """Run the parts; write tables and figures where ``--out`` says."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument(
        "parts", nargs="*", metavar="part", help=f"which of {', '.join(PARTS)} (default: all)"
    )
    parser.add_argument(
        "--quick", action="store_true", help=f"half a minute: 3 rounds of {' and '.join(QUICK)}"
    )
    parser.add_argument("--out", type=Path, help="a folder for the report and the figures")
    parser.add_argument(
        "--as-is", action="store_true", help="keep environment variables that limit one library"
    )
    given = parser.parse_args()
    parts = given.parts or (QUICK if given.quick else PARTS)
    if unknown := set(parts) - set(PARTS):
        parser.error(f"unknown part {', '.join(sorted(unknown))}; choose from {', '.join(PARTS)}")
    limits = [name for name in LIMITS if name in os.environ]
    if limits and not given.as_is:  # they are read when a library is loaded: start anew
        kept = {name: value for name, value in os.environ.items() if name not in limits}
        kept[SET_ASIDE] = ", ".join(f"{name}={os.environ[name]}" for name in limits)
        os.execve(sys.executable, [sys.executable, "-m", "tests.benchmarks", *sys.argv[1:]], kept)
    run(parts, given.quick, given.out)


def run(parts, quick: bool, out: Path | None):
    """The parts in order, each with the time that it took."""
    from tests.benchmarks import harness

    harness.quick = quick
    for line in (*harness.machine(), harness.quiet()[1]):
        harness.say(line)
    if aside := os.environ.get(SET_ASIDE):
        harness.say(f"Set aside, since it limits one library alone: {aside}.")
    start = time.perf_counter()
    for part in parts:
        print(f"\n--- {part}", flush=True)
        module = importlib.import_module(f"tests.benchmarks.{part}")
        took = harness.seconds(module.main)
        harness.say(f"Part {part}: {took:.0f} s.")
        if out:  # what is there, should a later part fail
            harness.write(out)
            if part == "growth":
                module.draw(out)
    harness.say(f"In all {time.perf_counter() - start:.0f} s. {harness.quiet(itself=True)[1]}")
    if out:
        harness.write(out)


if __name__ == "__main__":
    main()
