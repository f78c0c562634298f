"""`python -m benchmarks`: takes every measurement, prints one table, writes JSON. `--quick` takes fewer
samples and leaves out what needs the full-size model; `--only PART …` takes some parts.

    part (a process of its own) ─▶ build/benchmarks/PART.json ─▶ one table, build/benchmarks.json

Every figure is a ratio between things measured in turn in one run, because machines are shared and their
speed drifts. A run that was interrupted goes on where it was: finished parts are kept as long as neither the
code nor the machine changes, and `--anew` takes them again, as `--only` does with those that it names. A part
that cannot be measured is said to, with the reason.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import subprocess
import sys
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

import psutil

from benchmarks.kept import code, read_part, write_json, write_part
from benchmarks.machine import machine, mark, spent, taken
from benchmarks.parts import FULL_SIZE, PARTS
from benchmarks.pictures import draw
from benchmarks.published import Kind, publish, rewrite
from benchmarks.report import HEAD, Found, best_peer, lines, table

__all__ = ["main", "to_take"]

FOLDER = Path("build/benchmarks")
PART_SECONDS = 3600
END_SECONDS = 30
"""A part that is told to end has so long to end its servers."""


def main() -> int:
    """Exit status 0 whatever the verdicts: a missed bar is a result. 130 when it was interrupted."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="fewer samples; leaves out what needs a full-size model"
    )
    parser.add_argument("--only", nargs="+", choices=PARTS, metavar="PART", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--anew", action="store_true", help="keep nothing of an earlier run")
    parser.add_argument(
        "--publish",
        action="store_true",
        help="put the rows into docs/benchmarks.md, by kind of machine",
    )
    parser.add_argument(
        "--json", type=Path, default=Path("build/benchmarks.json"), help="where the figures go"
    )
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.publish and arguments.quick:
        parser.error("--publish takes whole runs, and --quick has fewer samples")
    # Short runs and long ones are never mixed in one report.
    folder = FOLDER / "quick" if arguments.quick else FOLDER
    if arguments.here:
        for name in arguments.only:
            _take(name, folder, arguments.quick)
        return 0
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        found = _all(folder, arguments.only, quick=arguments.quick, anew=arguments.anew)
    except KeyboardInterrupt:
        print("interrupted: finished parts are kept, and a run goes on with the others", file=sys.stderr)
        return 130
    rows = [row for part in found.values() for row in part.rows]
    rows += best_peer(row for name, part in found.items() if name.startswith("peer-") for row in part.rows)
    skipped = {what: why for part in found.values() for what, why in part.skipped.items()}
    print(", ".join(f"{key}: {value}" for key, value in machine().items()))
    print(table(rows))
    for what, why in skipped.items():
        print(f"not measured: {what}: {why}")
    write_json(arguments.json, rows, skipped, code())
    draw(rows, folder)
    if arguments.publish:
        publish(Kind(machine(), rows))
        rewrite()
    return 0


def _all(folder: Path, only: Collection[str] | None, *, quick: bool, anew: bool) -> dict[str, Found]:
    """Every part, measured or kept, in the order of the report."""
    now = code()
    kept = {name: part for name in PARTS if (part := read_part(folder / f"{name}.json", now))}
    left_out = FULL_SIZE if quick else ()
    wanted = to_take([name for name in PARTS if name not in left_out], kept, only, anew=anew)
    found = {}
    for name in PARTS:
        if name in left_out:
            found[name] = Found(skipped={f"{name}, full size": "left out by --quick"})
        elif name in wanted:
            found[name] = _apart(name, folder / f"{name}.json", now, quick)
            print("\n".join([HEAD, *map(lines, found[name].rows)]), file=sys.stderr)
        else:
            found[name] = kept.get(name, Found(skipped={name: "not asked for"}))
    again = [name for name in kept if name not in wanted]
    if again:
        print(f"kept from before: {', '.join(again)} (--anew takes them again)", file=sys.stderr)
    return found


def to_take(
    names: Collection[str], kept: Mapping[str, Found], only: Collection[str] | None, *, anew: bool
) -> list[str]:
    """The parts that a run measures: those that are asked for by name, or all that are not there yet.

    A part that gave no rows, because something was missing, is tried again.
    """
    if only is not None:
        return [name for name in names if name in only]
    return [name for name in names if anew or name not in kept or not kept[name].rows]


def _take(name: str, folder: Path, quick: bool) -> None:
    """Measures in this process. Rows that do not tell what others had meanwhile get it for the whole part."""
    now, before = code(), spent()
    mark()
    found = PARTS[name](quick)
    share = taken(before, spent())
    rows = [
        replace(row, others=share.others, stolen=share.stolen) if row.others is None else row
        for row in found.rows
    ]
    write_part(folder / f"{name}.json", Found(rows, found.skipped), now)


def _apart(name: str, path: Path, now: str, quick: bool) -> Found:
    """In a process of its own, so that no part inherits another's threads, memory or end."""
    print(f"measuring: {name}", file=sys.stderr)
    command = [sys.executable, "-m", "benchmarks", "--here", "--only", name, *(["--quick"] if quick else [])]
    path.unlink(missing_ok=True)
    # A session of its own: an interruption reaches it once, from here, and it ends its servers itself.
    process = subprocess.Popen(
        command, stdout=sys.stderr, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        _, errors = process.communicate(timeout=PART_SECONDS)
    except subprocess.TimeoutExpired:
        return Found(skipped={name: f"had not ended after {PART_SECONDS} s"})
    finally:
        _end(process)
    if process.returncode:
        sys.stderr.write(errors)
        said = errors.strip().splitlines()
        return Found(skipped={name: said[-1] if said else f"exit status {process.returncode}"})
    return read_part(path, now) or Found(skipped={name: "gave nothing, or the code was changed meanwhile"})


def _end(process: subprocess.Popen[str]) -> None:
    """Nothing of it is left afterwards, not even when it does not end its own servers."""
    if process.poll() is not None:
        return
    left = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.communicate(timeout=END_SECONDS)
    process.kill()
    for one in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.kill()  # unless it has ended and its number is another's by now
    process.wait()


if __name__ == "__main__":
    sys.exit(main())
