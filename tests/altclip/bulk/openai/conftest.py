"""An HTTP service that fails on request."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.altclip.bulk.openai.http_service import Service


@pytest.fixture
def service() -> Iterator[Service]:
    made = Service()
    yield made
    made.close()
