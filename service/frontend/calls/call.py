"""What is known of one call beside its request, whichever transport brought it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from service.frontend.calls.callers import OPEN, Grant
from worker.runtime.notices import Priority

if TYPE_CHECKING:
    from service.frontend.calls.tracing import Trace

__all__ = ["Call"]


@dataclass(slots=True)
class Call:
    """One call, from `Lifecycle.begin` to its end.

    method: the name of the RPC, or the HTTP route. deadline: in time.monotonic() seconds, None for none.
    caller: the name of the API key, "" without one. peer: the client's network address, without the port.
    grant: what the caller may do. started: in time.perf_counter() seconds. trace: its span, None where it is
    not traced.
    """

    request_id: str = ""
    deadline: float | None = None
    priority: Priority = Priority.INTERACTIVE
    caller: str = ""
    peer: str = ""
    grant: Grant = OPEN
    method: str = ""
    started: float = field(default_factory=time.perf_counter)
    trace: Trace | None = None

    @property
    def whose(self) -> str:
        """Whom the call counts for where callers share the queue: its key's name, or else its address."""
        return self.caller or self.peer

    def in_time(self) -> bool:
        """Whether the deadline has not passed."""
        return self.deadline is None or self.deadline > time.monotonic()
