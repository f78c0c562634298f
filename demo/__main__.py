"""The demo itself: one function for each thing it shows. Exit status 0 only when everything was right."""

from __future__ import annotations

import itertools
import signal
import sys
import time
from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from altclip import AltClipError, Client
from altclip.printing import padded, say, table
from demo import over_http, pictures
from demo.pictures import LANGUAGES, Picture
from demo.service import Service, ServiceError, running

SHOWN = ("cat", "rocket", "strawberry", "umbrella")
STREAMED = 1000
# One item of the stream in ten is a picture: they take longer by far.
PICTURE_EVERY = 10
# Below this the answers are noise; a guess is right once in fifty.
RIGHT_AT_LEAST = 0.2
METRICS = (
    'altclip_requests_total{code="OK",method="EmbedText"}',
    'altclip_items_total{modality="text",model="bundled",outcome="ok"}',
    'altclip_items_total{modality="image",model="bundled",outcome="ok"}',
    'altclip_batch_duration_seconds_count{modality="text",model="bundled"}',
    "altclip_worker_up",  # on whichever device it found
)

Vectors = npt.NDArray[np.float32]


class Wrong(Exception):
    """Something is not as it should be."""


def main() -> int:
    """Shows everything; gives the exit status."""
    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGHUP, _interrupt)
    began = time.monotonic()
    try:
        say("AltCLIP: texts in nine languages and pictures in one space, over gRPC and HTTP\n")
        say("Starting the service …")
        with running() as service, Client(service.grpc) as client:
            say(f"  ready after {service.seconds:.1f} s: gRPC on {service.grpc}, metrics on {service.ops},")
            say(f"  HTTP on http://{service.http}, its docs at http://{service.http}/docs\n")
            show_everything(client, service)
        say(f"\nThe service stopped in order (exit status {service.status}).")
        say(f"{time.monotonic() - began:.0f} s in all.")
        say("\nTo try your own words and pictures: `make serve`, then http://localhost:8080/ in a browser.")
        return 0
    except KeyboardInterrupt:
        say("\nInterrupted; the service is stopped.")
        return 130
    except (AltClipError, ServiceError, Wrong, OSError) as error:
        sys.stderr.write(f"demo: {error}\n")
        return 1


def show_everything(client: Client, service: Service) -> None:
    """All parts in order. Raises Wrong, AltClipError."""
    shown = pictures.load()
    (model,) = client.list_models()
    say(f"The model: {model.name}, {model.dimension} dimensions, {' '.join(model.languages)}.")
    say("It is small and knows pictograms, not photographs.\n")
    images = client.embed_image([picture.path for picture in shown]).vectors
    texts = client.embed_text(_words(shown)).vectors
    show_retrieval(shown, images, texts.reshape(len(LANGUAGES), len(shown), -1))
    show_classification(client, shown)
    show_stream(client, shown, images, texts)
    by_concept = {picture.concept: number for number, picture in enumerate(shown)}
    number = by_concept[SHOWN[0]]
    show_http(service.http, model.name, shown[number], texts[number :: len(shown)], images[number])
    show_metrics(service)


def show_retrieval(shown: Sequence[Picture], images: Vectors, texts: Vectors) -> None:
    """Which pictures each word finds. Raises Wrong when the answers are no better than noise."""
    say(f"{len(shown)} pictures in a style that the model never saw in training (Fluent Emoji Flat).")
    say("For each word the three pictures nearest to it, out of all; ✓ marks the right one.\n")
    scores = texts @ images.T  # [languages, words, pictures]: cosines, for embeddings have length 1
    best = np.argsort(-scores, axis=2)[:, :, :3]
    rows = []
    for concept in SHOWN:
        word = [picture.concept for picture in shown].index(concept)
        for number, language in enumerate(LANGUAGES):
            found = [
                (f"{_mark(i == word)} {shown[i].concept}", f"{scores[number, word, i]:.2f}")
                for i in best[number, word]
            ]
            rows.append((language, shown[word].names[language], *itertools.chain(*found)))
        rows.append(("",) * 8)
    header = ("lang", "text", "  first", "score", "  second", "score", "  third", "score")
    say("\n".join(table(header, rows[:-1], right=[3, 5, 7])))
    right = best == np.arange(len(shown))[None, :, None]
    first, three = right[:, :, 0].mean(axis=1), right.any(axis=2).mean(axis=1)
    say(f"\nAll {texts.shape[0] * texts.shape[1]} words: how many find their picture among {len(shown)}\n")
    lines = [
        ("first place", *(f"{share:.0%}" for share in first), f"{first.mean():.0%}"),
        ("first three", *(f"{share:.0%}" for share in three), f"{three.mean():.0%}"),
    ]
    say("\n".join(table(("", *LANGUAGES, "mean"), lines, right=range(1, 11))))
    if first.mean() < RIGHT_AT_LEAST:
        raise Wrong(f"only {first.mean():.0%} of the words find their picture")


