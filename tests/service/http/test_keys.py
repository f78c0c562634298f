"""API keys over HTTP: where one may stand, who is a stranger, what a stranger makes us do."""

from __future__ import annotations

import asyncio
import logging

import pytest

from altclip.v1 import embedding_service_pb2 as pb
from tests.service.http.asking import KEY, SECRET, keyed, post_request


@pytest.mark.parametrize(
    "headers",
    [
        KEY,
        {"Authorization": f"bearer  {SECRET} "},
        {"x-api-key": SECRET},
        {"api-key": SECRET},
        {**KEY, "x-api-key": SECRET, "api-key": SECRET},
    ],
)
async def test_a_key_opens_and_its_name_is_counted(headers: dict[str, str]) -> None:
    async with keyed() as http:
        assert (await http.post("/v1/embeddings", {"input": "a"}, headers=headers)).status == 200
        assert http.caller_calls("search", "OK") == 1
        assert http.service.requests("EmbedText", "OK") == 0


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer wrong"},
        {"authorization": f"Basic {SECRET}"},
        {"authorization": SECRET},
        {"authorization": "Bearer"},
        {"x-api-key": ""},
        {"x-api-key": "wrong"},
        {**KEY, "x-api-key": "wrong"},
        {"authorization": "Bearer wrong", "x-api-key": SECRET},
    ],
)
async def test_a_stranger_is_refused(headers: dict[str, str]) -> None:
    async with keyed() as http:
        answer = await http.post("/v1/embeddings", {"input": "a"}, headers=headers)
        assert (answer.status, answer.error["code"]) == (401, "unauthenticated")
        assert answer.error["type"] == "authentication_error"
        assert answer.headers["www-authenticate"] == "Bearer"
        assert http.caller_calls("anonymous", "UNAUTHENTICATED") == 1
        assert http.counted("/v1/embeddings", 401) == 1


async def test_a_client_has_the_same_address_over_both_transports(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with keyed(http_address="0.0.0.0:0") as http:  # of IPv6 and IPv4, where the machine has both
        port = int(http.service.http.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(post_request(b"", "connection: close"))
        assert (await reader.read()).startswith(b"HTTP/1.1 401 ")
        writer.close()
        await http.service.refusal("EmbedText", pb.EmbedTextRequest(texts=["a"]))
    said = [vars(record).get("fields", {}) for record in caplog.records]
    assert [fields["peer"] for fields in said if "peer" in fields] == ["127.0.0.1"] * 2


async def test_two_keys_that_differ_are_refused_and_one_sent_twice_is_not() -> None:
    async with keyed() as http:
        for second, status in (("wrong", 401), (SECRET, 200)):
            headers = [("authorization", f"Bearer {SECRET}"), ("authorization", f"Bearer {second}")]
            answer = await http.ask("POST", "/v1/embeddings", json={"input": "a"}, headers=headers)
            assert answer.status == status


async def test_nothing_of_a_strangers_body_is_read_or_checked() -> None:
    async with keyed() as http:
        for body in (b"{", b'{"input": 1}', b"x" * 100_000):
            answer = await http.post("/v1/embeddings", body)
            assert answer.status == 401
        # Its length is announced, and it never comes.
        sent = post_request(b"")[: -len(b"content-length: 0\r\n\r\n")] + b"content-length: 60000000\r\n\r\n"
        host, _, port = http.service.http.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(sent)
        assert (await reader.readline()).startswith(b"HTTP/1.1 401 ")
        writer.close()


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/health", "/ping"])
async def test_probes_need_no_key(path: str) -> None:
    async with keyed() as http:
        assert (await http.get(path)).status == 200
        assert http.caller_calls("anonymous", "OK") == 0


async def test_a_key_sees_and_uses_its_own_models_only() -> None:
    async with keyed("models=second", models=("first", "second")) as http:
        listed = (await http.get("/v1/models", headers=KEY)).json
        assert [each["id"] for each in listed["data"]] == ["second"]
        body = {"input": "a", "model": "first"}
        answer = await http.post("/v1/embeddings", body, headers=KEY)
        assert (answer.status, answer.error["type"]) == (403, "permission_error")
        assert (await http.get("/v1/models/first", headers=KEY)).status == 403


async def test_a_quota_that_is_used_up_says_when_to_come_again() -> None:
    async with keyed("items=1/m") as http:
        await http.post("/v1/embeddings", {"input": ["a"] * 5}, headers=KEY)
        answer = await http.post("/v1/embeddings", {"input": "a"}, headers=KEY)
        assert (answer.status, answer.error["code"]) == (429, "quota_exceeded")
        assert answer.error["type"] == "rate_limit_error"
        milliseconds = int(answer.headers["retry-after-ms"])
        assert 0 < milliseconds <= int(answer.headers["retry-after"]) * 1000
