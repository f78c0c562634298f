"""`python -m tests.faults.replicas`: the tables of docs/reliability.md. Exit status 1 when a call failed.

Each loss happens under callers of every kind, first to those with `round_robin`, then to those behind Envoy.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout

from tests.faults.replicas import proxy
from tests.faults.replicas.callers import Callers, Vectors, calling, expected_from
from tests.faults.replicas.instances import Instance, account, three
from tests.faults.replicas.losses import LOSSES, round_robin

HEADS = (
    "lost",
    "way",
    "calls",
    "failed",
    "slowest gRPC",
    "slowest HTTP",
    "counted OK",
    "refused or broken",
    "items",
    "counted",
)


def main() -> int:
    """Prints a table; a line for each loss and way."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.replicas", description=__doc__)
    parser.add_argument("--only", default="", help="losses whose names hold this")
    arguments = parser.parse_args()
    failures: list[str] = []
    print("|", " | ".join(HEADS), "|\n|", " | ".join(["---"] * len(HEADS)), "|", flush=True)
    with three() as instances:
        expected = expected_from(instances[0].grpc)
        for name, loss in LOSSES.items():
            for way in ("round_robin", "Envoy") if proxy.is_installed() else ("round_robin",):
                if arguments.only not in name:
                    continue
                before = account(instances)
                # The proxy's log is no line of the table.
                with redirect_stdout(sys.stderr), _callers(way, instances, expected) as callers:
                    others = loss(instances, callers)
                _print(name, way, callers, account(instances) - before - others)
                failures += callers.failures
    print(*failures[:20], sep="\n")
    return 1 if failures else 0


@contextmanager
def _callers(way: str, instances: Sequence[Instance], expected: Vectors) -> Iterator[Callers]:
    with ExitStack() as stack:
        if way == "round_robin":
            target, http = round_robin(instances), [each.http for each in instances]
        else:
            running = stack.enter_context(proxy.envoy(instances))
            target, http = running.grpc, [running.http]
        yield stack.enter_context(calling(target, http, expected))


def _print(name: str, way: str, callers: Callers, counted: Counter[str]) -> None:
    over_grpc = [callers.slowest[kind] for kind in ("client", "grpcio", "stream", "async stream")]
    rest = ", ".join(
        f"{count} {code}" for code, count in counted.items() if code != "OK" and not code.startswith("items")
    )
    cells = [name, way, callers.calls, len(callers.failures), f"{max(over_grpc):.1f} s"]
    cells += [f"{callers.slowest['http']:.1f} s"]
    cells += [counted["OK"], rest or "none", callers.items, counted["items ok"]]
    print("|", " | ".join(map(str, cells)), "|", flush=True)


if __name__ == "__main__":
    sys.exit(main())
