"""The values that pass between stages: frozen, plain, and the same after a trip through JSON.

Nothing here knows torch.  Parameters and nodes are named by path, never held.  Rows are *spans*,
``(start, stop)`` pairs with ``stop`` excluded.  A unit has two numbers: its place inside its group,
and a global number that counts through all groups in order, from 1 (0 means "always kept").
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Span = tuple[int, int]
Spans = tuple[Span, ...]
Role = Literal["writes", "carries", "reads"]
BudgetOf = Literal["params", "macs", "channels"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where a teacher came from."""

    name: str  # the file's name without ending, or the architecture's where there is no file
    architecture: str  # "torchvision:resnet50", "timm:...", "cifar_resnet.py:resnet56"
    sha256: str | None  # of the teacher's file; None where there is none
    trained: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Preprocessing:
    """From a decoded picture to the network's input.

    The shorter side is resized to ``resize`` (None: no resize unless the picture is smaller than
    the crop), the centre ``crop`` = (height, width) is taken, pixels are scaled to [0, 1], then
    ``(x - mean) / std`` per channel.
    """

    crop: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resize: int | None = None
    interpolation: str = "bilinear"
    origin: str = "given"  # where these numbers come from, in words for the report


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """One input tensor of the captured network."""

    name: str
    shape: tuple[int, ...]  # of the example it was captured with
    dtype: str  # "float32"
    free: tuple[int, ...]  # dimensions that may have another size


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """Rows of one parameter (or buffer) dimension that belong to a group."""

    parameter: str
    dim: int
    rows: Spans
    role: Role


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Units with the same members.  ``exact``: zeroing a unit equals removing it."""

    id: int
    name: str  # path of the module that first writes the units
    units: int
    exact: bool
    members: tuple[Member, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Frozen:
    """What may not be removed, and why."""

    where: str  # module path
    op: str  # "aten.view.default"
    reason: str
    parameters: int  # elements of parameters that this freezes
    node: str = ""
    source: str = ""  # "package/file.py:line"


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """Which global units each element of one dimension depends on.

    A column is a tuple of runs ``(first unit, step, length)``; columns have equal total length, the
    dimension's size.  An element is kept when the units in all its columns are (unit 0 always is).
    """

    size: int
    columns: tuple[tuple[tuple[int, int, int], ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CostTerm:
    """``factor`` times the product of the kept sizes of ``axes`` (indices into Analysis.axes)."""

    of: Literal["params", "macs"]
    where: str
    factor: int
    axes: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    architecture: str
    parameters: int
    macs: int  # for one sample


ANALYSIS_FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Analysis:
    """What moves together, what stays and why, and what each part costs."""

    format: int
    fingerprint: str  # of the structure: nodes, names, shapes; not values
    model: ModelFacts
    groups: tuple[Group, ...]
    frozen: tuple[Frozen, ...]
    prunable_parameters: float  # share of parameter elements in at least one group
    axes: tuple[Axis, ...]
    costs: tuple[CostTerm, ...]
    inputs: tuple[Input, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """One number per unit of every group (in the order of Analysis.groups): higher is dearer."""

    criterion: str
    fingerprint: str
    values: tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True)
class Budget:
    """What the user asked for: ``sparsity`` is the share of parameters, MACs or units that goes.

    ``multiple_of``: wanted divisor of every group's kept width, relaxed where the budget needs it,
    and in groups of fewer than four times as many units.
    ``keep_at_least``: floor of every group, a share of its units (never under one unit).
    ``smallest_group``: groups of fewer units are left alone (factors such as shuffle halves).
    ``keep_whole``: groups that are left alone, by number or name (``*`` and ``?`` as in a shell).
    ``preferred``: per group in order, the widths wanted in place of multiples, as where a runtime
    is fast; empty for a group that has none.  ``tolerated``: likewise, narrower ones that may be
    taken too where the preferred ones do not let enough go.
    """

    sparsity: float
    of: BudgetOf = "params"
    multiple_of: int = 8
    keep_at_least: float = 0.1
    smallest_group: int = 8
    keep_whole: tuple[str, ...] = ()
    preferred: tuple[tuple[int, ...], ...] = ()
    tolerated: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Precisions:
    """In which precisions the ONNX files ship: fp32, which is always made, fp16, bf16, int8.

    ``calibration``: how int8 finds its ranges, by minmax, entropy or percentile.  ``max_drop``:
    points that a precision may lose against fp32 before it is not advised.
    """

    names: tuple[str, ...] = ("fp32",)
    calibration: str = "minmax"
    max_drop: float = 1.0


FP32_ALONE = Precisions()


@dataclass(frozen=True, slots=True, kw_only=True)
class Packaging:
    """What a folder of deployables holds on request.

    ``static_batch``: a twin of the student's ONNX file whose batch is 1.  ``triton``: a model
    repository for that server.  ``sign_key``: the PEM file of the private key that signs it.
    """

    static_batch: bool = False
    triton: bool = False
    sign_key: str | None = None


USUAL_FILES = Packaging()


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    params: int
    macs: int
    channels: int  # removable units


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptUnits:
    group: int
    name: str
    units: int  # before
    kept: Spans

    @property
    def width(self) -> int:
        """Number of units kept."""
        return sum(stop - start for start, stop in self.kept)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Kept units of every group, with cost before and after."""

    format: int
    fingerprint: str
    budget: Budget
    achieved: float  # the share that goes, in the budget's own measure
    multiple_of: int  # the divisor that was met
    criterion: str
    groups: tuple[KeptUnits, ...]
    before: Costs
    after: Costs
    warnings: tuple[str, ...] = ()
    inputs: tuple[Input, ...] = ()  # so that a module can be captured again for this plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """That the student is the teacher without the removed units, node by node in float64."""

    passed: bool
    max_relative_error: float
    tolerance: float
    nodes_compared: int
    moved: float  # largest relative change of the output against the unpruned teacher, in float32
    exact_groups: int
    inexact_groups: int
    exact_error: float  # largest error over nodes that no inexact group reaches
    inexact_nodes: int  # nodes whose norm, mean or softmax was restricted to the kept units
    first_wrong: str | None = None  # node, operator and source line of the first difference
