"""Which model a job is made with: what must fit when it goes on is known before it begins."""

from __future__ import annotations

import pytest

from altclip import Client
from altclip.bulk.flow.servers import Servers
from altclip.errors import Unavailable
from tests.altclip.fake_service import FakeService, RunningFake

REVISION, DTYPE = {"revision": "0123456789abcdef"}, {"dtype": "float32"}


@pytest.mark.parametrize("first", [REVISION, DTYPE])
def test_a_service_that_loads_its_model_is_waited_for(
    fake: RunningFake, service: FakeService, first: dict[str, str]
) -> None:
    service.described = [first, REVISION | DTYPE]
    told: list[str] = []
    with Client(fake.address) as client:
        model = Servers([client]).model("", 60, told.append)
    assert (model.revision, model.dtype) == (REVISION["revision"], DTYPE["dtype"])
    (line,) = told
    assert "does not tell the revision of its weights and their dtype yet" in line


def test_a_service_that_never_tells_them_ends_the_job(fake: RunningFake) -> None:
    with Client(fake.address) as client, pytest.raises(Unavailable, match="dtype yet"):
        Servers([client]).model("", 0, lambda line: None)
