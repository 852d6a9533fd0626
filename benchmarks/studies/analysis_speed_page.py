"""The page of the speed study: rows of figures become tables.

Comes in: the rows that ``analysis_speed`` measured.  Goes out: Markdown.  Knows nothing of networks
or clocks.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from importlib import metadata
from typing import Any

import numpy as np

from benchmarks.environment import describe

Row = dict[str, Any]
STAGES = ("load", "capture", "analysis", "score", "plan", "removal", "proof")


def exponent(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """Slope of log(cost) over log(size), least squares: 1 is linear."""
    return float(np.polyfit(np.log(sizes), np.log(costs), 1)[0])


def _table(head: Sequence[str], body: Sequence[Sequence[str]]) -> list[str]:
    rule = ["---", *["---:"] * (len(head) - 1)]
    return ["| " + " | ".join(cells) + " |" for cells in (head, rule, *body)] + [""]


def compared_page(rows: Sequence[Row]) -> list[str]:
    head = ("network", "parameters", "nodes", "capture s", "analysis s", "analysis / capture")
    theirs = ("torch-pruning s", "/ analysis", "/ (capture + analysis)")
    good = [row for row in rows if "failed" not in row]
    body = []
    for row in good:
        ours = row["analysis"]
        cells = [
            row["subject"],
            f"{row['parameters'] / 1e6:.1f} M",
            str(row["nodes"]),
            f"{row['capture']:.2f}",
            f"{ours:.3f}",
            f"{ours / row['capture']:.3f}",
        ]
        other = row["torch_pruning"]
        if other is None:
            cells += [row["refused"], "", ""]
        else:
            whole = row["capture"] + ours
            cells += [f"{other:.2f}", f"{other / ours:.1f}", f"{other / whole:.2f}"]
        body.append(cells)
    shares = [row["analysis"] / row["capture"] for row in good]
    both = [row for row in good if row["torch_pruning"] is not None]
    after = [row["torch_pruning"] / row["analysis"] for row in both]
    whole = [row["torch_pruning"] / (row["capture"] + row["analysis"]) for row in both]
    lines = [
        f"Analysis over capture: median {statistics.median(shares):.3f}, worst {max(shares):.3f}"
        f" ({len(good)} networks).",
        "",
    ]
    if both:
        lines += [
            f"torch-pruning finished on {len(both)} of them. Its time over that of the analysis "
            f"after capture: median {statistics.median(after):.1f}, from {min(after):.1f} to "
            f"{max(after):.1f}. Over capture and analysis together, which is what a user waits "
            f"for: median {statistics.median(whole):.2f}, from {min(whole):.2f} to "
            f"{max(whole):.2f}; there torch-pruning is the faster one on "
            f"{sum(ratio < 1 for ratio in whole)} of {len(both)}.",
            "",
        ]
    return ["## Beside the capture and torch-pruning", "", *lines, *_table((*head, *theirs), body)]


def proved_page(rows: Sequence[Row]) -> list[str]:
    head = (
        "network",
        "parameters",
        "GMACs",
        "input",
        *STAGES,
        "all",
        "wall s",
        "peak GiB",
        "proved",
    )
    good = [row for row in rows if "failed" not in row]
    body = [
        [
            row["subject"],
            f"{row['parameters'] / 1e6:.1f} M",
            f"{row['macs'] / 1e9:.1f}",
            " x ".join(str(size) for size in row["input"]),
            *(f"{row['seconds'][stage]:.1f}" for stage in STAGES),
            f"{sum(row['seconds'].values()):.1f}",
            f"{row['wall']:.1f}",
            f"{row['peak_gib']:.1f}",
            f"{row['error']:.0e}" if row["passed"] else "no",
        ]
        for row in sorted(good, key=lambda row: row["parameters"])
    ]
    small = [sum(row["seconds"].values()) for row in good if row["parameters"] <= 100e6]
    lines = [f"At most 100 M parameters: {max(small):.0f} s at worst.", ""] if small else []
    return ["## From a file to a proof, half the parameters gone", "", *lines, *_table(head, body)]


def grown_page(rows: Sequence[Row]) -> list[str]:
    lines = ["## Growing chains", ""]
    good = [row for row in rows if "failed" not in row]
    for chain in dict.fromkeys(row["chain"] for row in good):
        mine = [row for row in good if row["chain"] == chain]
        if len(mine) < 2:
            continue
        per = mine[0]["per"]
        counts = [float(row[per]) for row in mine]
        seconds = [row["seconds"] for row in mine]
        tail = exponent(counts[-3:], seconds[-3:])
        lines += [
            f"{chain.capitalize()}: seconds grow with the {exponent(counts, seconds):.2f}th power "
            f"of the {per}, {tail:.2f} over the last three sizes.",
            "",
        ]
        body = [
            [
                str(row["size"]),
                str(row["nodes"]),
                str(row["rows"]),
                f"{row['seconds']:.3f}",
                f"{1e6 * row['seconds'] / row[per]:.1f}",
            ]
            for row in mine
        ]
        lines += _table((chain, "nodes", "label rows", "analysis s", f"us per {per[:-1]}"), body)
    return lines


PAGES = {"compared": compared_page, "proved": proved_page, "grown": grown_page}


def heading(repeats: int) -> list[str]:
    facts = describe()
    packages = {
        **facts["packages"],
        **{name: metadata.version(name) for name in ("torch-pruning", "transformers")},
    }
    versions = ", ".join(
        f"{name} {packages[name]}"
        for name in ("torch", "torchvision", "timm", "transformers", "torch-pruning", "numpy")
    )
    return [
        "# The speed of the analysis",
        "",
        "Written by `OMP_NUM_THREADS=1 python -m benchmarks.studies.analysis_speed`. Every "
        "measurement has a process of its own, one thread, batch 2; what is compared alternates in "
        f"one process, and a figure is the median of {repeats} after a first that is dropped (what "
        "takes over 10 s: the first; load to proof: one cold run, lazy imports included). Seconds "
        "are those of the processor, which differ from the clock's where the machine is shared.",
        "",
        f"{facts['cpu']}, {facts['architecture']}; Python {facts['python']}, {versions}.",
        "",
    ]
