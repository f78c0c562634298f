"""Makes parts in this process, with the vectors of one or several servers."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from altclip.bulk.flow.lanes import NOT_KNOWN, Connection, Stream
from altclip.bulk.flow.pipeline import Pipeline
from altclip.bulk.flow.pool import Pool
from altclip.bulk.flow.work import Keep, Work
from altclip.bulk.plan import Task
from altclip.bulk.tries import PASSING, next_try, pause_after
from altclip.errors import AltClipError, Unavailable
from altclip.results import Model


class Servers:
    """See `Maker`. connections: one to each server."""

    elsewhere = False

    def __init__(self, connections: Sequence[Connection]) -> None:
        self.connections = connections
        self._pipeline: Pipeline | None = None

    @property
    def done(self) -> int:
        """See `Maker`."""
        return self._pipeline.pool.done if self._pipeline else 0

    @property
    def failed_rows(self) -> int:
        """See `Maker`."""
        return self._pipeline.pool.failed_rows if self._pipeline else 0

    def sampling(self) -> Connection:
        """See `Maker`."""
        return self.connections[0]

    def model(self, name: str, patience: float, tell: Callable[[str], object]) -> Model:
        """See `Maker`. Waits for a server until patience ends."""
        failures, end = 0, time.monotonic() + patience
        while True:
            connection = self.connections[failures % len(self.connections)]
            problem: AltClipError = Unavailable(NOT_KNOWN)
            try:
                model = connection.get_model(name)
                if model.revision and model.dtype:
                    return model
            except PASSING as error:
                problem = error
            pause = pause_after(failures, problem.retry_after)
            if time.monotonic() + pause > end:
                raise problem
            failures += 1
            tell(next_try(problem, pause))
            time.sleep(pause)

    def make(
        self,
        work: Work,
        tasks: Sequence[Task],
        keep: Keep,
        look: Callable[[], object],
        tell: Callable[[str], object],
    ) -> None:
        """See `Maker`."""
        self._pipeline = Pipeline(work, tasks, work.output, stream_of(work, tell), keep)
        self._pipeline.run(self.connections, look)

    def close(self) -> None:
        """See `Maker`. The connections are the caller's."""

    def times(self, seconds: float) -> dict[str, float]:
        """See `Maker`."""
        return self._pipeline.times(seconds) if self._pipeline else {}


def stream_of(work: Work, tell: Callable[[str], object]) -> Stream:
    """What all streams of a run share."""
    return Stream(
        Pool([each.name for each in work.columns], work.max_errors),
        work.model,
        work.columns,
        work.shape,
        work.source.base,
        work.options,
        lambda error, pause: tell(next_try(error, pause)),
    )
