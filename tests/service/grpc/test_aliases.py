"""Other names for models: resolved before anything else is asked of a name."""

from __future__ import annotations

from altclip.v1 import embedding_service_pb2 as pb
from altclip.v1 import model_service_pb2 as models_pb
from service.config.keys import line_of
from service.config.operator_files import API_KEYS
from tests.service.running import running

ALIASES = ("text-embedding-3-small=b", "clip=b", "main=a")
KEY = "altclip_of-a-test"


async def test_a_call_to_an_alias_is_answered_with_the_models_own_name() -> None:
    async with running("a", "b", alias=ALIASES) as service:
        for name, real in (("text-embedding-3-small", "b"), ("main", "a"), ("b", "b"), ("", "a")):
            answer = await service.call("EmbedText", pb.EmbedTextRequest(model=name, texts=["cat"]))
            assert answer.model == real
        assert len(service.pools.get("b").computed) == 2


async def test_models_tell_their_aliases_and_aliases_are_no_rows_of_their_own() -> None:
    async with running("a", "b", alias=ALIASES) as service:
        listed = (await service.call("ListModels", models_pb.ListModelsRequest())).models
        assert [(model.name, list(model.aliases)) for model in listed] == [
            ("a", ["main"]),
            ("b", ["text-embedding-3-small", "clip"]),
        ]
        found = (await service.call("GetModel", models_pb.GetModelRequest(name="clip"))).model
        assert found.name == "b"


async def test_a_key_is_checked_for_the_model_behind_the_alias() -> None:
    files = {API_KEYS: line_of("search", KEY, ("models=b",)).encode()}
    metadata = (("authorization", f"Bearer {KEY}"),)
    async with running(
        "a", "b", alias=ALIASES, files=files, callers=("search",), api_keys="somewhere"
    ) as service:
        request = pb.EmbedTextRequest(model="clip", texts=["cat"])
        assert (await service.call("EmbedText", request, metadata=metadata)).model == "b"
        request = pb.EmbedTextRequest(model="main", texts=["cat"])
        refused = await service.refusal("EmbedText", request, metadata=metadata)
        assert refused.reason == "PERMISSION_DENIED"


async def test_what_is_neither_model_nor_alias_is_not_found() -> None:
    async with running("a", alias=("x=a",)) as service:
        refused = await service.refusal("EmbedText", pb.EmbedTextRequest(model="y", texts=["cat"]))
        assert refused.reason == "MODEL_NOT_FOUND"
