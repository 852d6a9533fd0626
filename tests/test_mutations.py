"""The proof and the laws catch faults of the rules; what they do not catch is known by name."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path
from types import FunctionType

import pytest

from benchmarks.studies.extremes import Place, extreme_plan
from compressor.analysis import analyze
from compressor.proof import prove
from compressor.removal import remove
from compressor.rules import registry
from tests import judging, mutants, mutations, subjects, zoo
from tests.zoo import NAMES
from tests.zoo_attacks import DEFECTS

SEED = 0
SAMPLE, ENOUGH = 40, 0.95
ON_FEW = 0.85  # the sample meets few networks: what needs others is for the full run
# Kinds that say little of the rules on few networks (conditions, constants) are for the full run.
TELLING = (
    "index moved", "slice bound moved", "unification dropped", "unification retargeted",
    "gate dropped", "rewrite dropped", "rewrite retargeted", "pin dropped", "inexact dropped",
    "results swapped", "factors swapped",
)  # fmt: skip
SMALL = (
    "chain", "padded_shortcut", "concat", "split", "shuffle", "grouped", "flatten", "tied",
    "heads_by_view", "gated_mlp", "layer_norm", "renumbered", "summed_twice", "made_of_one",
)  # fmt: skip


@pytest.fixture(scope="module")
def every() -> tuple[mutants.Mutant, ...]:
    return mutants.generate(SEED)


def unexplained(results: list[mutations.Result]) -> list[str]:
    why = mutations.reasons()
    return [r.name for r in results if r.outcome == "survived" and r.name not in why]


def test_mutants_are_made_from_all_rules_and_the_slicing(every: tuple[mutants.Mutant, ...]) -> None:
    modules = {mutant.module for mutant in every}
    rules = {"compressor.rules.contractions", "compressor.rules.joins"}
    assert rules | {"compressor.removal", "compressor.rewriting"} <= modules
    kinds = {mutant.kind for mutant in every}
    assert {
        "index moved", "slice bound moved", "unification dropped", "freeze dropped", "gate dropped",
        "rewrite dropped", "rewrite retargeted", "pin dropped", "inexact dropped",
        "results swapped", "factors swapped", "constant moved", "comparison flipped",
    } <= kinds  # fmt: skip
    assert len({mutant.name for mutant in every}) == len(every) > 1000


def test_the_same_seed_makes_the_same_mutants(every: tuple[mutants.Mutant, ...]) -> None:
    files = [path for path in mutants.sources() if path.stem == "joins"]
    first, again, other = (mutants.generate(seed, files) for seed in (SEED, SEED, SEED + 1))
    assert first
    assert [m.name for m in first] == [m.name for m in again]
    assert [m.name for m in first] == [m.name for m in every if m.module.endswith(".joins")]
    assert {m.name for m in first} != {m.name for m in other}


def test_a_mutant_is_in_force_only_inside(every: tuple[mutants.Mutant, ...]) -> None:
    name = "rules.contractions.contract: unification dropped: call.unify"
    mutant = next(m for m in every if m.name.startswith(name))
    right = zoo.analysis("chain")
    with mutants.applied(mutant):
        assert analyze(zoo.graph("chain")).groups != right.groups
    assert analyze(zoo.graph("chain")) == right


def test_rules_made_by_a_function_are_spoilt_with_it(every: tuple[mutants.Mutant, ...]) -> None:
    made = [
        (mutant, rule)
        for mutant in every
        for rule in registry._RULES.values()
        if isinstance(rule, FunctionType)
        and rule.__module__ == mutant.module
        and rule.__code__.co_qualname.startswith(f"{mutant.function}.<locals>")
    ]
    assert made
    mutant, rule = made[0]
    right = rule.__code__
    with mutants.applied(mutant):
        assert rule.__code__ is not right
        assert rule.__code__.co_qualname == right.co_qualname
    assert rule.__code__ is right


def test_a_sample_of_mutants_is_caught(every: tuple[mutants.Mutant, ...]) -> None:
    reached = [m for m in every if m.kind in TELLING and mutations.networks_of(m, SMALL)]
    chosen = random.Random(SEED).sample(reached, SAMPLE)
    results = [mutations.judge(mutant, SEED, SMALL) for mutant in chosen]
    _, share = mutations.shares(results, mutations.reasons())
    assert share >= ON_FEW, unexplained(results)


@pytest.mark.parametrize("begins", [True, False])
def test_an_attack_that_dies_is_begun_again_if_it_had_begun(
    begins: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes = iter([-6, -11, 0, 0])

    def process(command: list[str], **options: object) -> subprocess.CompletedProcess[bytes]:
        with Path(command[-1]).open("a", encoding="utf-8") as kept:
            kept.write("{}\n" * begins)
        return subprocess.CompletedProcess(command, next(codes))

    monkeypatch.setattr(subprocess, "run", process)
    if begins:
        mutations.run_apart(SEED, tmp_path / "results")
        assert list(codes) == [0]
    else:
        with pytest.raises(RuntimeError, match="exit status -6 before it began"):
            mutations.run_apart(SEED, tmp_path / "results")


@pytest.mark.slow
def test_nearly_all_mutants_are_caught_and_the_others_known(
    every: tuple[mutants.Mutant, ...],
) -> None:
    """As long as no rule has changed this reads what ``python -m tests.mutations`` has found."""
    kept = mutations.results_file(SEED)
    mutations.run_apart(SEED, kept)
    results = list(mutations.run(every, SEED, kept))
    share, _ = mutations.shares(results, mutations.reasons())
    assert share >= ENOUGH
    assert unexplained(results) == [], "explain these in tests/mutations_left.toml, or catch them"


# -- what the judge holds the mutants against --------------------------------------------------


def written_down() -> dict[str, str]:
    lines = judging.EXPECTED.read_text(encoding="utf-8").splitlines()
    return {line.partition(":")[0]: line for line in lines}


@pytest.mark.parametrize(
    "name",
    [
        name if name in SMALL else pytest.param(name, marks=pytest.mark.slow)
        for name in subjects.NAMES
        if name not in DEFECTS
    ],
)
def test_what_goes_together_is_what_is_written_down(name: str) -> None:
    """A change of rules that is meant is written down by ``--expected``."""
    assert judging.in_short(name) == written_down()[name]


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in subjects.NAMES if name not in DEFECTS])
def test_nothing_is_wrong_before_anything_is_broken(name: str) -> None:
    assert judging.examine(name) is None
    assert {"the student has the parameters predicted"} <= set(judging.laws_of(name))


@pytest.mark.slow
@pytest.mark.parametrize("name", DEFECTS)
def test_a_known_defect_is_still_there(name: str) -> None:
    """When this fails, the rule has been put right: take the name out of ``DEFECTS``."""
    assert not judging.fit(name), DEFECTS[name]


# -- the extreme cut -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "place",
    ["first", *(pytest.param(other, marks=pytest.mark.slow) for other in ("last", "drawn"))],
)
@pytest.mark.parametrize("name", NAMES)
def test_the_extreme_cut_is_proved(name: str, place: Place) -> None:
    graph, analysis = zoo.graph(name), zoo.analysis(name)
    chosen = extreme_plan(analysis, place, seed=3)
    widths = [(group.width, max(1, int(0.03 * group.units))) for group in chosen.groups]
    assert all(width == left for width, left in widths)
    student = remove(graph, analysis, chosen)
    proof = prove(graph, student, analysis, chosen)
    assert proof.passed, proof.first_wrong
    assert sum(p.numel() for p in student.parameters()) == chosen.after.params


def test_the_extreme_cut_keeps_the_places_asked_for() -> None:
    analysis = zoo.analysis("attention")
    kept = {
        place: [group.kept for group in extreme_plan(analysis, place, seed=1).groups]
        for place in ("first", "last", "drawn")
    }
    assert all(spans == ((0, 1),) for spans in kept["first"])
    ends = [((group.units - 1, group.units),) for group in analysis.groups]
    assert kept["last"] == ends
    assert kept["drawn"] != [group.kept for group in extreme_plan(analysis, "drawn", seed=2).groups]
