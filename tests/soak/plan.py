"""How long a soak takes, what it asks for, and the server that it asks."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["REAL", "STUB", "STUB_SHAPE", "Plan", "server_arguments"]

REAL, STUB = "real", "stub"
"""The two models: the bundled one, and a stub whose answers a caller can compute for itself."""

STUB_SHAPE = "stub:dimension=64,state_dimension=32,image_size=32"
STUB_SOURCE = f"{STUB_SHAPE},service_time=0.01,per_item=0.0005,poison=poison"


@dataclass(frozen=True, slots=True)
class Plan:
    """seconds: of traffic with trouble, after `warm_up` seconds without; longer where it takes longer until
    there were so many `faults`.

    pause: seconds between two faults, on average. hang_timeout: of the server, which replaces what stands
    still for so long. real: the first model is the bundled one and not a second stub. callers: tasks of each
    kind. seed: of all that is drawn.
    """

    seconds: float
    faults: int = 0
    warm_up: float = 60.0
    pause: float = 8.0
    hang_timeout: float = 6.0
    real: bool = True
    callers: int = 4
    seed: int = 0


def server_arguments(plan: Plan) -> list[str]:
    """Two models on two workers each behind two frontends, with a queue that a burst fills."""
    first = "bundled" if plan.real else STUB_SOURCE
    return [
        f"--model={REAL}={first}",
        f"--model={STUB}={STUB_SOURCE}",
        "--replicas=2",
        "--frontends=2",
        "--threads=1",
        "--decoders=1",
        "--max-queue-items=512",
        # So small that they are full soon: a cache that fills looks like a leak.
        "--cache-bytes=64KiB",
        "--label-cache-bytes=256KiB",
        f"--hang-timeout={plan.hang_timeout}",
        "--restart-backoff=100ms",
        "--restart-stable=1",
        "--grace=15",
        "--log-level=warning",
    ]
