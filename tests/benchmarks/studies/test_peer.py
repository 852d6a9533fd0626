"""torch-pruning on a network of the zoo that it can and one that it cannot prune."""

from __future__ import annotations

import dataclasses
import warnings
from pathlib import Path

import pytest

from benchmarks.studies import peer
from benchmarks.studies.networks import Network
from benchmarks.studies.records import PeerTrial, peer_file, read
from tests.zoo import ZOO


@pytest.fixture(autouse=True)
def network_of_the_zoo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer, "build", lambda row: ZOO[row.factory].build())


def run(row: Network, folder: Path) -> PeerTrial:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch-pruning's own, about torch's newer interfaces
        return peer.run(row, folder)


def test_a_plain_chain_is_pruned_and_runs(tmp_path: Path, row: Network) -> None:
    done = run(row, tmp_path)
    assert done.works
    assert done.groups >= 2
    assert done.kept is not None
    assert 0.1 < done.kept < 0.6
    assert {"graph", "groups", "pruning", "forward"} <= done.seconds.keys()
    assert read(peer_file(tmp_path, row), PeerTrial) == done


def test_a_padded_shortcut_is_pruned_into_a_network_that_does_not_run(
    tmp_path: Path, row: Network
) -> None:
    done = run(dataclasses.replace(row, factory="padded_shortcut"), tmp_path)
    assert not done.works
    assert done.stage in ("pruning", "forward")
    assert "Error" in done.reason
