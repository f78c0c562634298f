"""`python -m training [STEP …] --work DIR`: the whole recipe, or the named steps of it.

    fetch → rasterise → learn-pictures → learn-texts → export → evaluate → card → table → demo

Fetching and rendering skip what is already there and both stages of training resume from their checkpoints,
so an interrupted command is simply run again.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

from training.drawings.rasterise import rasterise
from training.learning.picture_stage import PICTURED, learn_pictures
from training.learning.prototypes import load_prototypes
from training.learning.text_stage import TRAINED, learn_texts
from training.measuring.evaluate import evaluate
from training.recipe import Schedule
from training.release.card import write_card
from training.release.export import export
from training.release.pictures import draw_demo_pictures
from training.release.table import write_tables
from training.sources.fetch import fetch

ROOT = Path(__file__).resolve().parent.parent
SCHEDULE = Schedule()
STEPS: dict[str, Callable[[argparse.Namespace], object]] = {
    "fetch": lambda options: fetch(options.work),
    "rasterise": lambda options: rasterise(options.work),
    "learn-pictures": lambda options: learn_pictures(options.work, SCHEDULE, options.device),
    "learn-texts": lambda options: learn_texts(options.work, SCHEDULE, options.device),
    "export": lambda options: export(options.work, options.work / TRAINED, options.output),
    "evaluate": lambda options: evaluate(
        options.work, options.output, load_prototypes(options.work / PICTURED)
    ),
    "card": lambda options: write_card(options.work, options.output, SCHEDULE),
    "table": lambda options: write_tables(options.work),
    "demo": lambda options: draw_demo_pictures(options.work, options.pictures),
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training", description="Makes the bundled model anew.")
    parser.add_argument("steps", nargs="*", help=f"some of: {', '.join(STEPS)} (default: all)")
    parser.add_argument(
        "--work", type=Path, default=ROOT / "build" / "training", help="packages, rasters, checkpoints"
    )
    parser.add_argument(
        "--output", type=Path, default=ROOT / "worker" / "bundled", help="where the model goes"
    )
    parser.add_argument(
        "--pictures",
        type=Path,
        default=ROOT / "service/frontend/http/playground/page/pictures",
        help="where the pictures of demo and playground go",
    )
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"), help="where to train")
    return parser


def main() -> None:
    """Parses the command line and runs the steps in the recipe's order."""
    parser = _parser()
    options = parser.parse_args()
    if unknown := set(options.steps) - set(STEPS):
        parser.error(f"no such step: {', '.join(sorted(unknown))}")
    for name, step in STEPS.items():
        if not options.steps or name in options.steps:
            print(f"== {name}", flush=True)
            step(options)


if __name__ == "__main__":
    main()
