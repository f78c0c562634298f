"""`python -m training [STEP …] --work DIR`: the whole recipe, or the named steps of it.

    fetch → rasterise → train → export → evaluate → card → table → pictures

Fetching and rendering skip what is already there and training resumes from its checkpoint, so an interrupted
command is simply run again.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

from training.card import write_card
from training.evaluate import evaluate
from training.export import export
from training.fetch import fetch
from training.pictures import draw_demo_pictures
from training.rasterise import rasterise
from training.recipe import Schedule
from training.table import write_tables
from training.train import train


def main() -> None:
    """Parses the command line and runs the steps in the recipe's order."""
    root = Path(__file__).resolve().parent.parent
    schedule = Schedule()
    parser = argparse.ArgumentParser(prog="python -m training", description="Makes the bundled model anew.")
    parser.add_argument(
        "--work", type=Path, default=root / "build" / "training", help="packages, rasters, checkpoints"
    )
    parser.add_argument(
        "--output", type=Path, default=root / "worker" / "bundled", help="where the model goes"
    )
    parser.add_argument(
        "--pictures",
        type=Path,
        default=root / "service/frontend/http/playground/page/pictures",
        help="where the pictures of demo and playground go",
    )
    steps: dict[str, Callable[[argparse.Namespace], object]] = {
        "fetch": lambda options: fetch(options.work),
        "rasterise": lambda options: rasterise(options.work),
        "train": lambda options: train(options.work, schedule),
        "export": lambda options: export(options.work, schedule, options.output),
        "evaluate": lambda options: evaluate(options.work, options.output),
        "card": lambda options: write_card(options.output, schedule),
        "table": lambda options: write_tables(options.work),
        "pictures": lambda options: draw_demo_pictures(options.work, options.pictures),
    }
    parser.add_argument("steps", nargs="*", help=f"some of: {', '.join(steps)} (default: all)")
    options = parser.parse_args()
    if unknown := set(options.steps) - set(steps):
        parser.error(f"no such step: {', '.join(sorted(unknown))}")
    for name, step in steps.items():
        if not options.steps or name in options.steps:
            print(f"== {name}", flush=True)
            step(options)


if __name__ == "__main__":
    main()
