"""The bill of materials against CycloneDX's own schema."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from referencing import Registry, Resource

from compressor.files import sha256
from export.manifest import write_manifest
from export.materials import write_materials
from export.outputs import read_outputs

VERSIONS = {"python": "3.11.7", "torch": "2.15.0+cpu", "onnx_ir": "1.1.0", "onnxruntime": "1.31.1",
            "compressor": "0.1.0"}  # fmt: skip


def written(
    folder: Path, report: dict[str, Any], versions: Mapping[str, str] | None = None
) -> Path:
    outputs = read_outputs(folder / "onnx" / "student.onnx", None)
    known = VERSIONS if versions is None else versions
    return write_materials(folder, "net-student", report, known, outputs)


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft7Validator:
    folder = resources.files("cyclonedx.schema") / "_res"
    names = ("bom-1.6", "spdx", "jsf-0.82")
    schemas = {
        name: json.loads((folder / f"{name}.SNAPSHOT.schema.json").read_text()) for name in names
    }
    registry = Registry().with_resources(
        (schema["$id"].replace(name, f"{name}.SNAPSHOT"), Resource.from_contents(schema))
        for name, schema in schemas.items()
    )
    return jsonschema.Draft7Validator(schemas["bom-1.6"], registry=registry)


def test_it_is_valid_and_tells_files_packages_and_measurements(
    product: Path, report: dict[str, Any], validator: jsonschema.Draft7Validator
) -> None:
    path = written(product, report)
    content = json.loads(path.read_bytes())
    validator.validate(content)
    model = content["metadata"]["component"]
    assert (model["type"], model["name"]) == ("machine-learning-model", "net-student")
    listed = {one["name"]: one["hashes"][0]["content"] for one in model["components"]}
    there = {p.relative_to(product).as_posix() for p in product.rglob("*") if p.is_file()}
    assert listed.keys() == there - {"bom.cdx.json"}
    assert all(digest == sha256(product / name) for name, digest in listed.items())
    assert [one["purl"] for one in content["components"]] == [
        "pkg:pypi/onnx-ir@1.1.0",
        "pkg:pypi/onnxruntime@1.31.1",
        "pkg:generic/python@3.11.7",
        "pkg:pypi/torch@2.15.0%2Bcpu",
    ]
    told = model["modelCard"]["modelParameters"]
    assert told["task"] == "image-classification"
    assert told["outputs"] == [{"format": "logits (batch, 4)"}]
    accuracy, speed = model["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    assert accuracy == {"type": "top1", "value": "0.915", "slice": "onnx/student.onnx"}
    assert speed["confidenceInterval"] == {"lowerBound": "1.95", "upperBound": "2.06"}


def test_the_validator_is_one_that_refuses(
    product: Path, report: dict[str, Any], validator: jsonschema.Draft7Validator
) -> None:
    content = json.loads(written(product, report).read_bytes())
    content["metadata"]["component"]["modelCard"]["accuracy"] = 1
    with pytest.raises(jsonschema.ValidationError):
        validator.validate(content)


def test_a_network_of_which_nothing_is_known_has_a_valid_one_too(
    product: Path, validator: jsonschema.Draft7Validator
) -> None:
    content = json.loads(written(product, {}, {}).read_bytes())
    validator.validate(content)
    assert "quantitativeAnalysis" not in content["metadata"]["component"]["modelCard"]


def test_equal_folders_have_equal_bytes_and_another_hash_gives_another_serial_number(
    product: Path, report: dict[str, Any]
) -> None:
    path = written(product, report)
    first = path.read_bytes()
    write_manifest(product, (), 0, {})
    (product / "model.sig").write_bytes(b"")
    backwards = dict(reversed(VERSIONS.items()))
    assert written(product, report, backwards).read_bytes() == first
    (product / "labels.json").write_text("[]")
    other = json.loads(written(product, report).read_bytes())
    assert other["serialNumber"] != json.loads(first)["serialNumber"]
