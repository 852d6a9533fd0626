"""How many passes fill the minutes that a study is given.

Comes in: a bench, minutes.  Goes out: a number of passes, the same for all arms, from a few steps
that are timed once.  Knows nothing of what the arms do: their passes are asked for.
"""

from __future__ import annotations

import time
from dataclasses import replace

import msgspec

from benchmarks.studies.recipes.arms import Recipe
from benchmarks.studies.recipes.bench import Bench
from benchmarks.studies.recipes.records import Settings
from compressor.data import Images
from compressor.distillation import distill, fitting_batch
from compressor.evaluation import evaluate
from compressor.pacing import Epochs

STEPS = 20
MOST_EPOCHS = 300
ALLOWANCE = 0.9  # of the minutes: the rest is for what is not timed here


def measure(bench: Bench) -> tuple[float, float]:
    """Seconds to train one image on the dense network beside a teacher, and to score one.

    Students are smaller and their teachers as large, so no arm should need longer.
    """
    train = bench.data.train
    size = fitting_batch(len(train), bench.data.preprocessing.crop)
    count = min(len(train), STEPS * size)
    few = _first(train, count)
    data = replace(bench.data, train=few, validation=_first(bench.data.validation, count // 10))
    spent = []
    for _ in range(2):  # the first one warms up
        begin = time.perf_counter()
        distill(
            bench.graph,
            bench.graph,
            data,
            length=Epochs(1),
            batch_size=size,
            device=bench.settings.device,
        )
        spent.append(time.perf_counter() - begin)
    begin = time.perf_counter()
    evaluate(bench.graph.copy().to(bench.settings.device), few, data.preprocessing)
    return spent[-1] / count, (time.perf_counter() - begin) / count


def passes_within(
    recipe: Recipe, settings: Settings, seeds: int, seconds: float, train: float, score: float
) -> int:
    """The most passes, one at least, with which all arms and seeds should end in time.

    ``train`` and ``score``: seconds of one image, as measured.
    """

    def needed(epochs: int) -> float:
        asked = msgspec.structs.replace(settings, epochs=epochs)
        passes = sum(arm.passes(asked) for arm in recipe.arms)
        scored = 2 * len(recipe.arms)  # as cut and as trained, at the most
        return seeds * (
            passes * settings.train_images * train + scored * settings.test_images * score
        )

    fitting = [n for n in range(1, MOST_EPOCHS + 1) if needed(n) <= ALLOWANCE * seconds]
    return max(fitting, default=1)


def _first(images: Images, count: int) -> Images:
    labels = images.labels[: max(1, count)] if images.labels is not None else None
    return Images(pixels=images.pixels[: max(1, count)], labels=labels)
