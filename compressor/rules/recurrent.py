"""Recurrent layers: gates stand one under the other in each weight, and stay; hidden units may go.

A weight of a layer has shape (gates * hidden, inputs).  A unit of the hidden state is one row of
every gate, one column of the recurrent weight, one element of the state and of the output.
"""

from __future__ import annotations

import numpy as np

from compressor.labels import Labels
from compressor.rules.calls import Call, Dims, UnsupportedCallError, Value
from compressor.rules.registry import rule


@rule("aten.lstm")
def lstm(call: Call) -> tuple[Dims, ...]:
    hidden, cell = call.values("hx")
    output, labels = _run(call, gates=4, states=(hidden, cell))
    state = (None, hidden.dims[1], labels)
    return output, state, state


@rule("aten.gru")
def gru(call: Call) -> tuple[Dims, ...]:
    hidden = call.value("hx")
    output, labels = _run(call, gates=3, states=(hidden,))
    return output, (None, hidden.dims[1], labels)


@rule("aten.rnn_tanh", "aten.rnn_relu")
def plain_recurrence(call: Call) -> tuple[Dims, ...]:
    hidden = call.value("hx")
    output, labels = _run(call, gates=1, states=(hidden,))
    return output, (None, hidden.dims[1], labels)


@rule("aten.lstm_cell")
def lstm_cell(call: Call) -> tuple[Dims, ...]:
    hidden, cell = call.values("hx")
    dims = (call.value("input").dims[0], _step(call, gates=4, states=(hidden, cell)))
    return dims, dims


@rule("aten.gru_cell", "aten.rnn_tanh_cell", "aten.rnn_relu_cell")
def cell(call: Call) -> Dims:
    gates = 3 if "gru" in str(call.node.target) else 1
    return (call.value("input").dims[0], _step(call, gates, (call.value("hx"),)))


def _step(call: Call, gates: int, states: tuple[Value, ...]) -> Labels:
    """Labels of the hidden units after one step of one cell."""
    value, weights = call.value("input"), [call.value("w_ih"), call.value("w_hh")]
    biases = [call.optional(name) for name in ("b_ih", "b_hh")]
    labels = _cell(call, value.dims[-1], [*weights, *(b for b in biases if b is not None)], gates)
    for state in states:
        call.unify(state.dims[-1], labels, "is the recurrent state")
    for weight in weights:
        call.work(value.size_and_labels(0), weight.size_and_labels(0), weight.size_and_labels(1))
    return labels


def _run(call: Call, gates: int, states: tuple[Value, ...]) -> tuple[Dims, Labels]:
    """Labels of the output and of the state after all layers.

    All layers and directions have one hidden size, as the operator takes no other: their units
    are united, layer by layer.
    """
    value, weights = call.value("input"), list(call.values("params"))
    directions = 2 if call.arguments.get("bidirectional") else 1
    per_cell = 4 if call.arguments.get("has_biases") else 2
    layers = call.integer("num_layers")
    if len(weights) != layers * directions * per_cell:
        raise UnsupportedCallError("a recurrent layer with projections")
    entering = value.dims[-1]
    shared: Labels = None
    for layer in range(layers):
        leaving: list[Labels] = []
        for direction in range(directions):
            first = (layer * directions + direction) * per_cell
            labels = _cell(call, entering, weights[first : first + per_cell], gates)
            if layer or direction:
                call.unify(shared, labels, "has the hidden size of the other layers")
            shared = labels
            leaving.append(labels)
        entering = _side_by_side(leaving)
    call.freeze(value.dims[1 if call.arguments.get("batch_first") else 0], "is a step in time")
    for state in states:
        call.freeze(state.dims[0], "counts the layers of a recurrence")
        call.unify(state.dims[-1], shared, "is the recurrent state")
    rows = [value.size_and_labels(0), value.size_and_labels(1)]
    for weight in weights[::per_cell] + weights[1::per_cell]:
        call.work(*rows, weight.size_and_labels(0), weight.size_and_labels(1))
    return (*value.dims[:-1], entering), shared


def _cell(call: Call, entering: Labels, weights: list[Value], gates: int) -> Labels:
    """Unite the parts of one cell; returns the labels of its hidden units."""
    into, recurrent, *biases = weights
    size = into.shape[0] // gates
    gate, hidden = call.split(into.dims[0], (gates, size))
    call.freeze(gate, "is a gate of a recurrent layer")
    for other in (recurrent, *biases):
        other_gate, other_hidden = call.split(other.dims[0], (gates, size))
        call.freeze(other_gate, "is a gate of a recurrent layer")
        call.unify(hidden, other_hidden)
    call.unify(recurrent.dims[1], hidden, "is the recurrent state")
    call.unify(entering, into.dims[1], "is summed against a dimension that stays")
    for weight in (into, recurrent):
        call.role(weight, 0, "writes")
        call.role(weight, 1, "reads")
    return hidden


def _side_by_side(parts: list[Labels]) -> Labels:
    known = [labels for labels in parts if labels is not None]
    return np.concatenate(known) if len(known) == len(parts) else None