def show_classification(client: Client, shown: Sequence[Picture]) -> None:
    """One picture, labels of our own. Raises Wrong when the probabilities are none."""
    by_concept = {picture.concept: picture for picture in shown}
    picture = by_concept["tiger"]
    labels = [
        by_concept[name].names["zh"] for name in ("cat", "dog", "tiger", "lion", "giraffe", "butterfly")
    ]
    (scores,) = client.classify(picture.path, labels, language="zh").results
    say(f"\nZero-shot: is {picture.path.name} one of {' '.join(labels)}?\n")
    for score in sorted(scores, key=lambda score: -score.probability):
        mark = _mark(score.label == picture.names["zh"])
        bar = "█" * round(score.probability * 40)
        say(f"  {mark} {padded(score.label, 8)} {score.probability:6.1%}  {bar}".rstrip())
    if abs(sum(score.probability for score in scores) - 1) > 1e-3:
        raise Wrong("the probabilities do not sum to 1")


def show_stream(client: Client, shown: Sequence[Picture], images: Vectors, texts: Vectors) -> None:
    """A thousand items over one stream. Raises Wrong when one is missing or not what a single call gave."""
    words = _words(shown)
    files = [picture.path.read_bytes() for picture in shown]

    def item(number: int) -> tuple[str, Any, Vectors]:
        if number % PICTURE_EVERY:
            return f"word {number}", words[number % len(words)], texts[number % len(words)]
        return f"picture {number}", files[number % len(files)], images[number % len(files)]

    items = [item(number) for number in range(STREAMED)]
    began = time.monotonic()
    results = list(client.embed_stream((name, content) for name, content, _ in items))
    seconds = time.monotonic() - began
    if sorted(result.index for result in results) != list(range(STREAMED)):
        raise Wrong("the stream did not answer every item once")
    for result in results:
        name, _, expected = items[result.index]
        if result.id != name or result.vector @ expected < 0.9999:
            raise Wrong(f"the stream's answer for {name!r} is not the one that a single call gave")
    count = sum(name.startswith("picture") for name, _, _ in items)
    rate = f"{STREAMED / seconds:,.0f} items/s"
    say(f"\nStream: {STREAMED - count} texts and {count} pictures in {seconds:.2f} s, {rate};")
    say("each answer is the one that a single call gave.")


def show_http(address: str, model: str, picture: Picture, texts: Vectors, image: Vectors) -> None:
    """One picture and its names over HTTP. texts, image: what gRPC gave. Raises Wrong when HTTP differs."""
    inputs = [*(picture.names[language] for language in LANGUAGES), over_http.as_uri(picture.path)]
    found = over_http.openai_is_here()
    answer = (over_http.with_openai if found else over_http.with_urllib)(address, model, inputs)
    expected = np.vstack([texts, image[None]])
    if answer.vectors.shape != expected.shape or (answer.vectors * expected).sum(axis=1).min() < 0.9999:
        raise Wrong(f"{answer.client} got other embeddings over HTTP than gRPC gave")
    say(f"\nOver HTTP, with {answer.client}:\n")
    say("\n".join(f"  {line}" for line in answer.code.splitlines()))
    sent = f"{len(texts)} texts ({answer.tokens} tokens) and {picture.path.name}"
    say(f"\n{sent}: the embeddings that gRPC gave.")
    if not found:
        say("To see the same with the openai package, run `make sdks` and then `make demo` again.")


def show_metrics(service: Service) -> None:
    """Five lines of /metrics. Raises Wrong when one is missing or zero."""
    lines = service.metrics()
    say(f"\nFive lines of http://{service.ops}/metrics\n")
    for wanted in METRICS:
        found = [line for line in lines if line.startswith((f"{wanted} ", f"{wanted}{{"))]
        if not found or float(found[0].split()[-1]) == 0:
            raise Wrong(f"{wanted} is missing from /metrics, or zero")
        say(f"  {found[0]}")


def _mark(right: bool) -> str:
    return "✓" if right else " "


def _words(shown: Sequence[Picture]) -> list[str]:
    return [picture.names[language] for language in LANGUAGES for picture in shown]


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
