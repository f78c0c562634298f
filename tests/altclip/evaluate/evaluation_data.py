"""Small sets in all layouts that the evaluation reads, and a fake service that understands their pictures.

A picture's bytes are `picture:` and words; its vector and that of a text are the sum of the vectors of the
things that they name, in any of the languages below. So what is right can be told without a model.
"""

from __future__ import annotations

import hashlib
import io
import sys
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent import futures
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import numpy.typing as npt

from altclip.v1 import embedding_service_pb2 as pb
from altclip.v1 import embedding_service_pb2_grpc, model_service_pb2_grpc
from altclip.v1 import model_service_pb2 as model_pb
from tests.altclip.fake_service import Failure, FakeService

DIMENSION = 32
REVISION = "0123456789abcdef"
ENGLISH = ("cat", "dog", "car", "tree", "fish", "bird", "moon")
CHINESE = ("猫", "狗", "车", "树", "鱼", "鸟", "月")
THINGS: Mapping[str, str] = dict(zip(ENGLISH + CHINESE, ENGLISH * 2, strict=True))
SERVER_TEMPLATES = ("{}", "a photo of {}")


def picture(words: str) -> bytes:
    return b"picture:" + words.encode()


def vector(text: str) -> npt.NDArray[np.float32]:
    """The sum of its things; the rest of the text counts a little, so that no two texts are alike."""
    total = 0.2 * _noise(text)
    for word, thing in THINGS.items():
        if word in text:
            total += _noise(thing)
    return (total / np.linalg.norm(total)).astype(np.float32)


def _noise(text: str) -> npt.NDArray[np.float64]:
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")
    return np.random.default_rng(seed).normal(size=DIMENSION)


