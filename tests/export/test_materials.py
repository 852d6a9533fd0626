"""The bill of materials against CycloneDX's own schema."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from referencing import Registry, Resource

from compressor.files import sha256
from export.manifest import write_manifest
from export.materials import write_materials

VERSIONS = {"python": "3.11.7", "torch": "2.15.0+cpu", "onnx_ir": "1.1.0", "onnxruntime": "1.31.1",
            "compressor": "0.1.0"}  # fmt: skip


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
    path = write_materials(product, "net-student", report, VERSIONS)
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
    accuracy, speed = model["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    assert accuracy == {"type": "top1", "value": "0.915", "slice": "onnx/student.onnx"}
    assert speed["confidenceInterval"] == {"lowerBound": "1.95", "upperBound": "2.06"}


def test_the_validator_is_one_that_refuses(
    product: Path, report: dict[str, Any], validator: jsonschema.Draft7Validator
) -> None:
    content = json.loads(write_materials(product, "net", report, VERSIONS).read_bytes())
    content["metadata"]["component"]["modelCard"]["accuracy"] = 1
    with pytest.raises(jsonschema.ValidationError):
        validator.validate(content)


def test_a_network_of_which_nothing_is_known_has_a_valid_one_too(
    product: Path, validator: jsonschema.Draft7Validator
) -> None:
    content = json.loads(write_materials(product, "net", {}, {}).read_bytes())
    validator.validate(content)
    assert "quantitativeAnalysis" not in content["metadata"]["component"]["modelCard"]


def test_equal_folders_have_equal_bytes_and_another_hash_gives_another_serial_number(
    product: Path, report: dict[str, Any]
) -> None:
    path = write_materials(product, "net", report, VERSIONS)
    first = path.read_bytes()
    write_manifest(product, (), 0, {})
    (product / "model.sig").write_bytes(b"")
    backwards = dict(reversed(VERSIONS.items()))
    assert write_materials(product, "net", report, backwards).read_bytes() == first
    (product / "labels.json").write_text("[]")
    other = json.loads(write_materials(product, "net", report, VERSIONS).read_bytes())
    assert other["serialNumber"] != json.loads(first)["serialNumber"]
