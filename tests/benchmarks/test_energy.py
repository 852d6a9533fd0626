"""Energy: from a made-up powercap folder, with its wrap, and the reasons why there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.energy import BLOCK_S, Rapl, find_meters, measure


def package(root: Path, microjoules: int, wrap: int = 1_000_000) -> Path:
    folder = root / "intel-rapl:0"
    folder.mkdir(parents=True)
    (folder / "name").write_text("package-0\n")
    (folder / "max_energy_range_uj").write_text(f"{wrap}\n")
    (folder / "energy_uj").write_text(f"{microjoules}\n")
    return folder


def test_package_is_found_and_its_counter_may_start_anew(tmp_path: Path) -> None:
    folder = package(tmp_path, 999_000)
    (meter,), reason = find_meters("cpu", tmp_path)
    assert reason is None
    assert meter.name == "package-0"
    before = meter.read()
    (folder / "energy_uj").write_text("4000\n")
    assert meter.joules_since(before) == pytest.approx((1_000_001 - 999_000 + 4000) / 1e6)


def test_joules_are_per_call_of_each_subject(tmp_path: Path) -> None:
    folder = package(tmp_path, 0, wrap=1 << 40)
    now, spent = 0, 0

    def call(milliseconds: int, microjoules: int) -> None:
        nonlocal now, spent
        now += milliseconds * 1_000_000
        spent += microjoules
        (folder / "energy_uj").write_text(str(spent))

    found = measure(
        {"teacher": lambda: call(10, 700), "student": lambda: call(5, 200)},
        [Rapl(name="package-0", folder=folder, wrap=1 << 40)],
        seconds=4 * BLOCK_S,
        clock=lambda: now,
    )
    assert found.joules["teacher"]["package-0"] == pytest.approx(700e-6)
    assert found.joules["student"]["package-0"] == pytest.approx(200e-6)
    assert found.calls["student"] >= 2 * found.calls["teacher"] > 0


def test_reason_is_said_where_nothing_can_be_read(tmp_path: Path) -> None:
    meters, reason = find_meters("cpu", tmp_path / "absent")
    assert meters == ()
    assert str(reason).startswith("not measurable here: there is no energy counter in")
    package(tmp_path, 0).joinpath("max_energy_range_uj").write_text("odd")
    meters, reason = find_meters("cpu", tmp_path)
    assert meters == ()
    assert "not measurable here: intel-rapl:0" in str(reason)


def test_card_without_its_library_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pynvml", None)
    meters, reason = find_meters("cuda")
    assert (meters, reason) == ((), "not measurable here: nvidia-ml-py is not installed")
