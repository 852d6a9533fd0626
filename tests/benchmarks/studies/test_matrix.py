"""The page and the list of problems, from records made up."""

from __future__ import annotations

import dataclasses

import msgspec
import pytest

from benchmarks.studies.matrix import FAMILIES, Results, family, page, problems
from benchmarks.studies.networks import NETWORKS, Network, find
from benchmarks.studies.records import Cut, Factors, PeerTrial, Trial
from compressor.types import Frozen

CUT = Cut(
    asked="half", achieved=0.501, passed=True, error=2e-15, exact_error=1e-16, exact_groups=7,
    inexact_groups=2, nodes_compared=90, moved=0.2,
)  # fmt: skip
RESNET = find("torchvision:resnet50")
BERT = find("transformers:BertForSequenceClassification")
VGG = find("torchvision:vgg11")
PASSED = Trial(
    name=RESNET.name, key="k", verdict="passed", stage="done", parameters=25_000_000, nodes=175,
    prunable=0.9999, half=CUT, extreme=CUT, batches=(1, 3), trained=True,
    factors=Factors(dimensions=2, outer=1.0, inner=0.43), peak_gib=1.25,
    seconds={"build": 1.0, "capture": 2.0, "analysis": 0.1, "plan": 0.2, "proof": 3.0},
)  # fmt: skip
UNKNOWN = Frozen(where="a.b", op="aten.cumsum.default", reason="no rule is known", parameters=9)
REFUSED = Trial(
    name=BERT.name, key="k", verdict="refused", stage="capture",
    reason="CaptureError: the | batch in /home/someone/folder/file.py", frozen=(UNKNOWN,),
)  # fmt: skip
PEER = PeerTrial(
    name=RESNET.name, key="k", stage="done", seconds={"graph": 0.3, "groups": 0.1, "pruning": 1.0}
)
RESULTS: Results = ((RESNET, PASSED, PEER), (BERT, REFUSED, None), (VGG, None, None))


def line(text: str, start: str) -> str:
    return next(line for line in text.splitlines() if line.startswith(start))


def test_the_summary_counts_what_ran_and_what_did_not() -> None:
    text = page(RESULTS)
    assert "- 1 of 2 networks pass (50 %); 1 of the list have not been run." in text
    assert "1 passed, 1 refused, 0 wrong, 0 defect, 0 limit." in text
    assert "Median share of parameters in prunable groups: 99.99 %" in text
    assert "- ResNet: 1 of 1 pass, prunable share 99.99 % to 99.99 %." in text
    assert "5 % of the time of the capture in the median" in text
    assert "at worst 6 s (torchvision:resnet50)" in text
    assert "the pruned forward runs on 1 of 1" in text
    assert "time ratio 4; against our capture and analysis 0.19" in text


def test_a_row_tells_everything_of_one_network() -> None:
    cells = [cell.strip() for cell in line(page(RESULTS), "| `torchvision:resnet50`").split("|")]
    assert cells[1:-1] == [
        "`torchvision:resnet50`", "25.0", "175", "passes", "99.99 %", "50.1 %", "7 + 2", "2e-15",
        "yes", "1, 3", "yes", "100 x 43 %", "2.00", "0.10", "3.00", "6.3", "1.2", "runs", "1.4",
    ]  # fmt: skip


def test_every_row_has_as_many_cells_as_the_head() -> None:
    rows = [line for line in page(RESULTS).splitlines() if line.startswith("|")]
    assert len(rows) == 2 + len(RESULTS)
    assert {row.count("|") for row in rows} == {rows[0].count("|")}


def test_reasons_stand_in_a_list_of_their_own_and_name_no_folder() -> None:
    text = page(RESULTS)
    told = line(text, "- `transformers:Bert")
    assert told.endswith("refused, capture: CaptureError: the / batch in file.py")
    assert "/home" not in text


def test_a_wrong_result_is_never_in_small_letters() -> None:
    wrong = msgspec.structs.replace(PASSED, verdict="wrong", reason="relu differs")
    text = page(((RESNET, wrong, None),))
    assert "**wrong**" in line(text, "| `torchvision:resnet50`")
    assert "0 of 1 networks pass" in text


def test_problems_name_stage_reason_and_operators_without_a_rule() -> None:
    assert problems(RESULTS) == (
        "refused  transformers:BertForSequenceClassification [capture] CaptureError: the | batch "
        "in /home/someone/folder/file.py | no rule: aten.cumsum.default\n"
    )


def test_rows_of_different_states_of_the_sources_are_told() -> None:
    assert "one state of the sources, `k`" in page(RESULTS)
    other = msgspec.structs.replace(REFUSED, key="l-row")
    text = page(((RESNET, PASSED, None), (BERT, other, None)))
    assert "**The rows are of 2 states of the sources**" in text


def test_an_empty_study_has_a_page_too() -> None:
    assert "Nothing has been run." in page(((RESNET, None, None),))


@pytest.mark.parametrize("name", [name for name, _ in FAMILIES])
def test_every_family_has_members_in_the_list(name: str) -> None:
    assert [network.name for network in NETWORKS if family(network) == name]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("torchvision:wide_resnet50_2", "ResNet"),
        ("torchvision:mvit_v2_s", None),
        ("torchvision:vit_h_14", "ViT"),
        ("torchvision:fasterrcnn_resnet50_fpn", None),
        ("transformers:XLMRobertaForSequenceClassification", "BERT"),
    ],
)
def test_families_are_told_by_name(name: str, expected: str | None) -> None:
    assert family(dataclasses.replace(find(name), millions=1.0)) == expected


def test_the_list_of_problems_is_empty_where_all_pass() -> None:
    network: Network = RESNET
    assert problems(((network, PASSED, PEER),)) == ""
