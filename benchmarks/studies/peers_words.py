"""What the page of the study says about how its figures came about.

Comes in: what a study folder holds, the command, the machine's facts.  Goes out: paragraphs of
Markdown.  Knows nothing of the figures themselves.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from benchmarks.studies.parts import number
from benchmarks.studies.peers_figures import Results


def setting(results: Results, command: str, facts: dict[str, Any]) -> list[str]:
    """The paragraphs, as lines.  ``facts`` are those of ``benchmarks.environment``."""
    packages = facts["packages"]
    named = ("torch", "torchvision", "torch-pruning", "onnxruntime", "numpy")
    versions = ", ".join(f"{name} {packages[name]}" for name in named if name in packages)
    machine = f"{facts['cpu']}, {facts['architecture']}, {number(facts['cores'], 'core', 'cores')}"
    paragraphs = (
        f"Written by `{command}`.",
        *_how(results),
        _limits(results),
        f"{machine}; Python {facts['python']}, {versions}.",
    )
    return [line for paragraph in paragraphs for line in (paragraph, "")]


def _how(results: Results) -> Iterator[str]:
    """What both tools do, and with what."""
    settings = results.settings
    of = {"macs": "MACs", "params": "parameters"}.get(settings.of, settings.of)
    seeds = ", ".join(str(seed) for seed in _seeds(results))
    yield (
        f"Both tools cut the same networks to the same share of {of}, counted by the same analysis "
        "of the captured student. Both students then train by the same call: "
        f"{number(settings.epochs, 'pass', 'passes')} over {settings.train_images:,} images of "
        f"{settings.data}, taught by the dense network and the labels, with the optimiser of "
        f"`compressor build`, in the same order; {settings.validation_images:,} further "
        f"images choose the weights. A seed ({seeds}) decides which {settings.sample:,} training "
        "images pruning and repair see, and the order of training."
    )
    yield (
        "torch-pruning runs as its own CIFAR script does without sparse training: one ranking over "
        "all layers, up to 400 steps with importance computed anew, stopped at the step nearest to "
        "the share; for group Taylor, gradients on the sample are taken anew every 40 steps. Its "
        "repair is what its users have, batch norms re-estimated on the sample; one arm refits its "
        "magnitude cut by our closed form instead. compressor chooses by `--criterion auto`, with "
        "width multiples as by default, and repairs in closed form."
    )
    versions = {cell.sources for cell in results.cells if not cell.failed}
    if len(versions) > 1:
        yield f"**The students were made by {len(versions)} versions of compressor's sources.**"
    padded = [network.title for network in results.networks if network.ignored]
    if padded:
        yield (
            f"Shortcuts of {' and '.join(padded)} are padded with zeros. torch-pruning cuts such "
            "stage widths into a network whose forward fails, so `ignored_layers` keeps it to the "
            "widths inside blocks; compressor is shown free and with the same restriction."
        )


def _limits(results: Results) -> str:
    """What the figures are of, and how far they go."""
    settings = results.settings
    scored = len(results.teachers) + sum(len(cell.stages) for cell in results.cells)
    images = results.teachers[0].answers.images if results.teachers else 0
    unit = "of the processor" if settings.device == "cpu" else "on the wall"
    seeds = number(len(_seeds(results)), "seed says", "seeds say")
    return (
        f"Intervals are of 95 %, from resampling test images and seeds; {seeds} little about other "
        f"seeds. The {images:,} test images were scored {scored} times for what is shown: each "
        "teacher once, each student as cut, after repair and after training; nothing was chosen on "
        f"them. Seconds are {unit}, {number(settings.threads, 'thread', 'threads')}; pruning by "
        "compressor includes capture, analysis and the trial of its criteria. Latency is at batch "
        "1 in ONNX Runtime on the CPU, the two files timed in turn."
    )


def _seeds(results: Results) -> list[int]:
    return sorted({cell.seed for cell in results.cells})