@dataclass
class SeeingService(FakeService):
    """The fake service with those vectors.

    `revision` is what it says of its weights; it becomes `next_revision` after `items_of_revision` items of
    streams. A stream breaks after `break_after` items, once. `embedded` is what streams embedded,
    `classified` how many pictures ClassifyImage got. Streams wait for `stream_gate` when they have embedded
    `gate_at` items.
    """

    revision: str = REVISION
    next_revision: str = ""
    items_of_revision: int = -1
    break_after: int = -1
    embedded: list[str] = field(default_factory=list)
    classified: int = 0
    max_labels: int = 100
    gate_at: int = sys.maxsize

    def GetModel(self, request: Any, context: grpc.ServicerContext) -> model_pb.GetModelResponse:
        self.begin("GetModel", request, context)
        return model_pb.GetModelResponse(
            model=model_pb.Model(
                name=request.name or "seeing",
                source="a test",
                revision=self.revision,
                weights_sha256=self.revision * 4 if self.revision else "",
                languages=["en", "zh"],
                dimension=DIMENSION,
                dtype="float32",
                device="cpu",
                ready=True,
                limits=model_pb.ModelLimits(
                    max_texts=50, max_images=40, max_labels=self.max_labels, max_message_bytes=3 << 20
                ),
            )
        )

    def EmbedStream(self, requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        self.begin("EmbedStream", next(requests), context)
        for request in requests:
            if len(self.embedded) >= self.gate_at:
                self.stream_gate.wait()
            answer = pb.EmbedStreamResponse()
            rows: list[npt.NDArray[np.float32]] = []
            for item in reversed(request.batch.items):
                content = item.image.content.decode() if item.HasField("image") else item.text
                if self.break_after == 0:
                    self.break_after = -1
                    context.abort_with_status(
                        Failure(grpc.StatusCode.UNAVAILABLE, "WORKER_UNAVAILABLE").status()
                    )
                self.break_after -= self.break_after > 0
                if self.items_of_revision == 0:
                    self.revision = self.next_revision
                self.items_of_revision -= self.items_of_revision >= 0
                if item.HasField("image") and not content.startswith("picture:"):
                    refused = Failure(
                        grpc.StatusCode.INVALID_ARGUMENT, "UNDECODABLE_IMAGE", "no picture"
                    ).proto()
                    answer.errors.append(pb.StreamError(id=item.id, status=refused))
                    continue
                with self.lock:
                    self.embedded.append(content)
                if content.startswith("poison"):
                    failed = Failure(grpc.StatusCode.INTERNAL, "INTERNAL").proto()
                    answer.errors.append(pb.StreamError(id=item.id, status=failed))
                    continue
                if content.endswith("long"):
                    answer.truncated.append(len(rows))
                rows.append(vector(content))
                answer.ids.append(item.id)
            answer.revision = self.revision
            answer.embeddings.CopyFrom(
                pb.Embeddings(
                    encoding=pb.ENCODING_FLOAT32,
                    count=len(rows),
                    dimension=DIMENSION,
                    data=b"".join(row.tobytes() for row in rows),
                )
            )
            yield answer

    def ClassifyImage(self, request: Any, context: grpc.ServicerContext) -> pb.ClassifyImageResponse:
        self.begin("ClassifyImage", request, context)
        for index, image in enumerate(request.images):
            if not image.content.startswith(b"picture:"):
                field_name = f"images[{index}].content"
                refused = Failure(
                    grpc.StatusCode.INVALID_ARGUMENT, "UNDECODABLE_IMAGE", fields=[(field_name, "no picture")]
                )
                context.abort_with_status(refused.status())
        with self.lock:
            self.classified += len(request.images)
        prompts = [[vector(t.replace("{}", label)) for t in SERVER_TEMPLATES] for label in request.labels]
        classes = np.stack(
            [np.mean(each, axis=0) / np.linalg.norm(np.mean(each, axis=0)) for each in prompts]
        )
        results = []
        for image in request.images:
            logits = 10 * classes @ vector(image.content.decode())
            chances = np.exp(logits) / np.exp(logits).sum()
            best = np.argsort(-chances, kind="stable")[: request.top_k or None]
            scores = [pb.LabelScore(label=request.labels[i], index=i, probability=chances[i]) for i in best]
            results.append(pb.Classification(labels=scores))
        cut = [i for i, label in enumerate(request.labels) if label.endswith("long")]
        return pb.ClassifyImageResponse(
            model="seeing", results=results, revision=self.revision, truncated=cut
        )


@dataclass
class RunningSeeing:
    """The fake behind its port."""

    service: SeeingService
    server: grpc.Server
    address: str


def start_seeing() -> RunningSeeing:
    server = grpc.server(futures.ThreadPoolExecutor(8))
    service = SeeingService()
    embedding_service_pb2_grpc.add_EmbeddingServiceServicer_to_server(service, server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    return RunningSeeing(service, server, f"127.0.0.1:{port}")


def write_tar(path: Path, members: Sequence[tuple[str, bytes]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def write_captioned(root: Path, captions: Sequence[tuple[str, str]], shards: int = 2) -> None:
    """A webdataset for retrieval: (picture's words, its captions one a line)."""
    for shard in range(shards):
        members = []
        for i, (words, text) in list(enumerate(captions))[shard::shards]:
            members += [(f"s{i:07}.jpg", picture(words)), (f"s{i:07}.txt", text.encode())]
        write_tar(root / "test" / f"{shard}.tar", members)
    (root / "test" / "nshards.txt").write_text(f"{shards}\n")
    (root / "dataset_type.txt").write_text("retrieval\n")


def write_labelled(root: Path, images: Sequence[tuple[str, int]], names: Sequence[str]) -> None:
    """A webdataset for classification: (picture's words, its class)."""
    members = [
        each
        for i, (words, label) in enumerate(images)
        for each in ((f"s{i:07}.png", picture(words)), (f"s{i:07}.cls", str(label).encode()))
    ]
    write_tar(root / "test" / "0.tar", members)
    (root / "test" / "nshards.txt").write_text("1\n")
    (root / "classnames.txt").write_text("\n".join(names) + "\n")
    (root / "zeroshot_classification_templates.txt").write_text("a photo of a {c}.\na drawing of a {c}.\n")
