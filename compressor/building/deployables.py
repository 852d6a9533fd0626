"""A finished student becomes the files that ship, each checked and its accuracy measured.

Comes in: a ``Standing``.  Goes out: what the report says of each file.  Both stages are journaled.
Knows nothing of clocks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
import torch

from compressor.building.stages import Made, files_in, once
from compressor.data import Images, batches
from compressor.evaluation import output_size
from compressor.execution import Site, Standing
from compressor.loading import Teacher
from compressor.runs import Run
from compressor.samples import digest, evaluation_images
from compressor.types import Precisions

PARITY_SAMPLES = 8  # batches of 1, 2 and 5
SHIPPED = ("student.*", "onnx/*", "golden.npz", "preprocessor_config.json", "labels.json")


def ship_student(
    run: Run,
    teacher: Teacher,
    site: Site,
    standing: Standing,
    precisions: Precisions,
    opset: int | None,
    threads: int,
    static_batch: bool,
) -> tuple[Any, ...]:
    from export.deployables import Deployable
    from export.descriptions import Description
    from export.manifest import installed_versions
    from export.outputs import task_of
    from export.precisions import precisions_of
    from export.preprocessing import write_preprocessing
    from export.shipping import Subject, measure, output_sizes, ship
    from export.weights import write_weights

    data, student, plan = site.data, standing.student, standing.plan
    labels = teacher.labels or (data.classes if len(data.classes) == output_size(student) else None)
    facts = Description(
        architecture=teacher.source.architecture,
        tool_version=installed_versions().get("compressor", "unknown"),
        task=task_of(output_sizes(student), labels),
        preprocessing=data.preprocessing,
        labels=labels,
        teacher_sha256=teacher.source.sha256,
    )
    cut = replace(facts, sparsity=plan.achieved, sparsity_of=plan.budget.of) if plan else facts
    images = evaluation_images(data)
    first = Images(pixels=images.pixels[:PARITY_SAMPLES], labels=None)
    samples = torch.cat([pixels for pixels, _ in batches(first, data.preprocessing, 64)])

    def export() -> Made:
        with site.watch.timed("export"):
            site.listener.stage("export and verify")
            write_weights(student, run.folder / "student.safetensors")
            made = ship(
                run.folder,
                Subject(name="teacher", graph=site.graph, description=facts),
                Subject(name="student", graph=student, description=cut),
                samples,
                precisions=precisions_of(precisions.names),
                examples=_examples(site, precisions.calibration),
                opset=opset,
                threads=threads,
                static_batch=static_batch,
            )
            write_preprocessing(run.folder, data.preprocessing, labels)
        return Made(value=made, files=files_in(run, *SHIPPED))

    def evaluate() -> Made:
        with site.watch.timed("evaluation"):
            site.listener.stage("measure the files")
            made = measure(
                run.folder,
                shipped,
                images,
                data.preprocessing,
                samples,
                max_drop=precisions.max_drop,
                threads=threads,
            )
        return Made(value=made)

    def done(stage: str, depends_on: Any, work: Callable[[], Made]) -> tuple[Deployable, ...]:
        found = once(run, site.watch, stage, depends_on, work)
        return msgspec.convert(found, tuple[Deployable, ...])

    shipped = done("export", [run.mark("phases"), threads, opset], export)
    asked = [run.mark("export"), digest(images), precisions.max_drop, threads]
    return done("evaluation", asked, evaluate)


def _examples(site: Site, calibration: str) -> Any:
    """Training images as lower precisions see them, some of those that scoring saw."""
    from export.lowering import CALIBRATION_IMAGES, Examples

    inputs = torch.cat([x for x, _ in site.sample])[:CALIBRATION_IMAGES]
    size = len(site.sample[0][0])  # as many at a time as scoring looked at
    return Examples(
        batches=lambda: ((part.numpy(),) for part in inputs.split(size)),
        images=len(inputs),
        source="synthetic pictures" if site.data.name == "synthetic" else "training images",
        method=calibration,
    )
