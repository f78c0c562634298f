"""What a newcomer asks first: alike things against each other, in nine languages, on the demo's pictures."""

from __future__ import annotations

import pytest

from altclip import Client
from demo.pictures import LANGUAGES, load
from tests.server import RunningServer

ALIKE = {
    "animals": ("cat", "dog", "lion", "tiger", "elephant", "giraffe"),
    "fruits": ("banana", "strawberry", "watermelon", "avocado"),
    "vehicles": ("airplane", "bicycle", "motorcycle", "fire engine", "tractor", "sailboat", "rocket"),
    "weather": ("rainbow", "umbrella", "snowman", "fire"),
    "music": ("guitar", "violin", "musical keyboard"),
}
SHOWN = {picture.concept: picture for picture in load()}


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("group", ALIKE)
def test_every_picture_is_called_by_its_name_among_alike_ones(
    server: RunningServer, group: str, language: str
) -> None:
    names = {SHOWN[concept].names[language]: concept for concept in ALIKE[group]}
    with Client(server.grpc) as client:
        answers = client.classify(
            [SHOWN[concept].path for concept in ALIKE[group]], list(names), language=language, top_k=1
        )
    assert [names[best.label] for (best,) in answers.results] == list(ALIKE[group])


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_first_page_s_cat_is_a_cat_and_neither_dog_nor_car(server: RunningServer, language: str) -> None:
    cars = {"en": "car", "zh": "汽车", "es": "coche", "fr": "voiture", "ru": "машина"}
    cars |= {"ja": "車", "ko": "자동차", "ar": "سيارة", "it": "automobile"}
    labels = [SHOWN["cat"].names[language], SHOWN["dog"].names[language], cars[language]]
    with Client(server.grpc) as client:
        (scores,) = client.similarity([SHOWN["cat"].path], labels, score="probability").scores
    assert scores.argmax() == 0, dict(zip(labels, scores.tolist(), strict=True))
