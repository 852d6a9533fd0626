"""Real networks of the written list: captured, cut by half, proved, run at other batches, trained.

A few run with the fast tests; those that are slow cover every family of operators.  All of the list
is run by ``python -m benchmarks.studies.compatibility``.
"""

from __future__ import annotations

import warnings

import pytest

from benchmarks.studies.checks import half_plan, run_at_other_batches, train_a_step
from benchmarks.studies.networks import find
from benchmarks.studies.networks.building import build, inputs
from compressor.analysis import analyze
from compressor.graphs import capture
from compressor.proof import prove
from compressor.removal import remove
from compressor.scoring import score

QUICK = (
    "torchvision:resnet18",
    "torchvision:shufflenet_v2_x0_5",
    "timm:vit_tiny_patch16_224",
    "transformers:BertForSequenceClassification",
    "transformers:LlamaForCausalLM",
)
SLOW = (
    "torchvision:densenet121",  # long concatenations
    "torchvision:googlenet",  # branches
    "torchvision:mobilenet_v3_large",  # squeeze and excitation
    "torchvision:regnet_y_400mf",  # grouped convolutions
    "torchvision:vgg11",  # flattened features
    "torchvision:swin_t",  # shifted windows
    "torchvision:maxvit_t",  # windows and grids
    "torchvision:deeplabv3_mobilenet_v3_large",  # dilation, upsampling
    "torchvision:r2plus1d_18",  # factored 3d convolutions
    "torchvision:mvit_v2_s",  # pooled attention with relative positions
    "torchvision:ssdlite320_mobilenet_v3_large",  # many heads, permuted and joined
    "torchvision:fasterrcnn_mobilenet_v3_large_320_fpn",  # a pyramid
    "timm:convnext_zepto_rms",  # channels last, RMS norm
    "timm:crossvit_tiny_240",  # two streams of tokens
    "timm:dla46x_c",  # trees of aggregation
    "timm:eca_nfnet_l0",  # standardised weights
    "timm:efficientvit_b0",  # linear attention
    "timm:gmlp_ti16_224",  # gating across tokens
    "timm:halonet_h1",  # attention over unfolded blocks
    "timm:levit_128s",  # attention biases by table
    "timm:mobilevit_xxs",  # patches as batch
    "timm:resnest14d",  # split attention
    "timm:sequencer2d_s",  # LSTM over rows and columns
    "timm:xcit_nano_12_p16_224",  # attention across channels
    "transformers:AlbertForSequenceClassification",  # one layer used many times
    "transformers:DebertaV2ForSequenceClassification",  # disentangled attention, gather
    "transformers:GPT2LMHeadModel",  # packed projections, tied embeddings
    "transformers:T5EncoderModel",  # shared position biases
)

# Weights between places of the picture stay, as the places do; so do weights that are standardised
# at every call, over what would go.
PRUNABLE = {"timm:gmlp_ti16_224": 0.8, "timm:eca_nfnet_l0": 0.86}


@pytest.mark.parametrize(
    "name", [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)]
)
def test_a_real_network_is_cut_by_half_and_proved(name: str) -> None:
    row = find(name)
    pytest.importorskip(row.library)
    given = inputs(row)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the libraries, in their own code
        graph = capture(build(row), given.args, given.kwargs, architecture=name)
    analysis = analyze(graph)
    assert analysis.prunable_parameters > PRUNABLE.get(name, 0.9)
    chosen, asked = half_plan(analysis, score(graph, analysis))
    assert asked == "half"
    assert chosen.achieved == pytest.approx(0.5, abs=0.02)
    student = remove(graph, analysis, chosen)
    proof = prove(graph, student, analysis, chosen)
    assert proof.passed, proof.first_wrong
    assert proof.moved > 1e-6, "a proof on a network that does not move proves nothing"
    assert run_at_other_batches(student, row) == (1, 3)
    assert train_a_step(student, row) < len(list(student.parameters()))
