"""Does the idea of a recipe help here?  Its arms and controls, at equal parameters and passes.

    python -m benchmarks.studies.recipes --recipe prune-then-distill|epsd|sdp --data FOLDER
        [--network resnet8] [--sparsity 0.59] [--minutes 20 | --epochs N] [--seeds 3]
        [--train-images N] [--test-images 10000] [--alpha 0.9] [--temperature 4]
        [--self-distillation cs-kd] [--steps 5] [--threads 1] [--device cpu]
        [--out FOLDER] [--page docs/studies.md]

``--data`` is an image folder; only its training part is used, and the last images of every class
are held out.  ``--minutes`` is wall time for all arms and seeds: a few steps are timed first, and
every student trains as many passes as fit.  Every cell is a file in the folder, so a study that was
stopped goes on where it was; the page and its picture are written from the files.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from pathlib import Path
from typing import Any

import torch

from benchmarks.environment import describe
from benchmarks.studies.parts import typed
from benchmarks.studies.recipes.arms import RECIPES
from benchmarks.studies.recipes.figures import Results
from benchmarks.studies.recipes.page import write_page
from benchmarks.studies.recipes.records import NETWORKS, Settings
from benchmarks.studies.recipes.study import Study, fill_minutes, study
from benchmarks.studies.records import ROOT
from compressor.errors import DataError, InputError
from compressor.folders import list_images, parts_of
from compressor.self_distillation import SELF_DISTILLATIONS

MINUTES = 20.0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.studies.recipes",
        description=__doc__.splitlines()[0] if __doc__ else None,
    )
    parser.add_argument("--recipe", required=True, choices=list(RECIPES))
    parser.add_argument("--data", required=True, type=Path, metavar="FOLDER")
    parser.add_argument("--network", choices=NETWORKS, default="resnet8")
    parser.add_argument("--sparsity", type=float, default=0.59)
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--minutes", type=float, help=f"of wall time; {MINUTES:g} by default")
    length.add_argument("--epochs", type=int, help="passes of every student, in place of minutes")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--train-images", type=int, help="all that are not held out by default")
    parser.add_argument("--test-images", type=int, default=10_000)
    parser.add_argument("--sample", type=int, default=1_024, help="training images for scores")
    parser.add_argument("--alpha", type=float, default=0.9)
    parser.add_argument("--temperature", type=float, default=4.0)
    parser.add_argument("--self-distillation", choices=list(SELF_DISTILLATIONS), default="cs-kd")
    parser.add_argument("--steps", type=int, default=5, help="sdp: of pruning, at the most")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "recipes")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "studies.md")
    return parser


def plan_of(options: argparse.Namespace) -> Study:
    """Raises InputError for what no study can be."""
    if not 0 < options.sparsity < 1:
        raise DataError(f"--sparsity {options.sparsity:g}: give a share between 0 and 1")
    for name in ("seeds", "steps", "epochs", "minutes", "test_images"):
        value = getattr(options, name)
        if value is not None and not value > 0:
            raise DataError(f"--{name.replace('_', '-')} {value:g}: give more than 0")
    settings = Settings(
        recipe=options.recipe,
        network=options.network,
        sparsity=options.sparsity,
        data=options.data.name,
        train_images=options.train_images or _rest(options.data, options.test_images),
        test_images=options.test_images,
        epochs=options.epochs or 0,
        sample=options.sample,
        alpha=options.alpha,
        temperature=options.temperature,
        self_distillation=options.self_distillation,
        steps=options.steps,
        device=options.device,
        threads=options.threads,
    )
    plan = Study(settings=settings, seeds=options.seeds, data=options.data, folder=options.out)
    return plan if options.epochs else fill_minutes(plan, options.minutes or MINUTES)


def _rest(data: Path, test_images: int) -> int:
    return len(list_images(parts_of(data).get("train", data)).files) - test_images


def main() -> None:
    parser = _parser()
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    warnings.simplefilter("ignore")  # the libraries' own; tests hold our own silence
    try:
        plan = plan_of(options)
        print(f"{plan.settings.epochs} passes", file=sys.stderr, flush=True)
        cells = study(plan)
    except InputError as error:
        parser.error(str(error))
    found = Results(recipe=plan.recipe, settings=plan.settings, cells=cells)
    write_page(
        found,
        options.page,
        typed("benchmarks.studies.recipes", sys.argv[1:]),
        _facts(options.device),
    )


def _facts(device: str) -> dict[str, Any]:
    named = {} if device == "cpu" else {"accelerator": torch.cuda.get_device_name(device)}
    return describe() | named


if __name__ == "__main__":
    main()
