"""How many actors there are, and what each reserves, follows from the nodes of the cluster."""

from __future__ import annotations

from typing import Any

import pytest

from altclip.bulk.on_ray.cluster import OnRay, Pool, pool_of
from altclip.bulk.on_ray.parts import Access, failure, raise_failure, row_of, task_of
from altclip.bulk.output.manifest import Part
from altclip.bulk.plan import Task
from altclip.datasets.items import DataError
from altclip.errors import AltClipError, RevisionChanged, Unavailable
from altclip.output import OutputError

SERVERS = Access(("localhost:50051",))


def node(*, alive: bool = True, **resources: float) -> dict[str, Any]:
    return {"Alive": alive, "Resources": {name.upper(): count for name, count in resources.items()}}


@pytest.mark.parametrize(
    ("wanted", "nodes", "pool"),
    [
        (OnRay(""), [node(), node(cpu=4), node(cpu=8)], Pool(3, 4, 0, 4)),
        (OnRay(""), [node(cpu=2), node(cpu=2, alive=False)], Pool(1, 2, 0, 2)),
        (OnRay(""), [node(cpu=16), node(cpu=26, gpu=8), node(cpu=24, gpu=4)], Pool(12, 3, 1, 3)),
        (OnRay("", gpus=0.5), [node(cpu=8, gpu=1)], Pool(2, 4, 0.5, 4)),
        (OnRay("", actors=3, cpus=1, gpus=0), [node(cpu=8, gpu=1)], Pool(3, 1, 0, 1)),
        (OnRay("", SERVERS), [node(cpu=8, gpu=1), node(cpu=4)], Pool(2, 1, 0, 1)),
    ],
)
def test_the_pool_fits_the_cluster(wanted: OnRay, nodes: list[dict[str, Any]], pool: Pool) -> None:
    assert pool_of(wanted, nodes) == pool


def test_a_cluster_that_has_no_nodes_yet_may_be_asked_for_them() -> None:
    assert pool_of(OnRay("", actors=4, cpus=2), [node()]) == Pool(4, 2, 0, 2)
    assert pool_of(OnRay("", actors=4, cpus=2, gpus=1), [node()]) == Pool(4, 2, 1, 2)
    with pytest.raises(Unavailable, match="no node with a CPU"):
        pool_of(OnRay(""), [node(), node(cpu=4, alive=False)])


def test_a_task_goes_to_an_actor_and_is_the_same_there() -> None:
    part = Part("part-00002.parquet", 20, 9, 10, "a", 1, 20, "b")
    for task in (Task(2, 20, 10), Task(2, 20, 10, part)):
        assert task_of(row_of(task)) == task


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (DataError("damaged"), DataError),
        (OutputError("full"), OutputError),
        (RevisionChanged("other weights"), RevisionChanged),
        (Unavailable("away", reason="DRAINING"), Unavailable),
        (RuntimeError("died"), Unavailable),
        (OSError("unreadable"), DataError),
    ],
)
def test_an_error_comes_back_as_what_it_was(error: Exception, kind: type[Exception]) -> None:
    with pytest.raises(kind) as raised:
        raise_failure(failure(error))
    told = raised.value.message if isinstance(raised.value, AltClipError) else str(raised.value)
    assert told == (error.message if isinstance(error, AltClipError) else str(error))
