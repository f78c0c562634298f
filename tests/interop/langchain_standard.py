"""LangChain's own standard tests of embeddings, on ours. test_langchain.py runs them."""

from __future__ import annotations

import os
from typing import Any

from langchain_tests.integration_tests import EmbeddingsIntegrationTests
from langchain_tests.unit_tests import EmbeddingsUnitTests

from altclip.langchain import AltClipEmbeddings


class _Ours:
    @property
    def embeddings_class(self) -> type[AltClipEmbeddings]:
        return AltClipEmbeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return {"address": os.environ["ALTCLIP_ADDRESS"]}


class TestOnItsOwn(_Ours, EmbeddingsUnitTests):
    """What holds without a server."""


class TestWithAServer(_Ours, EmbeddingsIntegrationTests):
    """What holds with one."""
