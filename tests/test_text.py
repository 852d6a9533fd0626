"""Text: the length is free from the capture to the file, and networks of a class of their own go
through with torch alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from compressor.analysis import analyze
from compressor.archives import read_program
from compressor.graphs import Graph, capture, export_program, graph_from_program
from compressor.planning import plan, plan_keeping
from compressor.proof import prove, random_inputs
from compressor.removal import remove
from compressor.scoring import score
from compressor.types import Analysis, Budget, Plan
from export.programs import write_program
from tests import zoo
from tests.old_torch import require_counted
from tests.zoo import ZOO

TEXT = ("tied", "masked_encoder", "rotary_decoder")
HALF = Budget(0.5, "params", multiple_of=1, keep_at_least=0.02, smallest_group=2)


def text(name: str, batch: int, length: int) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(batch * length)
    tokens = torch.randint(11, (batch, length), generator=generator)
    mask = torch.ones_like(tokens)
    mask[0, length - 1 :] = 0
    return (tokens, mask) if ZOO[name].masked else (tokens,)


@pytest.mark.parametrize("name", TEXT)
def test_other_batches_and_lengths_answer_as_the_network_does(name: str) -> None:
    network, graph = ZOO[name].build(), zoo.graph(name)
    assert set(graph.free) == {(0, 1)}
    assert graph.notes == ()
    for batch, length in ((1, 2), (3, 4), (2, 20)):
        inputs = text(name, batch, length)
        with torch.no_grad():
            torch.testing.assert_close(graph(*inputs), network(*inputs))
            assert zoo.student(name)(*inputs).shape == graph(*inputs).shape


@pytest.mark.parametrize("name", TEXT)
def test_a_student_keeps_both_free_in_its_file(name: str, tmp_path: Path) -> None:
    student = zoo.student(name)
    write_program(export_program(student), tmp_path / "student.pt2")
    program, _ = read_program(tmp_path / "student.pt2")
    again = graph_from_program(program)
    assert again.free == student.free
    for batch, length in ((1, 2), (3, 9)):
        inputs = text(name, batch, length)
        assert torch.equal(program.module()(*inputs), student(*inputs))
        assert torch.equal(again(*inputs), student(*inputs))


@pytest.mark.parametrize("name", TEXT)
def test_macs_are_of_one_sample_at_the_captured_length(name: str) -> None:
    network = ZOO[name].build()
    counted = []
    for length in (6, 9):
        graph = zoo.captured(network, text(name, 2, length))
        macs = analyze(graph).model.macs
        require_counted(graph)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            graph(*text(name, 3, length))
        assert counter.get_total_flops() == 2 * 3 * macs
        counted.append(macs)
    assert counted[0] < counted[1]


def test_rows_behind_the_captured_length_stay() -> None:
    """At another length they are read; at the captured one, no operator touches them."""
    graph, analysis = zoo.graph("masked_encoder"), zoo.analysis("masked_encoder")
    touched = {(m.parameter, m.dim) for group in analysis.groups for m in group.members}
    assert {name for name, _ in touched} >= {"places.weight", "query.weight"}
    assert ("positions", 1) not in touched
    assert ("places.weight", 0) not in touched
    assert graph.tensors["positions"].shape == (1, 20)


def test_masks_are_never_drawn() -> None:
    graph = zoo.graph("masked_encoder")
    tokens, mask = random_inputs(graph, seed=3)
    assert torch.equal(tokens, graph.example_inputs[0])
    assert torch.equal(mask, graph.example_inputs[1])
    assert mask.min() == 0


class RealMask(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Linear(6, 16), nn.Linear(16, 4)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return self.head(torch.tanh(self.first(x)) * mask[:, :, None])


def test_a_mask_of_real_numbers_is_not_drawn_but_vectors_are() -> None:
    mask = torch.tensor([[1.0, 1.0, 0.0], [1.0, 0.0, 0.0], [1.0, 1.0, 1.0]])
    graph = capture(RealMask(), (torch.zeros(3, 3, 6), mask))
    x, drawn = random_inputs(graph, seed=3)
    assert torch.equal(drawn, mask[:2])
    assert x.shape == (2, 3, 6)
    assert x.std() > 0.5
    analysis = analyze(graph)
    keep = np.array([True, *([True, False] * 8)])
    chosen = plan_keeping(analysis, keep)
    proof = prove(graph, remove(graph, analysis, chosen), analysis, chosen)
    assert proof.passed, proof.first_wrong


def test_a_single_captured_sample_of_tokens_is_proved_twice() -> None:
    graph = zoo.graph("tied").copy()
    graph.example_inputs = (graph.example_inputs[0][:1],)
    (tokens,) = random_inputs(graph, seed=0)
    assert tokens.shape == (2, 6)
    assert torch.equal(tokens[0], tokens[1])


def test_what_comes_in_beside_batch_and_length_stays_with_the_reason() -> None:
    for name, width in (("heads_by_view", 6), ("chain", 3)):
        told = [entry for entry in zoo.analysis(name).frozen if "network's input" in entry.reason]
        assert len(told) == 1
        assert told[0].parameters % width == 0


class OnWeights(nn.Module):
    """A convolution of a stored picture, which has no batch."""

    def __init__(self) -> None:
        super().__init__()
        self.picture = nn.Parameter(torch.randn(4, 5, 5))
        self.inner, self.head = nn.Conv2d(4, 8, 3), nn.Linear(6, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x) + self.inner(self.picture).mean((1, 2))


def test_a_call_of_another_rank_than_its_rule_knows_freezes() -> None:
    analysis = analyze(capture(OnWeights(), (torch.randn(2, 6),)))
    touched = {(m.parameter, m.dim) for group in analysis.groups for m in group.members}
    assert ("inner.weight", 0) not in touched
    assert analysis.model.parameters == 4 * 25 + 4 * 8 * 9 + 8 + 6 * 8 + 8


# -- Hugging Face ------------------------------------------------------------------------------


def bert(attention: str) -> nn.Module:
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(
        vocab_size=99,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=4,
        intermediate_size=48,
        max_position_embeddings=24,
        attn_implementation=attention,
    )
    return zoo.randomised(lambda: transformers.BertForSequenceClassification(config))


def sentences(batch: int, length: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(length)
    tokens = torch.randint(3, 99, (batch, length), generator=generator)
    mask = torch.ones_like(tokens)
    mask[0, length - 2 :] = 0
    return {"input_ids": tokens, "attention_mask": mask}


def halved(graph: Graph) -> tuple[Analysis, Plan, Graph]:
    analysis = analyze(graph)
    chosen = plan(analysis, score(graph, analysis), HALF)
    return analysis, chosen, remove(graph, analysis, chosen)


LOADS_ALONE = """
import sys, torch
program = torch.export.load(sys.argv[1]).module()
tokens = torch.arange(12).reshape(2, 6)
answer = program(input_ids=tokens, attention_mask=torch.ones_like(tokens))
assert "transformers" not in sys.modules
print(type(answer).__name__, tuple(answer["logits"].shape))
"""


@pytest.mark.slow
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_bert_is_halved_proved_trained_and_loads_without_its_library(
    attention: str, tmp_path: Path
) -> None:
    network = bert(attention).eval()
    graph = capture(network, (), sentences(2, 7))
    analysis, chosen, student = halved(graph)
    assert analysis.prunable_parameters > 0.99
    assert not [entry for entry in analysis.frozen if entry.reason.startswith("no rule")]
    proof = prove(graph, student, analysis, chosen)
    assert proof.passed, proof.first_wrong
    assert proof.max_relative_error < 1e-12
    for batch, length in ((3, 5), (1, 24)):
        inputs = sentences(batch, length)
        with torch.no_grad():
            expected: Any = network(**inputs)
            torch.testing.assert_close(graph(**inputs)["logits"], expected.logits)
            assert student(**inputs)["logits"].shape == expected.logits.shape
    training = student.copy().train()
    training(**sentences(2, 7))["logits"].square().mean().backward()
    assert all(p.grad is not None for p in training.parameters())
    file = tmp_path / "student.pt2"
    write_program(export_program(student), file)
    done = subprocess.run(
        [sys.executable, "-c", LOADS_ALONE, str(file)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "dict (2, 2)\n"), done.stderr
