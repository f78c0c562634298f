"""13. A bulk stream beside interactive calls: none waits for more than one batch with bulk in it, and the
stream still moves.

That one is the batch that runs when the call comes. How long it is counts too: while there are interactive
calls, bulk work takes up no more than its share of a batch. What this costs interactive calls in time is a
row of the benchmark (`make bench ARGS="--only priorities"`). Half of the callers come over HTTP.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.faults.harness import embed, open_stub, service
from tests.faults.http_calls import ask
from tests.faults.overload.bulk import bulk_stream
from tests.faults.overload.queue_log import Batch, read, watched
from tests.server import until
from worker.engine.batcher import Policy
from worker.runtime.notices import BULK_SHARE

SOURCE = "m=stub:dimension=8,service_time=0.05,per_token=0.0005"
TOKENS = 400
CALLERS, CALLS = 4, 15


def most_bulk(batches: Iterable[Batch]) -> int:
    """Tokens of bulk work in the batch that holds most of it."""
    return max(batch.cost("bulk") for batch in batches)


def test_13_interactive_calls_wait_for_one_batch_with_bulk_in_it_and_the_stream_moves(tmp_path: Path) -> None:
    path, share = tmp_path / "queue", TOKENS // BULK_SHARE
    with service(SOURCE, f"--batch-tokens={TOKENS}", environment=watched(path)) as server:

        def call_again_and_again(caller: int) -> None:
            with open_stub(server) as stub:
                for number in range(CALLS):
                    text = f"caller {caller} {number}"
                    if caller % 2:
                        assert ask(server, text).status == 200
                    else:
                        assert embed(stub, text).embeddings.count == 1

        with bulk_stream(server), ThreadPoolExecutor(CALLERS) as threads:
            # The stream has enough to fill the device, and does where nobody else wants it.
            until(lambda: most_bulk(read(path).batches) > 2 * share, what="bulk work takes what it can")
            list(threads.map(call_again_and_again, range(CALLERS)))
    seen = read(path)
    interactive = [job for job in seen.jobs if job.priority == "interactive"]
    assert len(interactive) == CALLERS * CALLS
    for job in interactive:
        assert job.waited_for is not None
        # The batch that ran when it came began before it; what began after it holds nothing but company.
        assert not any(batch.cost("bulk") for batch in job.waited_for)
    beside = seen.batches[interactive[0].place : interactive[-1].place]
    assert sum(batch.cost("bulk") > 0 for batch in beside) > CALLS / 2, "the stream stands still"
    assert most_bulk(batch for batch in beside if batch.quiet < 0.9 * Policy({}).traffic) <= share
