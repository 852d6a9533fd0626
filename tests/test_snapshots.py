"""Snapshots on disk: what comes back, what is refused, how often one is due."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from compressor.errors import FolderError
from compressor.keeping import Due, Snapshot, joined, part_of
from compressor.snapshots import SECONDS, SHARE, SnapshotFiles, read_snapshot, write_snapshot
from compressor.stopping import Stop, Stopped

DTYPES = [torch.float32, torch.bfloat16, torch.float64, torch.int64, torch.uint8, torch.bool]
shapes = st.lists(st.integers(0, 3), max_size=3)
plain_facts = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


class Hand:
    """A clock that stands where it is set."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sizes=st.dictionaries(
        st.text("abc./", min_size=1, max_size=4), st.tuples(st.sampled_from(DTYPES), shapes)
    ),
    facts=st.dictionaries(st.text(max_size=5), plain_facts, max_size=3),
)
def test_what_comes_back_is_what_was_kept(
    tmp_path: Path, sizes: dict[str, tuple[torch.dtype, list[int]]], facts: dict[str, object]
) -> None:
    tensors = {n: (torch.rand(shape) * 9).to(dtype) for n, (dtype, shape) in sizes.items()}
    write_snapshot(tmp_path / "one.safetensors", Snapshot(tensors=tensors, facts=facts))
    found = read_snapshot(tmp_path / "one.safetensors")
    assert found.facts == facts
    assert found.tensors.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert found.tensors[name].dtype == tensor.dtype
        assert torch.equal(found.tensors[name], tensor)


def test_views_and_numbers_that_are_none_can_be_kept(tmp_path: Path) -> None:
    whole = torch.arange(12.0).view(3, 4)
    views = {"row": whole[1], "column": whole[:, 1], "whole": whole, "again": whole}
    write_snapshot(tmp_path / "one", Snapshot(tensors=views, facts={"loss": math.nan}))
    found = read_snapshot(tmp_path / "one")
    assert all(torch.equal(found.tensors[name], view) for name, view in views.items())
    assert math.isnan(found.facts["loss"])


def test_parts_are_told_apart() -> None:
    parts = {
        "a": Snapshot(tensors={"b/c": torch.ones(1)}, facts={"x": 1}),
        "a/b": Snapshot(tensors={"c": torch.zeros(1)}),
    }
    found = part_of(joined({"one": parts["a"], "two": parts["a/b"]}), "one")
    assert found.tensors.keys() == {"b/c"}
    assert found.facts == {"x": 1}


def test_any_changed_byte_is_found(tmp_path: Path) -> None:
    file = tmp_path / "one.safetensors"
    kept = Snapshot(tensors={"a": torch.arange(5)}, facts={"steps": 3})
    write_snapshot(file, kept)
    content = file.read_bytes()
    for place in range(0, len(content), 2):
        file.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(FolderError, match="--restart"):
            _require(read_snapshot(file), kept)
    for size in range(0, len(content), 31):
        file.write_bytes(content[:size])
        with pytest.raises(FolderError, match="is damaged"):
            read_snapshot(file)


def _require(found: Snapshot, kept: Snapshot) -> None:
    """Where a byte that says nothing was changed, such as white space, all may come back."""
    if found.facts == kept.facts and torch.equal(found.tensors["a"], kept.tensors["a"]):
        raise FolderError("equal, and no --restart is needed")


def test_parts_have_files_of_their_own_and_one_process_writes(tmp_path: Path) -> None:
    keeper = SnapshotFiles(tmp_path / "unfinished")
    keeper.at("phase-1").at("training").keep(Snapshot(facts={"n": 1}))
    keeper.at("phase-1").keep(Snapshot(facts={"n": 2}))
    other = SnapshotFiles(tmp_path / "unfinished", writes=False)
    other.at("phase-1").keep(Snapshot(facts={"n": 3}))
    for part, n in ((other.at("phase-1").at("training"), 1), (other.at("phase-1"), 2)):
        found = part.find()
        assert found is not None
        assert found.facts == {"n": n}
    assert other.at("phase-2").find() is None


def test_one_is_due_now_and_then_and_where_work_rests_but_not_too_often(tmp_path: Path) -> None:
    clock = Hand()

    class Slow(SnapshotFiles):
        def keep(self, snapshot: Snapshot, *, last: bool = False) -> None:
            super().keep(snapshot, last=last)
            self._pacing.took = 2.0  # seconds to write it

    keeper = Slow(tmp_path, clock=clock)
    assert keeper.due(resting=True) == Due.YES  # nothing is known yet of how long it takes
    assert keeper.due() == Due.NO
    clock.now += SECONDS
    assert keeper.due() == Due.YES
    keeper.keep(Snapshot())
    clock.now += 0.9 * 2.0 / SHARE
    assert keeper.due() == keeper.due(resting=True) == Due.NO
    clock.now += 0.2 * 2.0 / SHARE
    assert keeper.due() == Due.YES
    assert SnapshotFiles(tmp_path, clock=clock, writes=False).due(resting=True) == Due.NO


def test_who_is_asked_to_stop_keeps_first(tmp_path: Path) -> None:
    stop = Stop()
    keeper = SnapshotFiles(tmp_path / "unfinished", stop=stop).at("training")

    def work() -> None:
        with keeper.patient():
            stop.receive(15)
            assert keeper.due() == Due.LAST
            keeper.keep(Snapshot(facts={"steps": 3}), last=True)

    with pytest.raises(Stopped, match="the same command goes on") as stopped:
        work()
    assert stopped.value.status == 143
    found = keeper.find()
    assert found is not None
    assert found.facts == {"steps": 3}
