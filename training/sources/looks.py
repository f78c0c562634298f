"""Which drawings there are: each look's package, how it is drawn, and what it is used for.

Emoji sets draw nearly all concepts. Icon sets draw the everyday ones, by `icon_names.txt`, in lines and
silhouettes that no emoji set has. The four looks of `EVALUATED` and every share-alike set are never learned
from; `HELD_OUT` chooses between recipes and fits the logit scale (the model's card says what `EVALUATED` has
decided, too).
"""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["colour", "ink", "painted"]


@dataclass(frozen=True)
class Font:
    """A font as npm's `@fontsource` packages publish it: its family, in their spelling, and one weight."""

    family: str
    weight: int


@dataclass(frozen=True)
class Look:
    """One set of drawings.

    kind: "colour" is an SVG with paints of its own, "ink" an SVG or a font's glyph in one colour, "painted" a
    picture of pixels.
    """

    name: str
    version: str
    kind: Kind
    icons: bool = False
    font: Font | None = None

    @property
    def package(self) -> str:
        """Its npm package."""
        if self.font is not None:
            return f"@fontsource/{self.font.family}"
        return "@lobehub/fluent-emoji-3d" if self.name == "fluent-emoji-3d" else f"@iconify-json/{self.name}"


_EMOJI = (
    Look("twemoji", "1.2.5", "colour"),
    Look("noto", "1.2.9", "colour"),
    Look("noto-v1", "1.2.5", "colour"),
    Look("fluent-emoji", "1.2.7", "colour"),
    Look("emojione", "1.2.3", "colour"),
    Look("fluent-emoji-3d", "1.1.0", "painted"),
    Look("fluent-emoji-high-contrast", "1.2.6", "ink"),
    Look("emojione-monotone", "1.2.1", "ink"),
    Look("noto-emoji-light", "5.3.2", "ink", font=Font("noto-emoji", 300)),
    Look("noto-emoji-semibold", "5.3.2", "ink", font=Font("noto-emoji", 600)),
)
_COLOUR_ICONS = {
    "icon-park": "1.2.4",
    "fluent-color": "1.2.21",
    "flat-color-icons": "1.2.3",
    "meteocons": "1.2.4",
    "streamline-freehand-color": "1.2.2",
}
_INK_ICONS = {
    "tabler": "1.2.41",
    "lucide": "1.2.137",
    "lucide-lab": "1.2.3",
    "ph": "1.2.2",
    "mdi": "1.2.3",
    "material-symbols": "1.2.93",
    "game-icons": "1.2.4",
    "healthicons": "1.2.13",
    "fa-solid": "1.2.2",
    "fa6-solid": "1.2.4",
    "fa7-solid": "1.2.5",
    "bi": "1.2.7",
    "carbon": "1.2.29",
    "fluent": "1.2.60",
    "solar": "1.2.13",
    "iconoir": "1.2.11",
    "icon-park-outline": "1.2.4",
    "icon-park-solid": "1.2.4",
    "icon-park-twotone": "1.2.4",
    "streamline": "1.2.5",
    "streamline-flex": "1.2.3",
    "streamline-plump": "1.2.0",
    "streamline-ultimate": "1.2.2",
    "mingcute": "1.2.8",
    "ri": "1.2.10",
    "uil": "1.2.3",
    "maki": "1.2.5",
    "guidance": "1.2.2",
    "tdesign": "1.2.19",
    "la": "1.2.1",
    "ion": "1.2.7",
    "bx": "1.2.3",
    "bxs": "1.2.3",
    "icons8": "1.2.1",
    "pixelarticons": "1.2.9",
    "cil": "1.2.3",
    "pepicons-pop": "1.2.4",
    "pepicons-pencil": "1.2.4",
    "iconamoon": "1.2.2",
    "mynaui": "1.2.19",
    "gis": "1.2.5",
    "vaadin": "1.2.1",
    "ic": "1.2.4",
    "duo-icons": "1.2.2",
    "fluent-mdl2": "1.2.1",
    "majesticons": "1.2.5",
    "medical-icon": "1.2.0",
    "si": "1.2.17",
}
TRAINING = (
    *_EMOJI,
    *(Look(name, version, "colour", icons=True) for name, version in _COLOUR_ICONS.items()),
    *(Look(name, version, "ink", icons=True) for name, version in _INK_ICONS.items()),
    Look("noto-sans-symbols-2", "5.3.0", "ink", icons=True, font=Font("noto-sans-symbols-2", 400)),
)
HELD_OUT = (
    Look("emojione-v1", "1.2.3", "colour"),  # share-alike, so never to be learned from
    Look("hugeicons", "1.2.35", "ink", icons=True),
    Look("streamline-ultimate-color", "1.2.2", "colour", icons=True),
)
EVALUATED = (
    Look("fluent-emoji-flat", "1.2.6", "colour"),
    Look("openmoji", "1.2.29", "colour"),
    Look("fxemoji", "1.2.2", "colour"),
    Look("streamline-emojis", "1.2.4", "colour"),
)
ALL_LOOKS = {look.name: look for look in (*TRAINING, *HELD_OUT, *EVALUATED)}

PACKAGES = {"cldr-annotations-full": "48.2.0"} | {look.package: look.version for look in ALL_LOOKS.values()}
"""npm package → pinned version. Iconify's hold each set's SVG bodies in one JSON file."""
