"""Seconds and peak memory of everything but training: load to verified ONNX files.

    python -m benchmarks.studies.pipeline_cost --teacher resnet50.pt --sparsity 0.7 --threads 2

Runs the stages of ``compressor build`` without repair, training and benchmark, in one process, and
prints a line per stage and the process's peak.  The files go to a folder that is removed.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
from pathlib import Path

import torch

from compressor.analysis import analyze
from compressor.loading import capture_teacher, load
from compressor.planning import plan
from compressor.proof import prove
from compressor.removal import remove
from compressor.scoring import score
from compressor.types import Budget
from compressor.watching import Stopwatch
from export.descriptions import Description
from export.shipping import Subject, ship


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--teacher", required=True)
    parser.add_argument("--arch")
    parser.add_argument("--image-size", type=int)
    parser.add_argument("--sparsity", type=float, default=0.7)
    parser.add_argument("--threads", type=int, default=0)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    watch = Stopwatch()
    with watch.timed("load"):
        teacher = load(options.teacher, options.arch, image_size=options.image_size)
    with watch.timed("capture"):
        graph = capture_teacher(teacher)
    with watch.timed("analysis"):
        analysis = analyze(graph)
    with watch.timed("plan"):
        chosen = plan(analysis, score(graph, analysis), Budget(options.sparsity))
    with watch.timed("removal"):
        student = remove(graph, analysis, chosen)
    with watch.timed("proof"):
        proof = prove(graph, student, analysis, chosen)
    facts = Description(architecture=teacher.source.architecture, tool_version="study")
    samples = torch.randn(8, *graph.example_inputs[0].shape[1:])
    with tempfile.TemporaryDirectory() as folder, watch.timed("export and parity"):
        ship(
            Path(folder),
            Subject(name="teacher", graph=graph, description=facts),
            Subject(name="student", graph=student, description=facts),
            samples,
            threads=options.threads,
        )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    lines = [f"{name:20}{seconds:8.2f} s" for name, seconds in watch.seconds.items()]
    lines.append(f"{'all':20}{sum(watch.seconds.values()):8.2f} s, peak {peak:.2f} GiB")
    lines.append(f"proof passed: {proof.passed}, {chosen.achieved:.4f} of the parameters gone")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
