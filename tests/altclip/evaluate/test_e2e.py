"""`altclip evaluate` against the real service and the bundled model: the figures are those of unary calls."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from altclip import Client
from altclip.cli import main
from altclip.evaluate import metrics
from demo import pictures
from service.frontend.core.templates import TEMPLATES
from tests.server import RunningServer

LANGUAGES = ("en", "ar")
SHOWN = pictures.load()[:20]


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some of the demo's pictures with their names as captions, and the same with labels."""
    folder = tmp_path_factory.mktemp("evaluation")
    for name, column in (("names.csv", []), ("labels.csv", ["label"])):
        with (folder / name).open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["image", *column, *LANGUAGES])
            for each in SHOWN:
                names = [each.names[language] for language in LANGUAGES]
                rows.writerow([each.path.name, *[each.concept for _ in column], *names])
    return folder


def evaluate(server: RunningServer, folder: Path, name: str, *arguments: str) -> Any:
    output = folder / f"{name}.json"
    command = ["evaluate", str(folder / name), "--address", server.grpc, "--images", str(pictures.FOLDER)]
    assert main([*command, "--work", str(folder / "work"), "--output", str(output), *arguments]) == 0
    return json.loads(output.read_text())


def test_retrieval_gives_what_the_embeddings_of_unary_calls_give(server: RunningServer, table: Path) -> None:
    found = evaluate(server, table, "names.csv")
    assert found["left_out"] == []
    assert [each["language"] for each in found["results"]] == list(LANGUAGES)
    with Client(server.grpc) as client:
        images = client.embed_image([each.path for each in SHOWN]).vectors
        assert found["model"]["revision"] == client.get_model().revision
        for language, result in zip(LANGUAGES, found["results"], strict=True):
            texts = client.embed_text([each.names[language] for each in SHOWN]).vectors
            to_image, to_text = metrics.retrieval_ranks(images, texts, np.arange(len(SHOWN)))
            for direction, ranks in (("text_to_image", to_image), ("image_to_text", to_text)):
                figures = result[direction]["recall_at"]
                assert figures == {str(k): ranks.recall_at(k) for k in metrics.RECALL_AT}


def test_the_servers_prompts_give_what_the_same_prompts_give_as_ones_own(
    server: RunningServer, table: Path
) -> None:
    arguments = ["--prompts", "server", "--prompts", "own"]
    for language in LANGUAGES:
        file = table / f"templates_{language}.txt"
        file.write_text("\n".join(TEMPLATES[language]))
        arguments += ["--templates", f"{language}={file}"]
    found = evaluate(server, table, "labels.csv", *arguments)
    by_language = {
        language: [each for each in found["results"] if each["language"] == language]
        for language in LANGUAGES
    }
    for results in by_language.values():
        server_side, own = results
        assert (server_side["prompts"], own["prompts"]) == ("server", "own")
        for figure in ("top1", "top5", "mean_per_class_recall", "images", "classes"):
            assert server_side[figure] == own[figure]
