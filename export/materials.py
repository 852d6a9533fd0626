"""``bom.cdx.json``: what the folder is made of, as a CycloneDX bill of materials.

Comes in: a folder, its report, package versions.  Goes out: an ML-BOM of one machine-learning model
with its model card, the hash of every file and the packages that made it.  No clock and no random
number: the serial number is made of the hashes.  Knows nothing of torch.

Format: CycloneDX 1.6, https://cyclonedx.org/docs/1.6/json.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from compressor.files import sha256, write_bytes
from export.manifest import MANIFEST_FILE, SIGNATURE_FILE, list_files
from export.outputs import Outputs

MATERIALS_FILE = "bom.cdx.json"
LATER = (MATERIALS_FILE, MANIFEST_FILE, SIGNATURE_FILE)  # written after what is listed
TOOL = "compressor"
# What running a deployable takes, either of them; all else took part in making it.
RUNNERS = ("onnxruntime", "onnxruntime-gpu")


def write_materials(
    folder: Path,
    name: str,
    report: Mapping[str, Any],
    versions: Mapping[str, str],
    outputs: Outputs,
) -> Path:
    """List every file of ``folder`` but the manifest and the signature, and the packages.

    ``report`` as in docs/design.md, section 6; what it does not say is left out.
    """
    files = [_file(folder, path) for path in list_files(folder, LATER)]
    model = {
        "type": "machine-learning-model",
        "bom-ref": "model",
        "name": name,
        "modelCard": _model_card(report, outputs),
        "components": files,
    }
    others = sorted(versions.keys() - {TOOL})
    packages = [_package(package, versions[package]) for package in others]
    needed = [one["bom-ref"] for one in packages if one["scope"] == "required"]
    content = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"tools": {"components": [_tool(versions)]}, "component": model},
        "components": packages,
        "dependencies": [{"ref": "model", "dependsOn": needed}],
    }
    named = uuid.uuid5(uuid.NAMESPACE_OID, json.dumps(content, sort_keys=True))
    content["serialNumber"] = f"urn:uuid:{named}"
    path = folder / MATERIALS_FILE
    write_bytes(path, (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode())
    return path


def _file(folder: Path, path: str) -> dict[str, Any]:
    return {
        "type": "file",
        "bom-ref": f"file:{path}",
        "name": path,
        "hashes": [{"alg": "SHA-256", "content": sha256(folder / path)}],
    }


def _tool(versions: Mapping[str, str]) -> dict[str, Any]:
    version = {"version": versions[TOOL]} if TOOL in versions else {}
    return {"type": "application", "name": TOOL, **version}


def _package(name: str, version: str) -> dict[str, Any]:
    """A package with its purl (https://github.com/package-url/purl-spec)."""
    kind, own = ("generic", name) if name == "python" else ("pypi", name.lower().replace("_", "-"))
    purl = f"pkg:{kind}/{quote(own)}@{quote(version, safe='')}"
    return {
        "type": "platform" if name == "python" else "library",
        "bom-ref": purl,
        "name": name,
        "version": version,
        "scope": "required" if name in RUNNERS else "excluded",
        "purl": purl,
    }


def _model_card(report: Mapping[str, Any], outputs: Outputs) -> dict[str, Any]:
    """What was measured; the schema's text fields that nobody measured are not filled in."""
    parameters: dict[str, Any] = {
        "inputs": [{"format": "image"}],
        "outputs": [{"format": f"{one.name} {one.shape}"} for one in outputs.each],
    }
    if outputs.task is not None:
        parameters["task"] = outputs.task
    teacher = report.get("teacher") or {}
    if teacher.get("architecture"):
        parameters["modelArchitecture"] = teacher["architecture"]
    data = report.get("data") or {}
    if data.get("name"):
        parameters["datasets"] = [{"type": "dataset", "name": data["name"]}]
    card: dict[str, Any] = {"modelParameters": parameters}
    measured = [*_accuracies(report), *_speeds(report)]
    if measured:
        card["quantitativeAnalysis"] = {"performanceMetrics": measured}
    return card


def _accuracies(report: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for one in report.get("deployables") or ():
        for name, value in sorted((one.get("metrics") or {}).items()):
            yield {"type": name, "value": f"{value:.6g}", "slice": one["file"]}


def _speeds(report: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Speed-ups against the teacher; an invalid measurement is none."""
    for row in report.get("benchmarks") or ():
        if row["verdict"] == "invalid" or not row.get("interval"):
            continue
        low, high = row["interval"]
        noisy = row.get("status", "VALID") != "VALID"
        yield {
            "type": f"speed-up against the teacher{' (noisy)' if noisy else ''}",
            "value": f"{row['speedup']:.6g}",
            "slice": f"{row['runtime']}, {row['precision']}, batch {row['batch']}",
            "confidenceInterval": {"lowerBound": f"{low:.6g}", "upperBound": f"{high:.6g}"},
        }
