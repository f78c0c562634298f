"""What the text tower reads in training: names, names in prompt templates, keywords, in varying case.

Names decide the retrieval figures; templates are trained with because zero-shot users wrap labels in them,
and keywords (CLDR's search words) because people rarely type the exact CLDR name.
"""

import random
from dataclasses import dataclass

from training.recipe import LANGUAGES
from training.sources.concepts import Concept

_WORDINGS = {
    "en": (
        "an emoji of {} | a picture of {} | a drawing of {} | an icon of {} | a photo of a {} | "
        "the {} | this is {} | an image of the {} | a symbol for {} | a small picture showing {} | "
        "{} emoji | a sticker of a {} | clip art of {} | a pictogram of the {} | "
        "an illustration of {}"
    ),
    "zh": (
        "{}的表情符号 | 一张{}的图片 | 一幅{}的画 | {}的图标 | 一张{}的照片 | 这是{} | "
        "{}的图像 | 表示{}的符号 | 一个{} | {}表情 | 一张小小的{}图片 | {}贴纸 | "
        "{}的插图 | 一张显示{}的图片"
    ),
    "es": (
        "un emoji de {} | una imagen de {} | un dibujo de {} | un icono de {} | una foto de {} | "
        "esto es {} | la imagen de un {} | un símbolo de {} | una pequeña imagen de {} | "
        "el emoji {} | una pegatina de {} | un pictograma de {} | una ilustración de {} | "
        "una imagen que muestra {}"
    ),
    "fr": (
        "un emoji de {} | une image de {} | un dessin de {} | une icône de {} | une photo de {} | "
        "voici {} | l'image d'un {} | un symbole de {} | une petite image de {} | l'emoji {} | "
        "un autocollant de {} | un pictogramme de {} | une illustration de {} | "
        "une image montrant {}"
    ),
    "ru": (
        "эмодзи {} | картинка: {} | рисунок: {} | значок {} | фото: {} | это {} | изображение: {} | "
        "символ {} | маленькая картинка: {} | смайлик {} | наклейка: {} | пиктограмма {} | "
        "иллюстрация: {} | на картинке {}"
    ),
    "ja": (
        "{}の絵文字 | {}の画像 | {}の絵 | {}のアイコン | {}の写真 | これは{}です | "
        "{}のイメージ | {}を表す記号 | 小さな{}の画像 | {}のマーク | {}のスタンプ | "
        "{}のイラスト | {}のピクトグラム | {}が写っている画像"
    ),
    "ko": (
        "{} 이모지 | {} 그림 | {} 이미지 | {} 아이콘 | {} 사진 | 이것은 {}입니다 | "
        "{}의 그림 | {}의 사진 | {}을 나타내는 기호 | 작은 {} 그림 | {} 이모티콘 | "
        "{} 스티커 | {} 일러스트 | {}의 이미지"
    ),
    "ar": (
        "رمز تعبيري {} | صورة {} | رسم {} | أيقونة {} | صورة فوتوغرافية {} | هذا {} | صورة عن {} | "
        "رمز {} | صورة صغيرة {} | إيموجي {} | ملصق {} | رسم توضيحي {} | صورة تظهر {} | شكل {}"
    ),
    "it": (
        "un'emoji di {} | un'immagine di {} | un disegno di {} | un'icona di {} | una foto di {} | "
        "questo è {} | l'immagine di un {} | un simbolo di {} | una piccola immagine di {} | "
        "l'emoji {} | un adesivo di {} | un pittogramma di {} | un'illustrazione di {} | "
        "un'immagine che mostra {}"
    ),
}
TEMPLATES = {language: tuple(wordings.split(" | ")) for language, wordings in _WORDINGS.items()}
"""Prompt templates per language; `{}` stands for the name."""


@dataclass(frozen=True)
class TextMix:
    """Probabilities that a training text is keywords, or a templated name, rather than the bare name."""

    keywords: float
    templates: float


def vary_case(text: str, chance: random.Random) -> str:
    """Mostly as CLDR writes it; sometimes lower, capitalised or upper case."""
    draw = chance.random()
    if draw < 0.12:
        return text.lower()
    if draw < 0.22:
        return text[:1].upper() + text[1:]
    if draw < 0.27:
        return text.upper()
    return text


def sample_text(concept: Concept, language: str, mix: TextMix, chance: random.Random) -> tuple[str, bool]:
    """One text for the concept and whether it names it (False: only keywords, a weaker statement)."""
    draw = chance.random()
    keywords = concept.keywords[language]
    if draw < mix.keywords and keywords:
        chosen = chance.sample(keywords, k=min(len(keywords), chance.choice((1, 2, 3))))
        return vary_case(chance.choice((" ", ", ")).join(chosen), chance), False
    text = concept.names[language]
    if draw < mix.keywords + mix.templates:
        text = chance.choice(TEMPLATES[language]).format(text)
    return vary_case(text, chance), True


def tokenizer_corpus(concepts: tuple[Concept, ...]) -> list[str]:
    """Texts for the Unigram trainer: names twice (they matter most), their cases, templates and keywords."""
    corpus = []
    for number, concept in enumerate(concepts):
        for language in LANGUAGES:
            name = concept.names[language]
            templates = TEMPLATES[language]
            corpus += [
                name,
                name,
                name.upper(),
                name.title(),
                templates[number % len(templates)].format(name),
            ]
            corpus += concept.keywords[language]
    return corpus
