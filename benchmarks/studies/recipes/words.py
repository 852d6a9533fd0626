"""What the page of a recipe's study says about how its figures came about, and of what they are.

Comes in: results, the command, the machine's facts.  Goes out: paragraphs of Markdown.  Knows
nothing of who is ahead.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from benchmarks.formatting import share
from benchmarks.studies.parts import number
from benchmarks.studies.recipes.figures import EQUAL, Results
from benchmarks.studies.recipes.teachers import SHARE, round_epochs, rounds

NO_CLAIM = (
    "A study of this project's own recipe in the stated setting: no figure of a paper is repeated "
    "here, and none is claimed to be reproduced."
)


def setting(results: Results, command: str, facts: dict[str, Any]) -> list[str]:
    """The paragraphs, as lines.  ``facts`` are those of ``benchmarks.environment``."""
    packages = facts["packages"]
    versions = ", ".join(f"{n} {packages[n]}" for n in ("torch", "numpy") if n in packages)
    trained = facts.get("accelerator", results.settings.device)
    device = "" if results.settings.device == "cpu" else f" trained on {trained};"
    paragraphs = (
        f"Written by `{command}`. {NO_CLAIM}",
        _images(results),
        f"{results.recipe.how} {_recipe(results)}".strip(),
        *_equal(results),
        *_limits(results),
        f"{facts['cpu']}, {facts['architecture']}, {number(facts['cores'], 'core', 'cores')};"
        f"{device} Python {facts['python']}, {versions}.",
    )
    return [line for paragraph in paragraphs for line in (paragraph, "")]


def _images(results: Results) -> str:
    settings = results.settings
    seeds = ", ".join(str(seed) for seed in results.seeds)
    return (
        f"{settings.network} with batch norm on {settings.data}, {share(settings.sparsity, 0)} of "
        f"the parameters asked to go. The last {settings.test_images:,} images of the training "
        "part, as many of every class, are held out as test images: no teacher and no student was "
        f"trained or chosen on them. {settings.train_images:,} of the others train, a tenth of "
        f"them choosing weights. A seed ({seeds}) decides all fresh weights, the sample for scores "
        "and the order of training, which is the same for all arms of a seed."
    )


def _recipe(results: Results) -> str:
    settings = results.settings
    if settings.recipe == "prune-then-distill":
        return (
            f"The dense teacher trains {number(settings.epochs, 'pass', 'passes')}; from there the "
            f"pruned one has {number(rounds(settings), 'round', 'rounds')} of "
            f"{number(round_epochs(settings), 'pass', 'passes')}, each without {share(SHARE, 0)} "
            "of the living weights, and the control as many without a mask. The teacher weighs "
            f"{settings.alpha:g} at temperature {settings.temperature:g}."
        )
    if settings.recipe == "epsd":
        return f"Self-distillation is {settings.self_distillation}."
    steps = {int(c.facts.get("steps", 0)) for c in results.students if c.arm != "one-shot"}
    told = " or ".join(str(count) for count in sorted(steps))
    return (
        f"The dense teacher trains {number(settings.epochs, 'pass', 'passes')}. Gradual arms prune "
        f"in {told} {'step' if steps == {1} else 'steps'} ({settings.steps} were asked for, as "
        "many as the passes hold). The area "
        "under the curve of recovery is the mean over passes of the accuracy validated right after "
        "each cut and when it has recovered, straight lines between; of the one-shot control, of "
        "all its validations, the best so far."
    )


def _equal(results: Results) -> Iterator[str]:
    """That costs and passes are equal, or that they are not."""
    low, high = results.passes
    if not results.students:
        return
    same = (
        f"every student trains {round(low, 2):g} {'pass' if low == 1 else 'passes'}"
        if round(high - low, 2) == 0
        else f"**students train {round(low, 2):g} to {round(high, 2):g} passes**"
    )
    words = f"at most {100 * results.apart:.2f} points apart"
    if results.apart > EQUAL:
        words = f"**{words}, which is more than half a point**"
    yield (
        f"Of parameters, students of one seed are {words} (of the dense network's); {same}, of "
        f"{number(results.settings.epochs, 'pass', 'passes')} asked for "
        "(a last partial batch is left out). MACs are not held equal."
    )


def _limits(results: Results) -> Iterator[str]:
    count = number(len(results.seeds), "seed says", "seeds say")
    yield (
        f"Intervals are of 95 %, from resampling test images and seeds; {count} little about other "
        "seeds. Several differences are shown, and none is corrected for their number. Seconds are "
        f"on the wall, {number(results.settings.threads, 'thread', 'threads')}, scoring included."
    )
    if len({cell.sources for cell in results.cells if not cell.failed}) > 1:
        yield "**The networks were made by several versions of compressor's sources.**"
