"""Fresh processes: what they tell, how they end, and what becomes of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import cold_start, memory
from benchmarks.starts import Start, cached_share, drop_from_cache, start, take_turns
from benchmarks.workloads import Workload
from compressor.errors import SurroundingsError

WORKLOAD = Workload(runtime="onnxruntime")


def told(calls: tuple[float, ...], peak: int | None = 300) -> Start:
    return Start(
        import_s=0.5,
        load_s=0.25,
        calls_s=calls,
        baseline_bytes=100,
        loaded_bytes=200,
        peak_bytes=peak,
    )


@pytest.mark.parametrize("arena", [True, False])
def test_fresh_process_imports_loads_and_runs(pair: tuple[Path, Path], arena: bool) -> None:
    found = start(pair[0], workload=WORKLOAD, input_shape=(3, 8, 8), arena=arena, seconds=0.05)
    assert min(found.import_s, found.load_s, *found.calls_s) > 0
    assert len(found.calls_s) > 3
    if found.peak_bytes is not None:
        assert found.baseline_bytes is not None
        assert found.peak_bytes >= found.baseline_bytes > 5_000_000


def test_process_that_fails_or_never_ends_is_told_in_one_line(
    pair: tuple[Path, Path], tmp_path: Path
) -> None:
    with pytest.raises(SurroundingsError, match=r"absent\.onnx: a fresh process failed: .*no such"):
        start(tmp_path / "absent.onnx", workload=WORKLOAD, input_shape=(3, 8, 8))
    with pytest.raises(SurroundingsError, match="was not done after 0 s"):
        start(pair[0], workload=WORKLOAD, input_shape=(3, 8, 8), seconds=60, limit_s=0.01)


def test_what_lies_in_the_folder_one_stands_in_is_not_imported(
    pair: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "json.py").write_text("raise RuntimeError('not this one')")
    monkeypatch.chdir(tmp_path)
    assert start(pair[0], workload=WORKLOAD, input_shape=(3, 8, 8), seconds=0.01).calls_s


def test_turns_are_the_same_for_the_same_seed_and_everyone_has_as_many() -> None:
    def order(seed: int) -> list[str]:
        seen: list[str] = []

        def starter(name: str) -> Start:
            seen.append(name)
            return told((1.0,))

        ran = take_turns({n: lambda n=n: starter(n) for n in "ab"}, repeats=6, seed=seed)  # type: ignore[misc]
        assert [len(one) for one in ran.values()] == [6, 6]
        return seen

    assert order(1) == order(1)
    assert len({tuple(order(seed)) for seed in range(5)}) > 1


def test_file_leaves_the_page_cache_or_the_reason_is_said(pair: tuple[Path, Path]) -> None:
    pair[0].read_bytes()
    reason = drop_from_cache(pair[0])
    share = cached_share(pair[0])
    if reason is None:
        assert share == pytest.approx(0.0, abs=0.05)
        pair[0].read_bytes()
        assert cached_share(pair[0]) == 1.0
    else:
        assert "page" in reason


def test_steady_state_begins_where_calls_are_no_longer_slower() -> None:
    assert cold_start.until_steady((9.0, 5.0, 3.0, *(1.0,) * 20)) == 3
    assert cold_start.until_steady((1.0,) * 20) == 0
    assert cold_start.until_steady((1.0,) * 20 + (5.0,) * 3) == 0
    assert cold_start.until_steady((9.0, *(1.0,) * 20)) == 1
    assert cold_start.until_steady((9.0, 1.0)) is None


def test_cold_start_is_the_median_with_least_and_most() -> None:
    found = cold_start.summarize([told((first, *(0.001,) * 20)) for first in (0.004, 0.009, 0.005)])
    row = json.loads(json.dumps(cold_start.row(found)))
    assert row["first_call_ms"] == {"median": 5.0, "least": 4.0, "most": 9.0}
    assert (row["load_ms"]["median"], row["processes"]) == (250.0, 3)
    assert row["calls_until_steady"] == 1
    with pytest.raises(ValueError, match="no fresh process"):
        cold_start.summarize([])


def test_peak_memory_is_beyond_the_baseline_and_unknown_where_nobody_tells() -> None:
    found = memory.summarize([told((1.0,), peak) for peak in (300, 500, 350)])
    assert found == memory.Memory(processes=3, baseline_bytes=100, loaded_bytes=100, peak_bytes=250)
    assert memory.summarize([told((1.0,), None)]) is None
