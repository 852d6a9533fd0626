"""Numbers to text, for the page and the verdict line.  Knows nothing of what they mean."""

from __future__ import annotations

from collections.abc import Mapping

UNKNOWN = "\N{EN DASH}"
TIMES = "\N{MULTIPLICATION SIGN}"
NAMES = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO", "tensorrt": "TensorRT"}


def significant(value: float, digits: int = 3) -> str:
    """Plain decimal text with at least ``digits`` significant digits: 0.544, 15.6, 1,290."""
    if value == 0 or abs(value) >= 10 ** (digits - 1):
        return f"{value:,.0f}"
    places = 0
    while abs(value) * 10**places < 10 ** (digits - 1) and places < 9:
        places += 1
    return f"{value:.{places}f}"


def rough(value: float) -> str:
    """Two significant digits where they tell apart: 3.3, 1.05."""
    return significant(value, 2 if value >= 1.1 else 3)


def grouped(value: float | None) -> str:
    """25557032 -> "25,557,032"."""
    return UNKNOWN if value is None else f"{value:,}"


def whole(value: float | None) -> str:
    """32 -> "32": a setting, not an amount."""
    return UNKNOWN if value is None else f"{value}"


def count(value: float | None) -> str:
    """25557032 -> "25.6 M"."""
    if value is None:
        return UNKNOWN
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{significant(value / size)} {letter}"
    return f"{value:,.0f}"


def size(value: float | None) -> str:
    """Bytes: 44720000 -> "44.7 MB"."""
    if value is None:
        return UNKNOWN
    text = count(value)
    return f"{text}B" if text[-1] in "kMGT" else f"{text} bytes"


def share(value: float | None, places: int = 1) -> str:
    """0.927 -> "92.7 %"."""
    return UNKNOWN if value is None else f"{100 * value:.{places}f} %"


def fine_share(value: float | None) -> str:
    """0.69731 -> "69.73 %"."""
    return share(value, 2)


def points(value: float) -> str:
    """A difference of shares: a loss has a proper minus sign."""
    return f"{100 * value:+.1f}".replace("-", "\N{MINUS SIGN}")


def milliseconds(value: float | None) -> str:
    return UNKNOWN if value is None else significant(value)


def microseconds(value: float) -> str:
    return significant(value, 2)


def seconds(value: float) -> str:
    """75.2 -> "1 min 15 s"."""
    if value >= 60:
        minutes, rest = divmod(round(value), 60)
        return f"{minutes} min {rest} s"
    return f"{significant(value, 2)} s"


def error(value: float | None) -> str:
    """3.1e-15 -> "3.1e-15", 0.83 -> "0.83"."""
    if value is None:
        return UNKNOWN
    if value == 0 or 0.01 <= abs(value) < 1e4:
        return significant(value, 2)
    mantissa, _, power = f"{value:.1e}".partition("e")
    return f"{mantissa}e{int(power)}"


def interval(ends: tuple[float, float] | list[float] | None, word: str = "to") -> str:
    return UNKNOWN if ends is None else f"{significant(ends[0])} {word} {significant(ends[1])}"


def metric_name(name: str) -> str:
    """top1 -> "top-1"."""
    number = name.removeprefix("top")
    return f"top-{number}" if number != name and number.isdigit() else name


def metrics(values: Mapping[str, float] | None) -> str:
    """{"top1": 0.93} -> "top-1 93.0 %"."""
    if not values:
        return UNKNOWN
    return ", ".join(f"{metric_name(name)} {share(value)}" for name, value in values.items())


def runtime(row: Mapping[str, object]) -> str:
    """Name of a benchmark row's runtime, as people write it."""
    name = NAMES.get(str(row.get("runtime")), str(row.get("runtime")))
    return name if row.get("device", "cpu") == "cpu" else f"{name} on {row.get('device')}"


def workload(row: Mapping[str, object]) -> str:
    """ "ONNX Runtime, batch 1"; with the precision where it is not the usual one."""
    precision = row.get("precision", "float32")
    said = "" if precision == "float32" else f", {precision}"
    return f"{runtime(row)}, batch {row.get('batch')}{said}"
