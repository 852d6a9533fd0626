"""Which widths are worth having, on staircases that are known."""

from __future__ import annotations

import numpy as np
import pytest

from compressor.staircases import (
    Hold,
    Layer,
    Operator,
    Staircase,
    choose_widths,
    expected_seconds,
    sampled_widths,
    tolerable,
    wanted_widths,
    waste,
    worthwhile,
)


def blocks(width: int, block: int = 16) -> float:
    """A runtime that computes whole blocks."""
    return float(-(-width // block) * block)


def unaligned_is_faster(width: int) -> float:
    """As ONNX Runtime's int8 on some processors: multiples of 4 take a slower kernel."""
    return width * (1.0 if width % 4 else 1.35)


def gentle(width: int) -> float:
    """A fixed part and one that grows with the width: no steps at all."""
    return 40.0 + width


def layer(inputs: int, outputs: int, *holds: Hold) -> Layer:
    operator = Operator(
        kind="convolution", inputs=inputs, outputs=outputs, space=(8, 8), kernel=(3, 3),
        stride=(1, 1), padding=(1, 1), dilation=(1, 1),
    )  # fmt: skip
    return Layer(where="layer", operator=operator, holds=holds)


@pytest.mark.parametrize("units", [64, 128, 96, 256])
@pytest.mark.parametrize("noise", [0.0, 0.01, 0.03])
def test_right_edges_of_plateaus_are_worth_having(units: int, noise: float) -> None:
    widths = sampled_widths(units)
    generator = np.random.default_rng(0)
    seconds = [blocks(w) * (1 + noise / 4 * generator.standard_normal()) for w in widths]
    found = worthwhile(widths, seconds, noise)
    edges = {width for width in widths if width % 16 == 0}
    assert set(found) <= edges | {units}
    # Where an edge is close to the next one beside all of the width, noise may hide what it saves.
    assert {width for width in edges if 5 * width <= 4 * units} <= set(found)


def test_where_odd_widths_are_faster_they_are_taken() -> None:
    widths = sampled_widths(128)
    found = worthwhile(widths, [unaligned_is_faster(w) for w in widths], 0.01)
    upper = [width for width in found if 64 < width < 128]
    assert upper
    assert all(width % 4 for width in upper)


@pytest.mark.parametrize("units", [64, 96, 512])
def test_without_steps_every_rung_is_worth_having(units: int) -> None:
    widths = sampled_widths(units)
    rungs = {width for width in widths if width + 1 not in widths}
    found = worthwhile(widths, [gentle(w) for w in widths], 0.0)
    assert rungs <= set(found)


def test_widths_that_save_no_time_are_not_worth_their_units() -> None:
    widths = (4, 8, 12, 16)
    assert worthwhile(widths, (1.0, 1.0, 1.0, 1.0), 0.0) == (16,)


@pytest.mark.parametrize("units", [1, 2, 7, 12, 16, 24, 40, 64, 100, 2048])
def test_sampled_widths_are_few_ascending_and_end_with_the_whole(units: int) -> None:
    found = sampled_widths(units)
    assert list(found) == sorted(set(found))
    assert found[-1] == units
    assert found[0] >= 1
    assert len(found) <= 20


def test_waste_of_a_staircase_is_what_the_block_pays_beyond_its_share() -> None:
    widths = np.arange(8, 65, 8)
    found = dict(
        zip(widths.tolist(), waste(widths, np.array([blocks(w) for w in widths])), strict=True)
    )
    assert found[48] == found[64] == found[32] == 0
    assert found[56] == pytest.approx(64 / 56 - 1)
    assert found[40] == pytest.approx(48 / 40 - 1)


def stairs(one: Layer, side: str, noise: float = 0.0) -> Staircase:
    whole = one.operator.size(side)  # type: ignore[arg-type]
    widths = sampled_widths(whole)
    return Staircase(
        operator=one.operator,
        side=side,  # type: ignore[arg-type]
        widths=widths,
        seconds=tuple(blocks(width) for width in widths),
        noise=noise,
    )


def test_of_widths_that_save_no_time_the_best_are_tolerable() -> None:
    widths = (2, 4, 6, 8, 12, 16)
    seconds = np.array([1.5, 1.1, 1.6, 1.2, 1.3, 1.0])
    assert worthwhile(widths, seconds, 0.0) == (16,)
    assert tolerable(widths, seconds, (16,)) == (4, 8, 12)
    assert tolerable(widths, seconds, (2, 16)) == ()


def test_a_group_is_priced_over_all_layers_that_write_or_read_it() -> None:
    writer = layer(3, 64, Hold(group=0, side="outputs", rows=64))
    reader = layer(
        64, 32, Hold(group=0, side="inputs", rows=64), Hold(group=1, side="outputs", rows=32)
    )
    staircases = [stairs(writer, "outputs"), stairs(reader, "inputs")]
    first, second = choose_widths([writer, reader], [64, 32], staircases)
    assert first.layers == 2
    assert first.seconds[-1] == 128
    assert first.worth == (16, 32, 48, 64)
    assert first.largest_waste == pytest.approx(32 / 24 - 1)
    assert (second.layers, second.worth) == (0, ())  # its side was not measured


def test_noise_of_many_layers_counts_for_less_and_too_much_says_nothing() -> None:
    alone = layer(3, 64, Hold(group=0, side="outputs", rows=64))
    noisy = stairs(alone, "outputs", noise=0.08)
    (one,) = choose_widths([alone], [64], [noisy])
    assert one.noise == pytest.approx(0.08)
    assert one.worth == ()
    (four,) = choose_widths([alone] * 4, [64], [noisy])
    assert four.noise == pytest.approx(0.04)
    assert four.worth == (16, 32, 48, 64)


def test_widths_of_a_concatenation_are_those_of_its_parts() -> None:
    reader = layer(
        96, 32, Hold(group=0, side="inputs", rows=32), Hold(group=1, side="inputs", rows=64)
    )
    wanted = wanted_widths([reader], [32, 64])
    assert set(wanted) == {(reader.operator, "inputs")}
    widths = wanted[reader.operator, "inputs"]
    assert {64 + width for width in sampled_widths(32)} <= set(widths)
    assert {32 + width for width in sampled_widths(64)} <= set(widths)
    assert widths[-1] == 96


def test_cutting_convolution_groups_takes_inputs_and_outputs_along() -> None:
    depthwise = Operator(kind="convolution", inputs=32, outputs=64, space=(8, 8), groups=32)
    cut = depthwise.at("groups", 8)
    assert (cut.inputs, cut.outputs, cut.groups) == (8, 16, 8)


def test_expected_seconds_multiply_what_both_sides_save() -> None:
    one = layer(
        64, 64, Hold(group=0, side="inputs", rows=64), Hold(group=1, side="outputs", rows=64)
    )
    staircases = [stairs(one, "inputs"), stairs(one, "outputs")]
    assert expected_seconds([one], staircases, [1.0, 1.0]) == 64
    assert expected_seconds([one], staircases, [0.5, 0.25]) == pytest.approx(64 * 0.5 * 0.25)
