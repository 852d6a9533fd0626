"""Options of the command line: their types and help, and text that becomes values.

Comes in: what was typed.  Goes out: plain values, or an OptionError.  Knows nothing of commands.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from compressor.errors import OptionError, SurroundingsError

if TYPE_CHECKING:
    from compressor import pacing
    from compressor.types import Budget

LARGEST = 2**31 - 1  # of whole numbers: more than any of them can mean
MOST_THREADS = 1024

TeacherFile = Annotated[str, typer.Option("--teacher", help="weights, checkpoint or .pt2 program")]
TeacherOrNone = Annotated[
    str | None,
    typer.Option(
        "--teacher", help="weights, checkpoint or .pt2 program; without it --arch starts fresh"
    ),
]
Arch = Annotated[
    str | None,
    typer.Option(help="torchvision:NAME, timm:NAME or FILE.py:factory; else it is recognised"),
]
ImageSize = Annotated[int | None, typer.Option("--image-size", help="side of the input in pixels")]
Mean = Annotated[str | None, typer.Option(help="of the channels, as .485,.456,.406")]
Std = Annotated[str | None, typer.Option(help="of the channels, as .229,.224,.225")]
TrustPickle = Annotated[
    bool,
    typer.Option(
        "--trust-pickle",
        help="load a pickled module: RUNS CODE from the file; only files you trust",
    ),
]
Fold = Annotated[
    bool,
    typer.Option(
        "--fold",
        help="compute once what depends on parameters alone (weight norm, standardised weights)",
    ),
]
Data = Annotated[
    str, typer.Option(help="a folder of images, digits or synthetic (made from the teacher)")
]
TestFolder = Annotated[str | None, typer.Option("--test", help="a folder of test images")]
Sparsity = Annotated[float, typer.Option(help="share that goes, between 0 and 1")]
Of = Annotated[str, typer.Option(help="params, macs or channels")]
MultipleOf = Annotated[
    int,
    typer.Option(min=1, max=LARGEST, help="wanted divisor of widths, relaxed where needed"),
]
TargetName = Annotated[
    str | None,
    typer.Option(
        "--target",
        metavar="RUNTIME[:PRECISION]",
        help="take widths that this runtime likes here, as openvino:int8, in place of multiples; "
        "measured first where that has not been done",
    ),
]
ProbeMinutes = Annotated[
    float, typer.Option(help="of measuring for --target, where it has not been done")
]
KeepAtLeast = Annotated[float, typer.Option(help="share of every group that stays")]
SmallestGroup = Annotated[
    int,
    typer.Option(
        min=1,
        max=LARGEST,
        help="groups of fewer units stay whole (halves of a shuffle, multipliers)",
    ),
]
KeepWhole = Annotated[
    list[str] | None,
    typer.Option(help="a group that stays whole, by number or name; may be repeated"),
]
RecipeName = Annotated[str, typer.Option("--recipe", help="prune-then-distill, epsd or sdp")]
FormName = Annotated[
    str, typer.Option("--form", help="structured (units removed) or faithful (as in the paper)")
]
StudentStart = Annotated[
    str | None,
    typer.Option(
        "--student",
        help="inherit (the kept channels; by default) or fresh (weights; in the faithful form)",
    ),
]
DistillFrom = Annotated[
    str | None,
    typer.Option(
        help="dense (the teacher; by default) or pruned (and trained again; in the faithful form)"
    ),
]
FullSchedule = Annotated[
    bool,
    typer.Option(
        "--full-schedule", help="train as long as the paper's code does, where that is known"
    ),
]
FeatureWeight = Annotated[
    float | None,
    typer.Option(help="of the distance on kept units in the training loss: 5; 0: logits"),
]
SelfDistillation = Annotated[str | None, typer.Option(help="epsd: cs-kd (default), ps-kd or dlb")]
Lookahead = Annotated[int | None, typer.Option(max=LARGEST, help="epsd: steps before scoring; 3")]
Gradient = Annotated[
    str | None, typer.Option(help="epsd: first-order (default), or full through the steps")
]
Similarity = Annotated[
    str | None,
    typer.Option(help="sdp: cross-correlation (default), cosine or kl to the unpruned network"),
]
Unpruned = Annotated[
    str | None, typer.Option(help="sdp: the unpruned network, frozen (default) or live")
]
Importance = Annotated[
    str | None,
    typer.Option(help="sdp: what goes first, by magnitude (default) or by the objective"),
]
ScheduleName = Annotated[
    str | None, typer.Option("--schedule", help="sdp: cubic (default) or linear")
]
PruningSteps = Annotated[int | None, typer.Option(max=LARGEST, help="sdp: 10, fewer in short runs")]
UnitsForm = Annotated[
    str | None,
    typer.Option("--units", help="sdp: masked until the end (default), or removed at every step"),
]
CriterionName = Annotated[
    str | None,
    typer.Option(
        "--criterion",
        help="auto (default), reconstruction, taylor, activation, magnitude or random",
    ),
]
AllocationName = Annotated[
    str | None,
    typer.Option(
        "--allocation", help="measured, global or uniform; by default what suits the criterion"
    ),
]
RepairName = Annotated[
    str | None,
    typer.Option(
        "--repair",
        help="after the cut, without labels or gradients: auto (default; the nearest to the "
        "teacher of what is tried) or none",
    ),
]
RepairImages = Annotated[
    int | None,
    typer.Option(max=LARGEST, help="training images that scoring and repair may see"),
]
Seed = Annotated[
    int,
    typer.Option(min=0, max=LARGEST, help="of splits, order, augmentation and measurement"),
]
Minutes = Annotated[float | None, typer.Option(help="of training; 10 by default")]
Epochs = Annotated[
    int | None,
    typer.Option(min=0, max=LARGEST, help="of training, in place of --minutes; 0: none"),
]
TeacherEpochs = Annotated[
    int | None,
    typer.Option(min=0, max=LARGEST, help="of training, in place of --minutes; 1 or more"),
]
Device = Annotated[str | None, typer.Option(help="cpu or cuda; cuda where there is one")]
Threads = Annotated[int, typer.Option(help="processor threads; 0 leaves the library's own number")]
BenchFiles = Annotated[
    list[str], typer.Argument(help=".onnx files, or .pt2 programs for torch; the first is compared")
]
Batches = Annotated[str, typer.Option("--batch", help="batch sizes, as 1,8,32")]
ThreadCounts = Annotated[str, typer.Option("--threads", help="numbers of threads, as 1,2")]
Precisions = Annotated[
    str, typer.Option("--precision", help="fp32, bf16 or fp16, where the runtime has a choice")
]
Runtimes = Annotated[
    str | None, typer.Option(help="names between commas, as onnxruntime,openvino; all by default")
]
Sizes = Annotated[
    list[str] | None,
    typer.Option("--size", help="NAME=N for a free size that is not the batch; may be repeated"),
]
BenchSeconds = Annotated[float, typer.Option("--seconds", help="for every setting and file")]
Within = Annotated[
    float, typer.Option(help="stop early where the interval reaches no farther; 0.01 is 1 %")
]
Processes = Annotated[
    int, typer.Option(help="fresh processes for every setting, at least; 3 or more")
]
JsonFile = Annotated[str | None, typer.Option("--json", help="write every figure to this file")]
SampleFolder = Annotated[str | None, typer.Option("--samples", help="folder for every timed call")]
Against = Annotated[str | None, typer.Option(help="an earlier --json file, of a like environment")]
StaticBatch = Annotated[
    bool, typer.Option("--static-batch", help="also an ONNX file whose batch is 1")
]
Triton = Annotated[
    bool, typer.Option("--triton", help="also a model repository for the Triton server")
]
SignKey = Annotated[
    str | None, typer.Option(help="PEM file of a private key (EC) that signs the folder")
]
Opset = Annotated[int | None, typer.Option(help="of the ONNX files")]
FullBenchmark = Annotated[
    bool,
    typer.Option(
        "--full-benchmark", help="also throughput by batch and streams, and load: a minute or two"
    ),
]
SloMs = Annotated[
    float | None,
    typer.Option("--slo-ms", help="p99 that load must keep, in milliseconds; --full-benchmark"),
]
PrecisionNames = Annotated[
    str, typer.Option("--precision", help="of the ONNX files, as fp32,fp16,bf16,int8")
]
CalibrationName = Annotated[
    str | None,
    typer.Option(
        "--calibration", help="how int8 finds its ranges: minmax (default), entropy or percentile"
    ),
]
MaxDrop = Annotated[
    float | None,
    typer.Option(help="points that a precision may lose before it is not advised; 1"),
]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON")]
AsMarkdown = Annotated[bool, typer.Option("--markdown", help="print Markdown")]
RunFolders = Annotated[list[str], typer.Argument(help="a run folder; several are compared")]
PageFile = Annotated[str | None, typer.Option("--html", help="also write a page")]
CsvFile = Annotated[
    str | None, typer.Option("--csv", help="also write a line for every timed call")
]
Everything = Annotated[bool, typer.Option("--all", help="show lists whole")]


def numbers(option: str, text: str | None) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise OptionError(f"{option} {text}: give numbers between commas, as .5,.5,.5") from None


def whole_numbers(option: str, text: str) -> tuple[int, ...]:
    try:
        found = tuple(int(part) for part in text.split(","))
    except ValueError:
        raise OptionError(f"{option} {text}: give whole numbers between commas, as 1,8") from None
    most = MOST_THREADS if option == "--threads" else LARGEST
    if max(found) > most:
        raise OptionError(f"{option} {text}: give at most {most}")
    return found


def words(text: str) -> tuple[str, ...]:
    """Names between commas, as ``fp32, int8``."""
    return tuple(part.strip() for part in text.split(","))


def budget_of(
    sparsity: float,
    of: str,
    multiple_of: int,
    keep_at_least: float,
    smallest_group: int,
    keep_whole: Sequence[str] | None,
) -> Budget:
    """Raises OptionError for an unknown measure, or a share that is none."""
    from compressor.types import Budget

    if of not in ("params", "macs", "channels"):
        raise OptionError(f"--of {of}: not one of params, macs, channels")
    if not 0.0 < sparsity < 1.0:
        raise OptionError(
            f"--sparsity {sparsity:g}: it is the share that goes; give a number between 0 and 1"
        )
    if not 0.0 <= keep_at_least <= 1.0:
        raise OptionError(
            f"--keep-at-least {keep_at_least:g}: it is a share of every group; give 0 to 1"
        )
    return Budget(
        sparsity=sparsity,
        of=of,  # type: ignore[arg-type]  # checked above
        multiple_of=multiple_of,
        keep_at_least=keep_at_least,
        smallest_group=smallest_group,
        keep_whole=tuple(keep_whole or ()),
    )


def length(
    minutes: float | None, epochs: int | None, full: int | None
) -> pacing.Deadline | pacing.Epochs | None:
    """How long to train; None for ``--epochs 0``, not at all.  ``full``: epochs of the published
    schedule, where that is wanted."""
    from compressor import pacing

    if full is not None:
        if minutes is not None or epochs is not None:
            raise OptionError("--full-schedule decides how long; leave --minutes and --epochs out")
        return pacing.Epochs(full)
    if minutes is not None and epochs is not None:
        raise OptionError("--minutes and --epochs exclude each other; give one")
    if epochs is not None:
        return pacing.Epochs(epochs) if epochs else None
    chosen = 10.0 if minutes is None else minutes
    if not (math.isfinite(chosen) and chosen > 0):
        raise OptionError(f"--minutes {chosen:g}: give a number above 0")
    return pacing.Deadline(60.0 * chosen)


def require_seconds(option: str, seconds: float) -> None:
    """Raises OptionError for what is no time, or has no end."""
    if not 0 <= seconds < math.inf:
        raise OptionError(f"{option} {seconds:g}: give a number of seconds, 0 or more")


def require_minutes(option: str, minutes: float) -> None:
    """Raises OptionError for what is no time, or has no end."""
    if not 0 < minutes < math.inf:
        raise OptionError(f"{option} {minutes:g}: give a number above 0")


def sample_of(repair_images: int | None) -> int | None:
    from compressor.refitting import FEWEST

    if repair_images is not None and repair_images < FEWEST:
        raise OptionError(
            f"--repair-images {repair_images}: give {FEWEST} or more, or --repair none"
        )
    return repair_images


def device_of(device: str | None) -> str:
    import torch

    if device is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    kind, colon, number = device.partition(":")
    if device != "cpu" and (kind != "cuda" or bool(colon) != number.isdecimal()):
        raise OptionError(f"--device {device}: not one of cpu, cuda, cuda:0 and so on")
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise SurroundingsError(f"--device {device}: torch sees no CUDA device here")
    return device


def set_threads(threads: int) -> None:
    import torch

    if not 0 <= threads <= MOST_THREADS:
        raise OptionError(f"--threads {threads}: give 0 or more, at most {MOST_THREADS}")
    if threads:
        torch.set_num_threads(threads)
