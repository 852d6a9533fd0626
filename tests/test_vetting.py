"""What a program's text may say: names, operators, sizes, structures."""

from __future__ import annotations

import json
from typing import Any

import pytest

from compressor.vetting import (
    find_fault,
    is_arithmetic,
    is_plain_structure,
    path_fault,
    trimmed,
)

LEAF = {"type": None, "context": None, "children_spec": []}


def node(**changes: Any) -> dict[str, Any]:
    plain = {"target": "torch.ops.aten.relu.default", "inputs": [], "outputs": [], "metadata": {}}
    return {"graph_module": {"graph": {"nodes": [{**plain, **changes}]}}}


def structure(kind: str, context: Any, *children: Any) -> str:
    return json.dumps([1, {"type": kind, "context": context, "children_spec": [*children]}])


@pytest.mark.parametrize(
    "target",
    ["torch.ops.aten.relu.default", "torch.ops.aten.__and__.Tensor", "torch.ops.aten.sym_size.int",
     "torch.ops.torchvision.nms.default", "torch.ops.higher_order.cond", "_operator.floordiv",
     "torch.sym_max", "math.trunc"],
)  # fmt: skip
def test_operators_of_networks_are_admitted(target: str) -> None:
    assert find_fault(node(target=target)) is None


@pytest.mark.parametrize(
    "target",
    ["torch.os.system", "torch.ops.image.read_file.default", "torch.ops.aten.from_file.default",
     "torch.ops.aten.from_file.out", "torch.ops.aten.save.default", "_operator.call",
     "_operator.methodcaller", "math.__loader__", "torch.ops.higher_order.wrap",
     "torch.ops.higher_order.call_torchbind", "torch.ops.load_library", "#custom:op", ""],
)  # fmt: skip
def test_others_are_not(target: str) -> None:
    assert find_fault(node(target=target)) is not None


@pytest.mark.parametrize("name", ["x", "p_conv_weight", "layer1.0.weight", "s77", "größe", ""])
def test_names_are_admitted(name: str) -> None:
    assert find_fault({"tensor_values": {name: {}}, "outputs": [{"name": name}]}) is None


@pytest.mark.parametrize("name", ["x=1", "x, y", "f()", 'a"b', "a'b", "a\nb", "a;b", "a b", "a#"])
def test_what_is_no_name_is_refused_as_key_and_as_value(name: str) -> None:
    assert find_fault({"tensor_values": {name: {}}}) is not None
    assert find_fault({"outputs": [{"name": name}]}) is not None


def test_paths_of_parameters_may_hold_more_but_nothing_that_ends_a_text() -> None:
    for path in ("blocks.0.conv-1", "a/b:0", "my layer.weight", "fc@1"):
        assert path_fault(path) is None
        assert find_fault({"parameter_name": path}) is None
    for path in ('a"b', "a\\b", "a\nb", "a{b}", "a(b"):
        assert path_fault(path) is not None
        assert find_fault({"parameter_name": path}) is not None


def test_texts_and_numbers_that_are_none_are_no_names() -> None:
    assert find_fault({"arg": {"as_string": "anything (at) all"}}) is None
    assert find_fault({"arg": {"as_float": "-Infinity"}}) is None


def test_functions_and_objects_are_no_arguments() -> None:
    assert find_fault({"arg": {"as_operator": "torch.ops.aten.relu.default"}}) is not None
    assert find_fault({"arg": {"as_custom_obj": {"name": "x"}}}) is not None


def test_guards_and_all_but_the_origin_are_left_out() -> None:
    told = {"stack_trace": "File", "nn_module_stack": "x", "custom": "{}", "from_node": "[]"}
    found = trimmed({**node(metadata=told), "guards_code": ["exit()"]})
    assert found["guards_code"] == []
    (kept,) = found["graph_module"]["graph"]["nodes"]
    assert set(kept["metadata"]) == {"stack_trace", "nn_module_stack"}


def test_a_tensor_called_metadata_is_looked_at() -> None:
    values = {"metadata": {"sizes": [{"as_expr": {"expr_str": "exit()"}}]}}
    assert trimmed(values) == values
    assert find_fault({"tensor_values": values}) is not None
    assert find_fault(node(metadata={"stack_trace": {"expr_str": "exit()"}})) is not None


def test_built_in_structures_are_plain() -> None:
    inner = {"type": "builtins.dict", "context": '["logits", "features"]', "children_spec": [LEAF]}
    assert is_plain_structure(structure("builtins.tuple", "null", inner, LEAF))
    assert is_plain_structure(structure("collections.namedtuple", "torch.return_types.max", LEAF))


@pytest.mark.parametrize(
    "text",
    [
        structure("collections.defaultdict", {"default_factory_module": "os"}),
        structure("builtins.dict", '{"__enum__": true, "fqn": "os:x", "name": "a"}'),
        structure("builtins.dict", '{"\\u005f_enum__": true, "fqn": "os:x", "name": "a"}'),
        structure("builtins.dict", '[{"__enum__": true, "fqn": "os:x", "name": "a"}]'),
        structure("builtins.tuple", "null", {"type": "evil.Kind", "context": None}),
        structure("builtins.tuple", {"a": 1}),
        "no JSON", "[]", "[1, null]", "[1, {}]",
    ],
)  # fmt: skip
def test_structures_of_classes_are_not(text: str) -> None:
    assert not is_plain_structure(text)


@pytest.mark.parametrize(
    "text", ["s0**2", "Pow(s0, Integer(2))", "Pow(s0, Integer(-1))", "s0**2 + 3*s1**2 - 2**10"]
)
def test_small_powers_are_arithmetic(text: str) -> None:
    assert is_arithmetic(text)


@pytest.mark.parametrize(
    "text",
    ["9**9**9**9", "(2**64)**2000", "2**s0", "2**1000000", "1 << 10**9",
     "Pow(9, Pow(9, 9))", "PowByNatural(s0, s1)", "9 ^ 9 ^ 9", "Pow(Pow(9, 9999), 9999)"],
)  # fmt: skip
def test_towers_of_powers_would_take_for_ever(text: str) -> None:
    assert not is_arithmetic(text)
