"""Rewrites an icon's SVG into other looks: flat fills, black outlines, line art, a small bright palette.

No training style is drawn in black outlines, and some are all gradients. Since the sources are vectors,
other looks can be had before rasterising: gradients become their mean colour, filters go, strokes are added
to every shape. The variants are training material only; pictures are always evaluated as their makers drew
them.
"""

import re

VARIANTS = ("plain", "flat", "thin", "thick")
"""plain: untouched; flat: no gradients or filters; thin, thick: black strokes around white shapes."""

_STROKE_OF_CANVAS = {"thin": 1 / 50, "thick": 1 / 30}
_GRADIENT = re.compile(r"<(linear|radial)Gradient\b([^>]*?)(?:/>|>(.*?)</\1Gradient>)", re.DOTALL)
_IDENTITY = re.compile(r'\bid="([^"]+)"')
_REFERENCE = re.compile(r'\bhref="#([^"]+)"')
_STOP = re.compile(r"<stop\b([^>]*)/?>")
_STOP_COLOUR = re.compile(r'stop-color="([^"]+)"')
_STOP_OPACITY = re.compile(r'stop-opacity="([^"]+)"')
_PAINT = re.compile(r'\b(fill|stroke)="([^"]+)"')
_FILTER = re.compile(r'\s(?:filter|style)="[^"]*"')
_HIDES_STROKES = re.compile(r'\sstroke-width="0"')

Colour = tuple[int, int, int]


def parse_colour(text: str) -> Colour | None:
    """`#rgb` or `#rrggbb` as three 0–255 numbers; None for anything else."""
    if re.fullmatch(r"#[0-9a-fA-F]{3}", text):
        return int(text[1] * 2, 16), int(text[2] * 2, 16), int(text[3] * 2, 16)
    if re.fullmatch(r"#[0-9a-fA-F]{6}", text):
        return int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16)
    return None


def mean_colours(body: str) -> dict[str, str]:
    """Gradient id → the plain paint in its stead: its stops' mean, or `none` if it is mostly see-through."""
    stops: dict[str, str] = {}
    inherits: dict[str, str] = {}
    for _, attributes, content in _GRADIENT.findall(body):
        identity = _IDENTITY.search(attributes)
        if identity is None:
            continue
        reference = _REFERENCE.search(attributes)
        if reference is not None:
            inherits[identity[1]] = reference[1]
        stops[identity[1]] = content
    paints = {}
    for identity_text in stops:
        source = identity_text
        while not stops.get(source) and source in inherits:
            source = inherits[source]
        weighted, total, count = [0.0, 0.0, 0.0], 0.0, 0
        for stop in _STOP.findall(stops.get(source, "")):
            opacity_match = _STOP_OPACITY.search(stop)
            opacity = float(opacity_match[1]) if opacity_match and "%" not in opacity_match[1] else 1.0
            colour_match = _STOP_COLOUR.search(stop)
            colour = parse_colour(colour_match[1]) if colour_match else (0, 0, 0)
            weighted = [w + opacity * c for w, c in zip(weighted, colour or (128, 128, 128), strict=True)]
            total, count = total + opacity, count + 1
        if count == 0 or total / count < 0.7:
            paints[identity_text] = "none"
        else:
            paints[identity_text] = "#" + "".join(f"{round(part / total):02x}" for part in weighted)
    return paints


def redraw(body: str, variant: str, canvas: float) -> str:
    """The SVG body in the look of `variant`; `canvas` is the view box's side in SVG units."""
    if variant == "plain":
        return body
    gradients = mean_colours(body)

    def repaint(match: re.Match[str]) -> str:
        attribute, paint = match[1], match[2]
        if paint.startswith("url(#"):
            paint = gradients.get(paint[5:-1], "none")
        if variant != "flat" and paint != "none":
            paint = "#000" if attribute == "stroke" else "#fff"
        return f'{attribute}="{paint}"'

    flat = _PAINT.sub(repaint, _FILTER.sub("", body))
    if variant == "flat":
        return flat
    width = canvas * _STROKE_OF_CANVAS[variant]
    opaque = _HIDES_STROKES.sub("", flat)
    return f'<g fill="#fff" stroke="#000" stroke-width="{width:.3f}" stroke-linejoin="round">{opaque}</g>'
