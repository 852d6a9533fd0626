"""The study: what is due, and what becomes of a process that is stopped or dies."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.studies import compatibility
from benchmarks.studies.compatibility import Limits, study
from benchmarks.studies.networks import Network, find
from benchmarks.studies.records import (
    PeerTrial,
    Trial,
    peer_file,
    read,
    row_key,
    sources_key,
    trial_file,
    write,
)

LIMITS = Limits(seconds=100.0, gib=8.0, threads=1)
NONE = Limits(seconds=0.0, gib=8.0, threads=1)


class Started:
    """Stands for the processes: notes which were started, and how each ends."""

    def __init__(self, ended: str = "") -> None:
        self.names: list[tuple[str, str]] = []
        self.ended = ended

    def __call__(self, trial: str, network: Network, folder: Path, limits: Limits) -> str:
        self.names.append((trial.rpartition(".")[2], network.factory))
        if not self.ended and trial.endswith("trial"):
            done = Trial(name=network.name, key=sources_key(network), verdict="passed")
            write(trial_file(folder, network), done)
        return self.ended


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Started:
    found = Started()
    monkeypatch.setattr(compatibility, "_process", found)
    return found


SMALL, LARGE = find("torchvision:squeezenet1_1"), find("torchvision:resnet18")


def test_small_networks_run_first_and_each_only_once(tmp_path: Path, started: Started) -> None:
    study((LARGE, SMALL), tmp_path, LIMITS, NONE, stale=False, jobs=1)
    assert started.names == [("trial", SMALL.factory), ("trial", LARGE.factory)]
    study((LARGE, SMALL), tmp_path, LIMITS, NONE, stale=False, jobs=1)
    assert len(started.names) == 2
    assert (tmp_path / "problems.txt").read_text() == ""


def test_stale_results_run_again_only_where_that_is_asked(tmp_path: Path, started: Started) -> None:
    old = Trial(name=SMALL.name, key="of other sources", verdict="passed")
    write(trial_file(tmp_path, SMALL), old)
    study((SMALL,), tmp_path, LIMITS, NONE, stale=False, jobs=1)
    assert started.names == []
    study((SMALL,), tmp_path, LIMITS, NONE, stale=True, jobs=1)
    assert started.names == [("trial", SMALL.factory)]
    study((SMALL,), tmp_path, LIMITS, NONE, stale=True, jobs=1)
    assert len(started.names) == 1


def test_a_trial_that_was_stopped_in_the_middle_runs_again(
    tmp_path: Path, started: Started
) -> None:
    write(trial_file(tmp_path, SMALL), Trial(name=SMALL.name, key="", stage="proof"))
    assert all(trial is None for _, trial, _ in compatibility.results(tmp_path))
    study((SMALL,), tmp_path, LIMITS, NONE, stale=False, jobs=1)
    assert started.names == [("trial", SMALL.factory)]


def test_the_peer_runs_once_whatever_our_sources_are(tmp_path: Path, started: Started) -> None:
    write(peer_file(tmp_path, SMALL), PeerTrial(name=SMALL.name, key=row_key(SMALL), stage="done"))
    study((SMALL,), tmp_path, LIMITS, LIMITS, stale=True, jobs=1)
    assert started.names == [("trial", SMALL.factory)]
    study((LARGE,), tmp_path, LIMITS, LIMITS, stale=True, jobs=1)
    assert ("peer", LARGE.factory) in started.names


@pytest.mark.parametrize(
    ("ended", "verdict"),
    [("stopped after 100 s", "limit"), ("its process died with status -11", "defect")],
)
def test_a_trial_that_did_not_end_by_itself_keeps_what_it_had_reached(
    tmp_path: Path, started: Started, ended: str, verdict: str
) -> None:
    started.ended = ended
    reached = Trial(name=SMALL.name, key="old", stage="proof", nodes=70)
    write(trial_file(tmp_path, SMALL), reached)
    study((SMALL,), tmp_path, LIMITS, LIMITS, stale=True, jobs=1)
    found = read(trial_file(tmp_path, SMALL), Trial)
    assert found is not None
    assert (found.verdict, found.stage, found.nodes) == (verdict, "proof", 70)
    assert found.reason == f"{ended}, in proof"
    assert "proof" in (tmp_path / "problems.txt").read_text()
    peer = read(peer_file(tmp_path, SMALL), PeerTrial)
    assert peer is not None
    assert peer.reason == f"{ended}, in build"


@pytest.mark.slow
def test_a_real_network_runs_in_a_process_of_its_own_and_is_stopped_at_its_limit(
    tmp_path: Path,
) -> None:
    study((SMALL,), tmp_path, LIMITS, LIMITS, stale=False, jobs=1)
    found = read(trial_file(tmp_path, SMALL), Trial)
    assert found is not None
    assert found.verdict == "passed"
    peer = read(peer_file(tmp_path, SMALL), PeerTrial)
    assert peer is not None
    assert peer.works
    short = Limits(seconds=0.1, gib=8.0, threads=1)
    study((LARGE,), tmp_path, short, NONE, stale=False, jobs=1)
    found = read(trial_file(tmp_path, LARGE), Trial)
    assert found is not None
    assert found.verdict == "limit"
    assert found.reason.startswith("stopped after 0.1 s")


def test_a_pattern_that_fits_nothing_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["compatibility", "--only", "torchvision:nothing*"])
    with pytest.raises(SystemExit) as end:
        compatibility.main()
    assert end.value.code == 2
    assert "torchvision:nothing*" in capsys.readouterr().err


def test_the_page_is_written_from_what_the_folder_holds(
    tmp_path: Path, started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "page.md"
    arguments = ["--only", SMALL.name, "--out", str(tmp_path), "--page", str(page)]
    monkeypatch.setattr("sys.argv", ["compatibility", *arguments, "--peer-limit", "0"])
    compatibility.main()
    assert started.names == [("trial", SMALL.factory)]
    assert "- 1 of 1 networks pass" in page.read_text()
