"""The prompt ensembles."""

from __future__ import annotations

import pytest

from service.frontend.core.templates import TEMPLATES
from worker.spec import ALL_LANGUAGES


def test_there_is_an_ensemble_for_each_language() -> None:
    assert set(TEMPLATES) == set(ALL_LANGUAGES)


@pytest.mark.parametrize("language", ALL_LANGUAGES)
def test_an_ensemble_has_seven_different_templates_or_more(language: str) -> None:
    templates = TEMPLATES[language]
    assert len(set(templates)) == len(templates) >= 7


@pytest.mark.parametrize("language", ALL_LANGUAGES)
def test_each_template_has_one_place_for_the_label(language: str) -> None:
    for template in TEMPLATES[language]:
        assert template.count("{}") == template.count("{") == template.count("}") == 1
