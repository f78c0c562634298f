"""The prompts of zero-shot classification: eight a language, `{}` stands for the label. Imports nothing.

The templates were written for this project. Each set names photos, drawings and icons, because models differ
in their training images, and has one template that is the bare label. A label is inserted as it was sent. No
template needs an inflected label: after a colon or in quotation marks a word stands in its basic form.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

__all__ = ["TEMPLATES"]

TEMPLATES: Mapping[str, Sequence[str]] = {
    "en": (
        "{}",
        "a photo of {}",
        "a picture of {}",
        "a drawing of {}",
        "an icon of {}",
        "an emoji of {}",
        "an illustration showing {}",
        "a close-up view of {}",
    ),
    "zh": (
        "{}",
        "{}的照片",
        "一张{}的图片",
        "一幅{}的图画",
        "{}的图标",
        "{}的表情符号",
        "一幅画着{}的插图",
        "{}的特写",
    ),
    "es": (
        "{}",
        "una foto de {}",
        "una imagen de {}",
        "un dibujo de {}",
        "un icono de {}",
        "un emoji de {}",
        "una ilustración que muestra {}",
        "un primer plano de {}",
    ),
    "fr": (
        "{}",
        "une photo : {}",
        "une image représentant {}",
        "un dessin représentant {}",
        "une icône : {}",
        "un émoji : {}",
        "une illustration qui montre {}",
        "{} en gros plan",
    ),
    "ru": (
        "{}",
        "на фото: {}",
        "изображение: {}",
        "рисунок: {}",
        "значок «{}»",
        "эмодзи «{}»",
        "на иллюстрации: {}",
        "{} крупным планом",
    ),
    "ja": (
        "{}",
        "{}の写真",
        "{}の画像",
        "{}の絵",
        "{}のアイコン",
        "{}の絵文字",
        "{}を描いたイラスト",
        "{}のクローズアップ",
    ),
    "ko": (
        "{}",
        "{} 사진",
        "{} 이미지",
        "{} 그림",
        "{} 아이콘",
        "{} 이모티콘",
        "{}의 모습을 그린 삽화",
        "가까이에서 본 {}",
    ),
    "ar": (
        "{}",
        "صورة فوتوغرافية: {}",
        "صورة تُظهر {}",
        "رسم: {}",
        "أيقونة: {}",
        "رمز تعبيري: {}",
        "رسم توضيحي: {}",
        "لقطة مقرّبة: {}",
    ),
    "it": (
        "{}",
        "una foto: {}",
        "un'immagine di {}",
        "un disegno: {}",
        "un'icona di {}",
        "un'emoji di {}",
        "un'illustrazione che mostra {}",
        "{} in primo piano",
    ),
}
