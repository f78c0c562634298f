"""`python -m benchmarks`: takes every measurement, prints one table, writes JSON. `--quick` takes fewer
samples.

Every figure is a ratio between things measured in turn in one run, because machines are shared and their
speed drifts.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks import link, unary
from benchmarks.report import Row, machine, table, write_json

__all__ = ["main"]


def main() -> int:
    """Exit status 0 whatever the verdicts: a missed bar is a result."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="fewer samples; leaves out what needs a full-size model"
    )
    parser.add_argument(
        "--json", type=Path, default=Path("build/benchmarks.json"), help="where the figures go"
    )
    arguments = parser.parse_args()
    rounds = 3 if arguments.quick else 5
    rows: list[Row] = []
    skipped: dict[str, str] = {}

    if arguments.quick:
        skipped["engine, full size"] = "left out by --quick"
    else:
        import benchmarks.engine as engine  # imports torch

        rows += engine.rows()
    rows += unary.rows(rounds=rounds)
    found, missing = link.rows(rounds=rounds)
    rows += found
    skipped |= missing

    print(", ".join(f"{key}: {value}" for key, value in machine().items()))
    print(table(rows))
    for what, why in skipped.items():
        print(f"not measured: {what}: {why}")
    write_json(arguments.json, rows, skipped)
    return 0


if __name__ == "__main__":
    sys.exit(main())
