"""What each precision costs a trained network, and what each calibration of int8 does.

    python -m benchmarks.studies.precision_drops --teacher FILE --arch SPEC --data FOLDER

Exports the network, makes its float16, bfloat16 and int8 files (int8 once for each calibration) and
measures all of them on the test images in ONNX Runtime.  Prints a Markdown table; the files go to a
folder that is removed.  Seconds include the checks, on a machine that may be busy.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from benchmarks import formatting
from benchmarks.environment import describe
from compressor.data import ImageData, batches, open_data
from compressor.graphs import export_program
from compressor.loading import capture_teacher, load
from compressor.samples import evaluation_images, sample_of
from export.deployables import Deployable, Metrics
from export.descriptions import Description
from export.lowering import CALIBRATION_IMAGES, Examples, lower
from export.precisions import CALIBRATIONS, PRECISIONS
from export.shipping import Subject, measure, ship_onnx

PARITY_SAMPLES = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--teacher", required=True)
    parser.add_argument("--arch")
    parser.add_argument("--data", required=True)
    parser.add_argument("--image-size", type=int)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    teacher = load(options.teacher, options.arch, image_size=options.image_size)
    graph = capture_teacher(teacher)
    facts = Description(architecture=teacher.source.architecture, tool_version="study")
    data = open_data(
        options.data, preprocessing=teacher.preprocessing, outputs=None, seed=options.seed
    )
    images = evaluation_images(data)
    first = replace(images, pixels=images.pixels[:PARITY_SAMPLES], labels=None)
    samples = torch.cat([pixels for pixels, _ in batches(first, data.preprocessing, 64)])
    seen = [pixels.numpy() for pixels, _ in sample_of(data, CALIBRATION_IMAGES, options.seed)]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        subject = Subject(name="teacher", graph=graph, description=facts)
        (whole,) = ship_onnx(folder, subject, export_program(graph), samples)
        print(f"{len(images)} test images, {sum(map(len, seen))} to calibrate on")
        print(f"{describe()['cpu']}, {' '.join(describe()['flags'])}\n")
        print("| precision | size, MB | top-1, % | rounded, % | lost, points | worst | seconds |")
        print("| --- | --- | --- | --- | --- | --- | --- |")
        print(line(measured(folder, (whole,), data, samples), "", 0.0))
        for precision in PRECISIONS[1:]:
            for method in CALIBRATIONS if precision.name == "int8" else CALIBRATIONS[:1]:
                examples = Examples(
                    batches=lambda: ((part,) for part in seen),
                    images=sum(map(len, seen)),
                    source="training images",
                    method=method,
                )
                start = time.perf_counter()
                made = lower(folder, "teacher", precision, facts, examples, graph, samples)
                seconds = time.perf_counter() - start
                found = measured(folder, (whole, made.deployable), data, samples)
                said = f" {method}" if found.calibration else ""
                print(line(found, said, seconds), flush=True)


def measured(
    folder: Path, files: tuple[Deployable, ...], data: ImageData, samples: Tensor
) -> Deployable:
    """The last of ``files``, its worst tensors named whatever it loses."""
    images = evaluation_images(data)
    return measure(folder, files, images, data.preprocessing, samples, max_drop=-101.0)[-1]


def line(one: Deployable, method: str, seconds: float) -> str:
    def points(found: Metrics | None) -> str:
        return formatting.share(found.top1 if found else None, 2).removesuffix(" %")

    lost = f"{one.drop.points:.2f} ± {one.drop.error:.2f}" if one.drop else ""
    worst = one.worst_tensors[0].tensor if one.worst_tensors else ""
    cells = (
        f"{one.precision}{method}", f"{one.bytes / 1e6:.2f}", points(one.metrics),
        points(one.rounded), lost, worst, f"{seconds:.1f}",
    )  # fmt: skip
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
