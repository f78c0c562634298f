"""The texts of the recipe cover nine languages, and no template can lose a name."""

import random

import pytest

from training.recipe import LANGUAGES
from training.sources.concepts import Concept, code_points, normalised
from training.sources.texts import TEMPLATES, TextMix, sample_text, tokenizer_corpus, vary_case

CAT = Concept(
    character="🐈",
    names={language: f"name-{language}" for language in LANGUAGES},
    keywords={language: (f"keyword-{language}",) for language in LANGUAGES},
    icons={"twemoji": "cat"},
)


def test_nine_languages_have_templates_of_their_own() -> None:
    assert tuple(TEMPLATES) == LANGUAGES
    assert len(LANGUAGES) == 9


@pytest.mark.parametrize("language", LANGUAGES)
def test_at_least_seven_different_templates_each_with_one_place_for_the_name(language: str) -> None:
    templates = TEMPLATES[language]
    assert len(set(templates)) == len(templates) >= 7
    assert all(template.count("{}") == 1 for template in templates)


def test_a_name_is_told_from_keywords() -> None:
    names = TextMix(keywords=0.0, templates=0.0)
    keywords = TextMix(keywords=1.0, templates=0.0)
    assert sample_text(CAT, "it", names, random.Random(1))[1]
    text, is_name = sample_text(CAT, "it", keywords, random.Random(1))
    assert not is_name
    assert text.lower() == "keyword-it"


def test_case_varies_and_letters_stay() -> None:
    chance = random.Random(0)
    seen = {vary_case("Cat face", chance) for _ in range(200)}
    assert {"Cat face", "cat face", "CAT FACE"} <= seen
    assert {text.lower() for text in seen} == {"cat face"}


def test_the_tokenizer_reads_every_language() -> None:
    corpus = set(tokenizer_corpus((CAT,)))
    assert corpus >= {CAT.names[language] for language in LANGUAGES}


def test_icons_are_joined_by_code_points_without_variation_selectors() -> None:
    assert code_points("❤️") == "2764"
    assert normalised("0023-FE0F-20E3") == "23-20e3"
