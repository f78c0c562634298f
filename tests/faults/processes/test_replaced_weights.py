"""Weights are replaced under a running server: it serves those that it began with, or ends and says why."""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from pathlib import Path

import grpc
import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file, save_file

from altclip.v1.embedding_service_pb2 import EmbedTextResponse
from altclip.v1.embedding_service_pb2_grpc import EmbeddingServiceStub
from tests.faults.harness import embed, open_stub, service, worker_of
from tests.server import READY_SECONDS, RunningServer, until
from worker.checkpoint import MANIFEST, SINGLE, sha256_of
from worker.models.sources import bundled_directory

TEXTS = ("a cat", "un perro", "お茶")


def served(directory: Path) -> Path:
    """A conversion that a server may serve: the bundled model's."""
    return shutil.copytree(bundled_directory(), directory)


def opposite(directory: Path) -> Path:
    """A conversion of a model of the same shape, whose text embeddings are the opposite ones."""
    made = served(directory)
    tensors = load_file(made / SINGLE)
    tensors["text_projection.weight"] = -tensors["text_projection.weight"]
    save_file(tensors, made / SINGLE, {"format": "pt"})
    manifest = json.loads((made / MANIFEST).read_text())
    (entry,) = [file for file in manifest["files"] if file["name"] == SINGLE]
    entry |= {"sha256": sha256_of(made / SINGLE), "bytes": (made / SINGLE).stat().st_size}
    (made / MANIFEST).write_text(json.dumps(manifest))
    return made


def put_in_place(conversion: Path, directory: Path) -> None:
    """As `altclip-server convert` replaces an earlier conversion."""
    directory.rename(conversion.with_suffix(".before"))
    conversion.rename(directory)


def rows(answer: EmbedTextResponse) -> npt.NDArray[np.float32]:
    return np.frombuffer(answer.embeddings.data, np.float32).reshape(len(TEXTS), -1)


def answers_until_it_ends(server: RunningServer, stub: EmbeddingServiceStub) -> list[EmbedTextResponse]:
    answers: list[EmbedTextResponse] = []

    def ended() -> bool:
        with suppress(grpc.RpcError):
            answers.append(embed(stub, *TEXTS))
        return server.process.poll() is not None

    until(ended, what="the server ends", seconds=READY_SECONDS, interval=0.2)
    until(lambda: server.logs.ended, what="the end of its log")
    return answers


def count(server: RunningServer, event: str) -> int:
    return [record["event"] for record in server.logs.records].count(event)


def test_a_worker_that_comes_back_with_other_weights_computes_nothing_and_the_server_ends(
    tmp_path: Path,
) -> None:
    model, other = served(tmp_path / "model"), opposite(tmp_path / "other")
    with service(f"m={model}", "--kernels=mkl") as server, open_stub(server) as stub:
        before = embed(stub, *TEXTS)
        put_in_place(other, model)
        worker_of(server).kill()
        answers = answers_until_it_ends(server, stub)
        assert server.stop() == 1
    assert before.revision != ""
    assert {answer.revision for answer in answers} <= {before.revision}
    for answer in answers:
        np.testing.assert_allclose(rows(answer), rows(before), atol=1e-3)
    assert count(server, "worker_ready") == 1, "the second one found other weights"
    told = server.logs.wait_for("gave_up")["message"]
    assert told.startswith("altclip-worker m cpu cannot work: the weights of m are not those")


def test_a_frontend_that_comes_back_to_other_weights_ends_the_server(tmp_path: Path) -> None:
    """It would read their tokenizer, beside workers with the old ones."""
    model, other = served(tmp_path / "model"), opposite(tmp_path / "other")
    with service(f"m={model}", "--kernels=mkl") as server:
        put_in_place(other, model)
        server.processes("altclip-frontend 0")[0].kill()
        until(lambda: server.process.poll() is not None, what="the server ends", seconds=READY_SECONDS)
        until(lambda: server.logs.ended, what="the end of its log")
        assert server.stop() == 1
    assert count(server, "frontend_listening") == 1
    told = server.logs.wait_for("gave_up")["message"]
    assert told.startswith("altclip-frontend 0 cannot work: the weights of m are not those")
