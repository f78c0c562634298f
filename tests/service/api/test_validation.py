"""The limits of requests come from the settings."""

from __future__ import annotations

from dataclasses import asdict

from service.config.settings import Settings
from service.frontend.api.validation import Limits


def test_the_operators_settings_are_the_limits_of_requests() -> None:
    limits = Limits.of(Settings(max_text_bytes=100, max_image_pixels=200, max_texts=7))
    assert (limits.max_text_bytes, limits.max_image_pixels, limits.max_texts) == (100, 200, 7)


def test_the_default_limits_are_those_of_the_settings() -> None:
    settings = Settings()
    for name, value in asdict(Limits.of(settings)).items():
        assert value == getattr(settings, name)
