"""``README.md``: a folder's model card in the form Hugging Face reads, of measured facts only.

Comes in: the folder's report, preprocessing, labels.  Goes out: Markdown with front matter and with
code that runs as it stands.  Names that come from files are escaped.  What nobody measured is said
to be unknown; licence and intended use are left to whoever publishes the model.  Knows nothing of
torch.

Form: https://huggingface.co/docs/hub/model-cards.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from benchmarks import formatting
from benchmarks.entries import entry
from benchmarks.figures import plain
from benchmarks.markdown import escaped
from benchmarks.verdict import caveats, describe_speed, judge, verdict
from benchmarks.wording import is_by_processor_time, judged
from compressor.errors import DefectError
from compressor.files import write_bytes
from compressor.types import Preprocessing
from export.golden import GOLDEN_FILE, output_keys, read_golden
from export.outputs import Outputs

CARD_FILE = "README.md"
STUDENT = "onnx/student.onnx"
PILLOW = {"nearest": "NEAREST", "lanczos": "LANCZOS", "bilinear": "BILINEAR", "bicubic": "BICUBIC",
          "box": "BOX", "hamming": "HAMMING"}  # fmt: skip


def write_card(
    folder: Path,
    name: str,
    report: Mapping[str, Any],
    preprocessing: Preprocessing,
    labels: tuple[str, ...] | None,
    outputs: Outputs,
) -> Path:
    """Write the card of the student in ``folder``, whose golden samples are there already.

    ``report`` as in docs/design.md, section 6; without ``budget`` the network is an exported one
    from which nothing is known to have been removed.
    """
    answered = read_golden(folder).outputs.get(STUDENT)
    if answered is None:
        raise DefectError(f"{GOLDEN_FILE} has no answers of {STUDENT} for the model card to show")
    environment = Environment(
        loader=PackageLoader("export"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"text": escaped, "code": code_span}
    built = report.get("budget") is not None
    speeds = entry(report).get("benchmarks").each()
    text = environment.get_template("model_card.md.j2").render(
        name=name,
        report=report,
        built=built,
        verdict=verdict(report) if built else None,
        speed=plain(describe_speed(report)) if built else None,
        judgement=judge(report) if built else None,
        verdicts=[judged(row) for row in speeds],
        by_processor_time=any(is_by_processor_time(row) for row in speeds),
        caveats=caveats(report) if built else (),
        preprocessing=preprocessing,
        labels=labels,
        outputs=outputs,
        named=labels is not None and outputs.task == "image-classification",
        resampling=PILLOW[preprocessing.interpolation],
        student=STUDENT,
        golden=GOLDEN_FILE,
        golden_keys=list(output_keys(STUDENT, len(answered))),
        triton=sorted(path.name for path in folder.glob("triton/*")),
        f=formatting,
    )
    path = folder / CARD_FILE
    write_bytes(path, text.encode())
    return path


def code_span(value: object) -> str:
    """A code span of one line, fenced by more backticks than are in it."""
    line = "".join(c if c.isprintable() else " " for c in str(value)).replace("|", "\u2502").strip()
    longest = max((len(run) for run in re.findall(r"`+", line)), default=0)
    space = " " if line.startswith("`") or line.endswith("`") else ""
    return f"{'`' * (longest + 1)}{space}{line}{space}{'`' * (longest + 1)}" if line else "(empty)"
