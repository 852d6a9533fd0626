"""The model card: its code runs, its numbers are the report's, its text is text."""

from __future__ import annotations

import copy
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from markdown_it import MarkdownIt
from PIL import Image
from torch import Tensor, nn
from torch.export import ExportedProgram

from benchmarks.markdown import escaped
from compressor.data import Images, batches
from compressor.errors import DefectError
from compressor.folders import decode
from compressor.types import Preprocessing
from export.descriptions import Description
from export.golden import read_golden, write_golden
from export.manifest import write_manifest
from export.model_cards import STUDENT, code_span, write_card
from export.onnx_files import write_onnx
from export.outputs import read_outputs
from export.prediction import open_run, predict
from export.preprocessing import read_preprocessing, write_preprocessing
from export.verification import verify

HOSTILE = "a\n# b\n---\n<script>x</script> [y](http://z) ![q](w) `c` | d {{ e }} $f$ *g* www.h.i @j"


def card_of(
    folder: Path, report: dict[str, Any], preprocessing: Preprocessing | None = None
) -> str:
    own, labels = read_preprocessing(folder)
    outputs = read_outputs(folder / STUDENT, labels)
    card = write_card(folder, "net-student", report, preprocessing or own, labels, outputs)
    return card.read_text()


def blocks(card: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", card, flags=re.DOTALL)


def run(code: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error::DeprecationWarning", "-c", code],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("resize", [18, None])
@pytest.mark.parametrize("size", [(40, 23), (9, 12)])
def test_its_code_answers_as_the_project_itself_does(
    resize: int | None, size: tuple[int, int], product: Path, report: dict[str, Any]
) -> None:
    pictures = Preprocessing(
        crop=(16, 16), mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4), resize=resize,
        interpolation="bicubic",
    )  # fmt: skip
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    Image.fromarray(pixels).save(product.parent / "picture.png")
    classify, check = blocks(card_of(product, report, pictures))
    assert len([line for line in classify.splitlines() if line]) == 11
    images = Images(pixels=decode([product.parent / "picture.png"], pictures).pixels, labels=None)
    ((inputs, _),) = batches(images, pictures, 1)
    logits = predict(product / "onnx" / "student.onnx", [inputs.numpy()])
    said = run(f"{classify}\nprint(outputs[0].tolist())", product).splitlines()
    labels = json.loads((product / "labels.json").read_text())
    assert said[0] == labels[logits[0].argmax()]
    assert np.allclose(json.loads(said[1]), logits, rtol=0, atol=1e-5)
    difference = float(run(check, product).rpartition(": ")[2])
    assert difference < 1e-6
    # the answer that is compared is the golden one
    golden = read_golden(product)
    wrong = {file: [one + 1 for one in given] for file, given in golden.outputs.items()}
    write_golden(product, golden.inputs, wrong)
    assert float(run(check, product).rpartition(": ")[2]) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("form", ["map", "two outputs"])
def test_it_tells_of_outputs_that_are_no_class_scores_of_a_picture(
    form: str,
    make_net: Callable[[str], nn.Module],
    export_net: Callable[[nn.Module, Tensor], ExportedProgram],
    images: Tensor,
    product: Path,
    report: dict[str, Any],
) -> None:
    torch.manual_seed(0)
    net = nn.Conv2d(3, 5, 3, padding=1).eval() if form == "map" else make_net(form)
    path = product / STUDENT
    facts = Description(architecture="tests:net", tool_version="0.1")
    write_onnx(export_net(net, images[:2]), path, facts)
    inputs = images[:4].numpy()
    given = open_run(path)((inputs,))
    write_golden(product, inputs, {STUDENT: given})
    (product / "labels.json").unlink()
    Image.new("RGB", (16, 16), "red").save(product.parent / "picture.png")
    card = card_of(product, report)
    use, check = blocks(card)
    write_manifest(product, (), 0, {})
    front, said = yaml.safe_load(card.split("---\n")[1]), run(use, product)
    if form == "map":
        assert "- `logits` (batch, 5, 16, 16)" in card
        assert "taken for class scores at every place of the picture" in card
        assert front["pipeline_tag"] == "image-segmentation"
        drawn = (np.array([1, 0, 0], np.float32).reshape(1, 3, 1, 1) - 0.5) / 0.2
        pixels = np.broadcast_to(drawn, (1, 3, 16, 16)).astype(np.float32)
        assert said == f"{predict(path, [pixels])[0].argmax(0)}\n"
    else:
        assert "- `logits` (batch, 4)\n- `features` (batch, 8)\n" in card
        assert "What they mean is not known" in card
        assert "pipeline_tag" not in front
        assert said == "logits (1, 4)\nfeatures (1, 8)\n"
    assert float(run(check, product).rpartition(": ")[2]) < 1e-6
    assert verify(product).passed  # as before its code was run
    write_golden(product, inputs, {STUDENT: [*given[:-1], given[-1] + 1]})
    assert float(run(check, product).rpartition(": ")[2]) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("resize", [18, None])
def test_it_says_where_the_preprocessing_file_says_less(
    resize: int | None, product: Path, report: dict[str, Any]
) -> None:
    pictures = Preprocessing(crop=(16, 16), mean=(0.5,) * 3, std=(0.2,) * 3, resize=resize)
    write_preprocessing(product, pictures)
    content = json.loads((product / "preprocessor_config.json").read_text())
    (line,) = (one for one in card_of(product, report).splitlines() if "preprocessor_" in one)
    assert content["do_resize"] == line.endswith("The same is in `preprocessor_config.json`.")
    assert content["do_resize"] != ("but for the enlarging" in line)


def test_grey_pictures_without_labels(product: Path, report: dict[str, Any]) -> None:
    pictures = Preprocessing(crop=(16, 16), mean=(0.5,), std=(0.2,))
    (product / "labels.json").unlink()
    classify, _ = blocks(card_of(product, report, pictures))
    assert 'convert("L")' in classify
    assert "labels" not in classify
    compile(classify, "card", "exec")


def test_its_front_matter_names_no_licence(product: Path, report: dict[str, Any]) -> None:
    front = yaml.safe_load(card_of(product, report).split("---\n")[1])
    assert front["library_name"] == "onnx"
    assert front["pipeline_tag"] == "image-classification"
    assert "structured-pruning" in front["tags"]
    assert "license" not in front
    report["proof"] = None
    front = yaml.safe_load(card_of(product, report).split("---\n")[1])
    assert "structured-pruning" not in front["tags"]


def test_its_numbers_are_those_of_the_report(product: Path, report: dict[str, Any]) -> None:
    card = card_of(product, report)
    for told in (
        "NOISY: 3.3x fewer parameters, 2.00x faster at batch 1", "4,000 | 1,200", "90,000 | 30,000",
        "70.03 %", "top-1 93.0 % | top-1 92.0 %", "| top-1 91.5 % |", "2.0e-7 on 8 samples",
        "2.00 (1.95 to 2.06) | faster", "unknown | invalid", "tolerance 1.0e-9", "a processor",
    ):  # fmt: skip
        assert told in card, told


def test_a_ratio_of_processor_times_is_not_told_as_one_of_the_clocks(
    product: Path, report: dict[str, Any]
) -> None:
    assert "by processor time" not in card_of(product, report)
    report["benchmarks"][0]["decided_by"] = "cpu"
    card = card_of(product, report)
    assert "2.00 (1.95 to 2.06) | faster, by processor time |" in card
    assert "Medians are by the clock." in card
    assert card.count("by processor time |") == 1


def test_a_network_of_which_nothing_is_known_claims_nothing(product: Path) -> None:
    report = {
        "student": {"architecture": "exported:net", "sha256": "ab" * 32},
        "deployables": [],
        "notes": ["golden inputs are random"],
    }
    card = card_of(product, report)
    assert "Nothing is known here of how it was made" in card
    assert "- golden inputs are random" in card
    assert not re.search("faster|Proof|pruning|fewer", card)


def strings(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths to every text in a report."""
    if isinstance(value, str):
        return [path]
    if not isinstance(value, dict | list):
        return []
    parts = value.items() if isinstance(value, dict) else enumerate(value)
    return [found for key, part in parts for found in strings(part, (*path, key))]


def structure(card: str) -> list[str]:
    """What a Markdown parser sees besides text: headings, tables, spans, links, HTML."""
    front, body = card.split("---\n", 2)[1:]
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(body)
    inner = [child.type for token in tokens for child in token.children or ()]
    # Repositories' pages also make links of bare addresses.
    bare = re.sub(r"(`+)(?!`).*?(?<!`)\1(?!`)", "", re.sub(r"\\.", "", body))
    assert not re.search(r"://|www\.|\s@", bare)
    return [front, *(t.type for t in tokens), *(t for t in inner if t != "text")]


def test_no_text_of_the_report_becomes_markup(product: Path, report: dict[str, Any]) -> None:
    report |= {"warnings": ["w"], "notes": ["n"], "data": {"name": "d", "test": 5}}
    report["benchmarks_skipped"] = [dict(report["benchmarks"][0], reason="none")]
    plain = structure(card_of(product, report))
    assert not {"html_block", "html_inline", "link_open", "image"} & set(plain)
    for path in strings(report):
        attacked = copy.deepcopy(report)
        place = attacked
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = HOSTILE
        found = structure(card_of(product, attacked))
        if path[-1] == "verdict":  # decides what the card says
            assert set(found) <= set(plain), path
        else:
            assert found == plain, path
    with pytest.raises(AssertionError):
        structure(f"---\n---\n{HOSTILE}")


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("2.0x fewer", "2.0x fewer"),
        ("1. one", "1\\. one"),
        ("- a", "\\- a"),
        ("# a", "\\# a"),
        ("a_b*", "a\\_b\\*"),
        ("  a\tb\x00 ", "a b"),
        ("<&", "&lt;&amp;"),
    ],
)
def test_escaped_text_reads_as_it_was(raw: str, shown: str) -> None:
    assert escaped(raw) == shown


def test_a_code_span_holds_backticks_and_bars() -> None:
    assert code_span("a`b``c") == "```a`b``c```"
    assert code_span("`") == "`` ` ``"
    assert "|" not in code_span("a|b")


def test_golden_answers_of_another_file_are_a_defect(product: Path, report: dict[str, Any]) -> None:
    write_golden(product, read_golden(product).inputs, {})
    with pytest.raises(DefectError, match="no answers of onnx/student"):
        card_of(product, report)


def test_a_file_that_was_checked_elsewhere_says_where(
    product: Path, report: dict[str, Any]
) -> None:
    changed = copy.deepcopy(report)
    changed["deployables"][0] |= {"checked_in": "openvino"}
    lines = card_of(product, changed).splitlines()
    assert len([line for line in lines if " samples in openvino |" in line]) == 1
