"""Every number that decides what the bundled model becomes: languages, sizes, the two stages, seeds.

Which drawings it learns from is in `sources/looks.py`.
"""

from dataclasses import dataclass, field

LANGUAGES = ("en", "zh", "es", "fr", "ru", "ja", "ko", "ar", "it")

IMAGE_SIZE = 64
"""Pixels on a side of every rendered picture and of the model's input."""

MAX_TOKENS = 77
"""Longest text in tokens, `<s>` and `</s>` included, as BAAI's own evaluation cuts it."""

VOCABULARY = 8000
"""Unigram pieces, special tokens included."""

PAD_TOKEN = 1


@dataclass(frozen=True)
class Stage:
    """A stage's length and learning rate: warm-up, then constant, then linearly to zero."""

    steps: int
    batch: int
    warmup: int
    cooldown: int
    matrix_rate: float
    """Muon's, for the matrices of the layers."""
    other_rate: float
    """AdamW's, for everything else."""
    weight_decay: float
    average_decay: float
    """Of the running average of the weights, which is what is exported."""


@dataclass(frozen=True)
class PictureStage(Stage):
    """The vision tower learns a table of concept prototypes."""

    steps: int = 5500
    batch: int = 256
    warmup: int = 200
    cooldown: int = 1500
    matrix_rate: float = 2e-3
    other_rate: float = 1.5e-3
    weight_decay: float = 0.05
    average_decay: float = 0.995
    first_patches: int = 24
    """Of 64 patches, how many the vision tower sees in the first steps."""
    first_steps: int = 2500
    kept_patches: int = 40
    """How many it sees after these."""
    icon_share: float = 0.3
    """How many pictures come from icon sets, of the concepts that these draw."""
    drawn_share: float = 0.35
    """At full strength, how many colour drawings are as their makers drew them; the rest are redrawn."""
    style_ramp: tuple[int, int] = (200, 1500)
    """Steps between which strong style augmentation grows from none to full."""


@dataclass(frozen=True)
class TextStage(Stage):
    """The text tower learns where each concept's pictures lie."""

    steps: int = 3000
    batch: int = 384
    warmup: int = 50
    cooldown: int = 1500
    matrix_rate: float = 1.5e-3
    other_rate: float = 1.2e-3
    weight_decay: float = 0.01
    average_decay: float = 0.98
    keyword_share: float = 0.12
    """How many texts are keywords."""
    template_share: float = 0.25
    """How many are the name in a prompt template."""
    keyword_weight: float = 0.25
    """Weight of a keyword text's loss against a name's."""
    agreement_weight: float = 20.0
    """Weight of texts lying where their pictures do, rather than merely nearest to it."""
    score_scale: float = 30.0
    """By which cosines are multiplied in the cross-entropy over all concepts."""


@dataclass(frozen=True)
class Schedule:
    """The whole recipe."""

    seed: int = 20260
    vision_layers: int = 6
    pictures: PictureStage = field(default_factory=PictureStage)
    texts: TextStage = field(default_factory=TextStage)
