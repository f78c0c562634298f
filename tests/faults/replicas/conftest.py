"""Three instances for all of these tests, which leave them ready, and an Envoy in front of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.replicas.callers import Vectors, expected_from
from tests.faults.replicas.instances import Instance, three
from tests.faults.replicas.proxy import Envoy, envoy


@pytest.fixture(scope="module")
def instances() -> Iterator[list[Instance]]:
    with three() as running:
        yield running


@pytest.fixture(scope="module")
def proxy(instances: list[Instance]) -> Iterator[Envoy]:
    with envoy(instances) as running:
        yield running


@pytest.fixture(scope="module")
def expected(instances: list[Instance]) -> Vectors:
    return expected_from(instances[0].grpc)
