"""Records on disk: whole, typed, and known to be stale."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from benchmarks.studies import records
from benchmarks.studies.networks import Network
from benchmarks.studies.records import PeerTrial, Trial, peer_file, read, trial_file, write
from compressor.types import Frozen


def test_a_record_is_read_as_it_was_written(tmp_path: Path, row: Network) -> None:
    frozen = Frozen(where="a", op="aten.x.default", reason="no rule is known", parameters=3)
    trial = Trial(name=row.name, key="k", verdict="passed", batches=(1, 3), frozen=(frozen,))
    write(trial_file(tmp_path, row), trial)
    assert read(trial_file(tmp_path, row), Trial) == trial


def test_ours_and_the_peers_record_lie_apart(tmp_path: Path, row: Network) -> None:
    write(trial_file(tmp_path, row), Trial(name=row.name, key="ours"))
    write(peer_file(tmp_path, row), PeerTrial(name=row.name, key="theirs"))
    assert read(trial_file(tmp_path, row), Trial).key == "ours"  # type: ignore[union-attr]
    assert read(peer_file(tmp_path, row), PeerTrial).key == "theirs"  # type: ignore[union-attr]


@pytest.mark.parametrize("content", [None, b"{", b'{"name": 3}'])
def test_what_is_no_record_is_none(tmp_path: Path, row: Network, content: bytes | None) -> None:
    path = trial_file(tmp_path, row)
    if content is not None:
        path.write_bytes(content)
    assert read(path, Trial) is None


def test_the_key_changes_with_the_row_and_with_the_compressors_sources(
    tmp_path: Path, row: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "ROOT", tmp_path)
    (tmp_path / "compressor").mkdir()
    source = tmp_path / "compressor" / "labels.py"
    source.write_text("one = 1\n")
    before = records.sources_key(row)
    assert records.sources_key(row) == before
    other = dataclasses.replace(row, shape=(3, 9, 9))
    assert records.sources_key(other) != before
    assert records.row_key(other) != records.row_key(row)
    source.write_text("one = 2\n")
    assert records.sources_key(row) != before


def test_load_to_proof_adds_the_stages_up_to_the_proof(row: Network) -> None:
    seconds = {"build": 1.0, "capture": 2.0, "analysis": 0.5, "proof": 3.0, "extreme": 50.0}
    assert Trial(name=row.name, key="", seconds=seconds).load_to_proof_s == 6.5


def test_the_peer_works_only_where_it_came_to_the_end_without_a_word(row: Network) -> None:
    assert PeerTrial(name=row.name, key="", stage="done").works
    assert not PeerTrial(name=row.name, key="", stage="groups").works
    assert not PeerTrial(name=row.name, key="", stage="forward", reason="RuntimeError: x").works
