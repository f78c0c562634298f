"""Renders the demo's pictures: everyday concepts in a style never trained on, named in nine languages."""

import shutil
from io import BytesIO
from pathlib import Path

import resvg_py
from PIL import Image

from training.drawings.rasterise import resolve
from training.files import write_json
from training.sources.concepts import icon_set, load_concepts
from training.sources.looks import ALL_LOOKS

STYLE = ALL_LOOKS["fluent-emoji-flat"]
SIZE = 128
CONCEPTS = (
    *(
        "airplane",
        "avocado",
        "banana",
        "bicycle",
        "books",
        "butterfly",
        "cactus",
        "camera",
        "castle",
        "cat",
        "clown face",
    ),
    *(
        "crown",
        "dog",
        "dolphin",
        "elephant",
        "fire",
        "fire engine",
        "flamingo",
        "giraffe",
        "guitar",
        "hamburger",
    ),
    *(
        "hot beverage",
        "key",
        "lion",
        "mermaid",
        "motorcycle",
        "mushroom",
        "musical keyboard",
        "octopus",
        "owl",
        "penguin",
    ),
    *(
        "pizza",
        "rainbow",
        "robot",
        "rocket",
        "rose",
        "sailboat",
        "scissors",
        "snowman",
        "soccer ball",
        "spider",
    ),
    *(
        "strawberry",
        "sunflower",
        "telephone",
        "tiger",
        "tractor",
        "trophy",
        "umbrella",
        "violin",
        "watermelon",
    ),
)


def draw_demo_pictures(work: Path, folder: Path) -> None:
    """Writes one 128-pixel PNG per concept, `names.json` and the licence into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    by_name = {concept.names["en"]: concept for concept in load_concepts(work)}
    icons = icon_set(work, STYLE.package)
    listed = []
    for name in CONCEPTS:
        concept = by_name[name]
        body, width, height = resolve(icons, concept.icons[STYLE.name])
        svg = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}">{body}</svg>'
        png = bytes(resvg_py.svg_to_bytes(svg_string=svg, width=SIZE, height=SIZE, background="#ffffff"))
        file = name.replace(" ", "-") + ".png"
        Image.open(BytesIO(png)).convert("RGB").save(folder / file, optimize=True)
        listed.append({"file": file, "concept": name, "names": concept.names})
    write_json(folder / "names.json", listed)
    shutil.copyfile(Path(__file__).with_name("demo_licence.txt"), folder / "LICENSE.txt")
