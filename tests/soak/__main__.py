"""`python -m tests.soak`: one soak. Exit status 1 when anything was lost."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from tests.soak.plan import Plan
from tests.soak.reckoning import reckon
from tests.soak.report import text, write
from tests.soak.run import soak


def main() -> int:
    """Writes build/soak/report.json and build/soak/soak.png."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=20.0, help="of traffic and trouble (default: 20)")
    parser.add_argument("--seed", type=int, default=0, help="of all that is drawn")
    parser.add_argument("--folder", type=Path, default=Path("build/soak"), help="where the report goes")
    arguments = parser.parse_args()
    seconds = 60 * arguments.minutes
    plan = Plan(seconds=seconds, warm_up=min(60.0, seconds / 4), seed=arguments.seed)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # in order, so that the server is stopped, too
    found = soak(plan)
    lines = reckon(found)
    write(arguments.folder, found, lines)
    print(text(lines))
    print(f"{found.ledger.calls} calls, {len(found.events)} faults; see {arguments.folder}")
    return 0 if all(line.holds for line in lines) else 1


if __name__ == "__main__":
    sys.exit(main())
