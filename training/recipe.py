"""Every number that decides what the bundled model becomes: sources, styles, sizes, schedule, seeds.

The values are the ones that made the committed weights. Change one, retrain, and the card changes with it.
"""

from dataclasses import dataclass

LANGUAGES = ("en", "zh", "es", "fr", "ru", "ja", "ko", "ar", "it")

TRAINING_STYLES = ("twemoji", "noto", "noto-v1", "fluent-emoji", "emojione")
UNSEEN_STYLES = ("fluent-emoji-flat", "openmoji")
ALL_STYLES = TRAINING_STYLES + UNSEEN_STYLES

# npm package → pinned version. The pictures' packages are Iconify's: each set's SVG bodies in one JSON file.
PACKAGES = {
    "cldr-annotations-full": "48.2.0",
    "@iconify-json/twemoji": "1.2.5",
    "@iconify-json/noto": "1.2.9",
    "@iconify-json/noto-v1": "1.2.5",
    "@iconify-json/fluent-emoji": "1.2.7",
    "@iconify-json/fluent-emoji-flat": "1.2.6",
    "@iconify-json/emojione": "1.2.3",
    "@iconify-json/openmoji": "1.2.29",
}

IMAGE_SIZE = 64
"""Pixels on a side of every rendered picture and of the model's input."""

MAX_TOKENS = 77
"""Longest text in tokens, `<s>` and `</s>` included, as BAAI's own evaluation cuts it."""

VOCABULARY = 8000
"""Unigram pieces, special tokens included."""

PAD_TOKEN = 1


@dataclass(frozen=True)
class Schedule:
    """Two stages, teacher and contrastive learning, at a constant rate that falls to zero at the end."""

    seed: int = 20260
    picture_batch: int = 256
    text_batch: int = 160
    warmup_steps: int = 200
    teacher_steps: int = 1400
    contrastive_steps: int = 1500
    cooldown_steps: int = 400
    """Over the last steps of contrastive learning the rate falls linearly to zero."""
    matrix_rate: float = 2e-3
    other_rate: float = 1.5e-3
    weight_decay: float = 0.05
    kept_patches: int = 40
    """Of 64 patches, how many the vision tower sees while training."""
    whole_picture_steps: int = 150
    """In the last steps it sees them all, as it will when it serves."""
    prototype_weight: float = 0.5
    """Weight of the prototypes' losses against the pairs' in contrastive learning."""
    agreement_weight: float = 5.0
    """Weight, in contrastive learning, of texts lying on their prototype rather than merely nearest to it."""
    style_ramp: tuple[int, int] = (300, 1500)
    """Steps between which strong style augmentation grows from none to full."""
    average_decay: float = 0.995
    keyword_weight: float = 0.3
    """Weight of a keyword text's loss against a name's."""

    @property
    def steps(self) -> int:
        """Of both stages together."""
        return self.teacher_steps + self.contrastive_steps
