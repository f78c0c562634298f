"""HTTP against a running service: the same numbers as gRPC, the metrics of all frontends, one drain."""

from __future__ import annotations

import base64
import http.client
import json
from typing import Any

import grpc

from altclip.v1 import embedding_service_pb2 as pb
from altclip.v1 import embedding_service_pb2_grpc as rpc
from tests.server import RunningServer, start_server, until

TEXTS = ["a black cat", "一只黑猫", "кошка", ""]


def post(address: str, body: Any) -> tuple[int, Any]:
    connection = http.client.HTTPConnection(address, timeout=60)
    try:
        headers = {"Content-Type": "application/json"}
        connection.request("POST", "/v1/embeddings", json.dumps(body).encode(), headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def test_an_identical_call_has_the_bits_of_grpc(server: RunningServer) -> None:
    with grpc.insecure_channel(server.grpc) as channel:
        expected = rpc.EmbeddingServiceStub(channel).EmbedText(pb.EmbedTextRequest(texts=TEXTS), timeout=60)
    status, answer = post(server.http, {"input": TEXTS, "encoding_format": "base64"})
    found = b"".join(base64.b64decode(each["embedding"]) for each in answer["data"])
    assert (status, found) == (200, expected.embeddings.data)
    assert answer["usage"]["prompt_tokens"] == sum(expected.token_counts)
    assert answer["revision"] == expected.revision


def test_every_frontend_answers_and_is_counted() -> None:
    options = ("--model", "m=stub:dimension=8", "--frontends", "2", "--max-image-pixels", "1000000")
    with start_server(*options) as server:
        for number in range(20):  # each on a connection of its own
            status, answer = post(server.http, {"input": f"text {number}"})
            assert (status, answer["model"]) == (200, "m")
        assert post(server.http, {"input": []})[0] == 400
        counted = "altclip_http_requests_total"
        until(
            lambda: server.metric(counted, route="/v1/embeddings", code="200") == 20,
            what="all requests are counted",
        )
        assert server.metric(counted, route="/v1/embeddings", code="400") == 1
        timed = "altclip_http_request_duration_seconds_count"
        assert server.metric(timed, route="/v1/embeddings", outcome="ok") == 20
        assert server.metric(timed, route="/v1/embeddings", outcome="failed") == 1
        assert server.metric("altclip_requests_total") == 0
        assert server.metric("altclip_items_total", modality="text", outcome="ok") == 20
        assert server.stop() == 0
