"""Renders the demo's pictures: everyday concepts in a style never trained on, with their names in nine languages."""

from io import BytesIO
from pathlib import Path

import resvg_py
from PIL import Image

from training.concepts import icon_set, load_concepts
from training.export import write_json
from training.rasterise import resolve

STYLE = "fluent-emoji-flat"
SIZE = 128
LICENCE = """The pictures in this folder are "Fluent Emoji (Flat)" by Microsoft, rendered at 128 pixels on white.

Source: https://github.com/microsoft/fluentui-emoji, as packaged in @iconify-json/fluent-emoji-flat. MIT License:

Copyright (c) Microsoft Corporation.

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files (the "Software"), to deal in the Software without restriction, including without limitation the
rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit
persons to whom the Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the
Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR
OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.

The names in names.json are from the Unicode CLDR (Unicode License v3, https://www.unicode.org/license.txt).
"""
CONCEPTS = (
    *("airplane", "avocado", "banana", "bicycle", "books", "butterfly", "cactus", "camera", "castle", "cat", "clown face"),
    *("crown", "dog", "dolphin", "elephant", "fire", "fire engine", "flamingo", "giraffe", "guitar", "hamburger"),
    *("hot beverage", "key", "lion", "mermaid", "motorcycle", "mushroom", "musical keyboard", "octopus", "owl", "penguin"),
    *("pizza", "rainbow", "robot", "rocket", "rose", "sailboat", "scissors", "snowman", "soccer ball", "spider"),
    *("strawberry", "sunflower", "telephone", "tiger", "tractor", "trophy", "umbrella", "violin", "watermelon"),
)


def draw_demo_pictures(work: Path, folder: Path) -> None:
    """Writes one 128-pixel PNG per concept, `names.json` and the licence into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    by_name = {concept.names["en"]: concept for concept in load_concepts(work)}
    icons = icon_set(work, STYLE)
    listed = []
    for name in CONCEPTS:
        concept = by_name[name]
        body, width, height = resolve(icons, concept.icons[STYLE])
        svg = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}">{body}</svg>'
        png = bytes(resvg_py.svg_to_bytes(svg_string=svg, width=SIZE, height=SIZE, background="#ffffff"))
        file = name.replace(" ", "-") + ".png"
        Image.open(BytesIO(png)).convert("RGB").save(folder / file, optimize=True)
        listed.append({"file": file, "concept": name, "names": concept.names})
    write_json(folder / "names.json", listed)
    (folder / "LICENSE.txt").write_text(LICENCE, encoding="utf-8")
