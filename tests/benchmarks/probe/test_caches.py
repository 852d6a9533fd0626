"""What one environment measured is not taken for another's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from benchmarks.probe.caches import (
    Measured,
    cache_file,
    cache_folder,
    environment_of,
    read_measured,
    write_measured,
)
from benchmarks.probe.stairs import Look
from benchmarks.probe.targets import Target
from compressor.errors import FolderError
from compressor.staircases import Operator, Staircase

OPERATOR = Operator(
    kind="convolution", inputs=8, outputs=16, space=(4, 4), kernel=(1, 1), stride=(1, 1),
    padding=(0, 0), dilation=(1, 1),
)  # fmt: skip
STAIRCASE = Staircase(
    operator=OPERATOR, side="outputs", widths=(8, 16), seconds=(1e-6, 2e-6), noise=0.01
)
MEASURED = Measured(
    looks=(Look(operator=OPERATOR, seconds=2e-6, beside_s=1e-6),), staircases=(STAIRCASE,)
)
TARGET = Target(runtime="onnxruntime")


def machine(**changes: object) -> Mapping[str, Any]:
    return {
        "cpu": "a processor", "flags": ["avx2"], "architecture": "x86_64", "system": "Linux",
        "load_average": [1.0], **changes,
    }  # fmt: skip


def test_what_was_measured_comes_back(tmp_path: Path) -> None:
    environment = environment_of(TARGET, machine)
    write_measured(MEASURED, environment, tmp_path)
    assert read_measured(environment, tmp_path) == MEASURED
    busier = environment_of(TARGET, lambda: machine(load_average=[9.0]))
    assert read_measured(busier, tmp_path) == MEASURED


@pytest.mark.parametrize(
    "change",
    [{"cpu": "another processor"}, {"flags": ["avx2", "amx_int8"]}, {"architecture": "aarch64"}],
)
def test_another_machine_knows_nothing(tmp_path: Path, change: dict[str, object]) -> None:
    write_measured(MEASURED, environment_of(TARGET, machine), tmp_path)
    elsewhere = environment_of(TARGET, lambda: machine(**change))
    assert read_measured(elsewhere, tmp_path) == Measured()


@pytest.mark.parametrize("change", [{"precision": "int8"}, {"threads": 2}, {"batch": 8}])
def test_another_setting_knows_nothing(tmp_path: Path, change: dict[str, Any]) -> None:
    write_measured(MEASURED, environment_of(TARGET, machine), tmp_path)
    assert read_measured(environment_of(replace(TARGET, **change), machine), tmp_path) == Measured()


def test_another_version_knows_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_measured(MEASURED, environment_of(TARGET, machine), tmp_path)
    monkeypatch.setattr("benchmarks.probe.caches.metadata.version", lambda package: "0.0")
    assert read_measured(environment_of(TARGET, machine), tmp_path) == Measured()


def test_a_file_under_the_name_of_another_environment_is_not_believed(tmp_path: Path) -> None:
    here = environment_of(TARGET, machine)
    elsewhere = environment_of(TARGET, lambda: machine(cpu="another processor"))
    written = write_measured(MEASURED, elsewhere, tmp_path)
    written.rename(cache_file(here, tmp_path))
    assert read_measured(here, tmp_path) == Measured()


def test_a_broken_file_is_no_file(tmp_path: Path) -> None:
    environment = environment_of(TARGET, machine)
    cache_file(environment, tmp_path).write_text("{")
    assert read_measured(environment, tmp_path) == Measured()


def test_new_staircases_take_the_place_of_old_ones() -> None:
    again = replace(STAIRCASE, seconds=(3e-6, 4e-6))
    inputs = replace(STAIRCASE, side="inputs", widths=(4, 8))
    assert MEASURED.with_((), (again, inputs)).staircases == (again, inputs)


def test_folder_is_the_one_that_is_asked_for() -> None:
    both = {"COMPRESSOR_CACHE": "/one", "XDG_CACHE_HOME": "/two"}
    assert cache_folder(both) == Path("/one")
    assert cache_folder({"XDG_CACHE_HOME": "/two"}) == Path("/two/compressor")
    assert cache_folder({}) == Path.home() / ".cache/compressor"


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FolderError, match="cannot write"):
        write_measured(MEASURED, environment_of(TARGET, machine), tmp_path / "file")


def test_a_runtime_under_another_package_name_has_a_version(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def version(package: str) -> str:
        if package == "onnxruntime":
            raise metadata.PackageNotFoundError(package)
        return f"{package} 1.2"

    monkeypatch.setattr(metadata, "version", version)
    assert environment_of(TARGET, machine)["version"] == "onnxruntime-gpu 1.2"
