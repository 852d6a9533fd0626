"""The compatibility page and the list of problems, from the records of a study.

Comes in: the list with what was recorded.  Goes out: text.  Knows nothing of torch, processes or
files.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from statistics import median

from benchmarks.studies.networks import Network
from benchmarks.studies.records import Cut, PeerTrial, Trial

Results = tuple[tuple[Network, Trial | None, PeerTrial | None], ...]

# Names of the list that make up the families of the target.
FAMILIES = (
    ("ResNet", r"torchvision:(resnet|resnext|wide_resnet)\w+|timm:resnet\d.*"),
    ("ConvNeXt", r"\w+:convnext.*"),
    ("ViT", r"torchvision:vit_.*|timm:(vit|deit)_.*|transformers:(ViT|DeiT)For.*"),
    ("Swin", r"torchvision:swin.*|timm:swin.*|transformers:Swin.*"),
    ("MobileNet", r"\w+:mobilenet.*"),
    ("EfficientNet", r"\w+:(tf_)?efficientnet.*"),
    ("BERT", r"transformers:(Bert|Roberta|XLMRoberta|DistilBert)For.*"),
    ("Llama", r"transformers:Llama.*"),
)
VERDICTS = {
    "passed": "passes",
    "refused": "refused",
    "wrong": "**wrong**",
    "defect": "**defect**",
    "limit": "over a limit",
}
WHOLE = 100e6  # parameters; up to here load to proof is held to a minute

INTRODUCTION = """# Compatibility

Written by `python -m benchmarks.studies.compatibility` from the list in
`benchmarks/studies/networks/`, which was written down first and is not changed to suit a result.
Every network has random weights from a seed, with gains, offsets, layer scales and running
statistics drawn so that nothing is trivially zero; pictures and clips are as small as the
architecture takes without being distorted. A network **passes** when it is captured, analysed,
cut by half of its parameters (or by the largest share that can go, and then that is said),
proved in float64 (tolerance 1e-9), gives the same answers for a sample alone and in a batch of
3, trains one step, and when the extreme cut (all but 3 % of every group, at least one unit) is
proved too. A **refusal** is a stated error of ours; **wrong** is a proof that failed; a
**defect** is anything else.

Seconds are of the processor, one thread; *load* builds the network and draws its weights.
*Groups* are those that the cut by half touches: exact (zeroing equals removing) and inexact (a
norm, mean or softmax runs over the units, and the proof is of the network restricted to the kept
ones). *Kept outer x inner* is the mean share of units kept where one dimension is cut in two
ways: heads or groups, and the width within each. torch-pruning runs with its default settings
(magnitude importance, half of every layer, the last classifier left alone, no head counts or
other hints, 60 s of the processor); *runs* says that the pruned network's forward runs, not that it
is right.
"""
HEADER = (
    "| network | M params | nodes | result | prunable | cut | groups exact + inexact | error "
    "| extreme | batches; lengths | trains | kept outer x inner | capture s | analysis s | proof s "
    "| load to proof s | GiB | torch-pruning | its s |\n"
    "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|"
)


def page(results: Results) -> str:
    """The whole page, Markdown."""
    parts = [INTRODUCTION, "## Summary\n", *_summary(results), "\n## Not passed\n"]
    parts += _reasons(results)
    parts += ["\n## Parts of networks\n", *_parts(results)]
    parts += ["\n## The matrix\n", HEADER, *(_row(*result) for result in results)]
    return "\n".join(parts) + "\n"


def problems(results: Results) -> str:
    """One line per network that did not pass: verdict, name, stage, reason, unknown operators."""
    lines = [
        f"{trial.verdict:8} {trial.name} [{trial.stage}] {trial.reason}"
        + (f" | no rule: {', '.join(unknown)}" if unknown else "")
        for _, trial, _ in results
        if trial is not None
        and ((unknown := unknown_operators(trial)) or trial.verdict != "passed")
    ]
    return "".join(f"{line}\n" for line in lines)


def unknown_operators(trial: Trial) -> list[str]:
    """Operators that have no rule, each once."""
    return sorted({entry.op for entry in trial.frozen if entry.reason.startswith("no rule")})


def family(network: Network) -> str | None:
    """The family of the target that a network belongs to."""
    return next((name for name, form in FAMILIES if re.fullmatch(form, network.name)), None)


# -- summary -----------------------------------------------------------------------------------


def _summary(results: Results) -> list[str]:
    ran = [trial for _, trial, _ in results if trial is not None]
    if not ran:
        return ["Nothing has been run."]
    passed = [trial for trial in ran if trial.verdict == "passed"]
    lines = [
        f"- {len(passed)} of {len(ran)} networks pass ({_percent(len(passed) / len(ran))})"
        + (
            f"; {len(results) - len(ran)} of the list have not been run."
            if len(results) > len(ran)
            else "."
        ),
        *_state_lines(ran),
        "- " + ", ".join(f"{_count(ran, verdict)} {verdict}" for verdict in VERDICTS) + ".",
        f"- Median share of parameters in prunable groups: {_percent(_median(_shares(ran)))}; "
        f"lowest {_percent(min(_shares(ran), default=0.0))}.",
        *_family_lines(results),
        *_time_lines(ran),
        *_peer_lines(results),
    ]
    return lines


def _state_lines(trials: list[Trial]) -> list[str]:
    states = {trial.sources for trial in trials}
    if len(states) == 1:
        return [f"- All rows are of one state of the sources, `{states.pop()}`."]
    return [f"- **The rows are of {len(states)} states of the sources**; `--stale` makes them one."]


def _count(trials: Iterable[Trial], verdict: str) -> int:
    return sum(trial.verdict == verdict for trial in trials)


def _shares(trials: Iterable[Trial]) -> list[float]:
    return [trial.prunable for trial in trials if trial.prunable is not None]


def _family_lines(results: Results) -> list[str]:
    lines = []
    for name, _ in FAMILIES:
        members = [t for n, t, _ in results if t is not None and family(n) == name]
        if shares := _shares(members):
            lines.append(
                f"- {name}: {_count(members, 'passed')} of {len(members)} pass, prunable share "
                f"{_percent(min(shares))} to {_percent(max(shares))}."
            )
    return lines


def _time_lines(trials: list[Trial]) -> list[str]:
    analysed = [t for t in trials if "analysis" in t.seconds and t.seconds.get("capture")]
    if not analysed:
        return []
    ratios = {t.name: t.seconds["analysis"] / t.seconds["capture"] for t in analysed}
    slowest = max(ratios, key=lambda name: ratios[name])
    lines = [
        f"- Analysis takes {_percent(median(ratios.values()))} of the time of the capture in the "
        f"median, {_percent(ratios[slowest])} at worst ({slowest})."
    ]
    proved = [t for t in trials if t.half is not None]
    small = [t for t in proved if t.parameters <= WHOLE]
    if small:
        worst = max(small, key=lambda t: t.load_to_proof_s)
        lines.append(
            f"- Load to proof, up to 100 M parameters: median "
            f"{median(t.load_to_proof_s for t in small):.1f} s, at worst "
            f"{worst.load_to_proof_s:.0f} s ({worst.name})."
        )
    large = [t for t in proved if t.parameters > WHOLE]
    if large:
        worst = max(large, key=lambda t: t.load_to_proof_s)
        most = max(large, key=lambda t: t.peak_gib)
        lines.append(
            f"- Above 100 M: at worst {worst.load_to_proof_s:.0f} s ({worst.name}) and "
            f"{most.peak_gib:.1f} GiB ({most.name})."
        )
    return lines


def _peer_lines(results: Results) -> list[str]:
    ran = [(trial, peer) for _, trial, peer in results if peer is not None]
    if not ran:
        return []
    works = sum(peer.works for _, peer in ran)
    lines = [
        f"- torch-pruning with default settings: the pruned forward runs on {works} of {len(ran)}."
    ]
    pairs = [
        (peer.seconds["graph"] + peer.seconds["groups"], trial.seconds)
        for trial, peer in ran
        if trial is not None and trial.seconds.get("analysis") and "groups" in peer.seconds
    ]
    if pairs:
        alone = median(theirs / ours["analysis"] for theirs, ours in pairs)
        whole = median(theirs / (ours["capture"] + ours["analysis"]) for theirs, ours in pairs)
        lines.append(
            f"- Its graph and group listing against our analysis, on the {len(pairs)} that both "
            f"handle: median time ratio {alone:.2g}; against our capture and analysis {whole:.2g}."
        )
    return lines


def _reasons(results: Results) -> list[str]:
    failed = [t for _, t, _ in results if t is not None and t.verdict != "passed"]
    if not failed:
        return ["Every network that was run passes."]
    return [f"- `{t.name}`: {VERDICTS[t.verdict]}, {t.stage}: {_plain(t.reason)}" for t in failed]


def _parts(results: Results) -> list[str]:
    told: dict[str, list[str]] = {}
    for network, _, _ in results:
        if network.part:
            told.setdefault(network.part, []).append(network.factory)
    return [f"- {', '.join(names)}: {part}." for part, names in told.items()]


# -- rows --------------------------------------------------------------------------------------


def _row(network: Network, trial: Trial | None, peer: PeerTrial | None) -> str:
    ours = _ours(trial) if trial is not None else ["", "", "not run", *[""] * 13]
    return "| " + " | ".join([f"`{network.name}`", *ours, *_theirs(peer)]) + " |"


def _ours(trial: Trial) -> list[str]:
    seconds = [trial.seconds.get(stage) for stage in ("capture", "analysis", "proof")]
    return [
        f"{trial.parameters / 1e6:.1f}",
        str(trial.nodes or ""),
        VERDICTS[trial.verdict],
        "" if trial.prunable is None else _percent(trial.prunable),
        *_cut(trial.half),
        "" if trial.extreme is None else ("yes" if trial.extreme.passed else "**no**"),
        "; ".join(", ".join(map(str, sizes)) for sizes in (trial.batches, trial.lengths) if sizes),
        "yes" if trial.trained else "",
        _factors(trial),
        *("" if value is None else f"{value:.2f}" for value in seconds),
        f"{trial.load_to_proof_s:.1f}" if trial.half else "",
        f"{trial.peak_gib:.1f}" if trial.peak_gib else "",
    ]


def _cut(half: Cut | None) -> list[str]:
    if half is None:
        return ["", "", ""]
    share = _percent(half.achieved) + ("" if half.asked == "half" else " (largest)")
    error = "not finite" if half.error is None else f"{half.error:.0e}"
    return [share, f"{half.exact_groups} + {half.inexact_groups}", error]


def _factors(trial: Trial) -> str:
    found = trial.factors
    return "" if found is None else f"{100 * found.outer:.0f} x {100 * found.inner:.0f} %"


def _theirs(peer: PeerTrial | None) -> list[str]:
    if peer is None:
        return ["", ""]
    seconds = sum(peer.seconds.get(stage, 0.0) for stage in ("graph", "groups", "pruning"))
    told = "runs" if peer.works else f"{peer.stage}: {_plain(peer.reason)[:80]}"
    return [told, f"{seconds:.1f}" if seconds else ""]


def _plain(text: str) -> str:
    """Text that breaks no table and names no folder of this machine."""
    return re.sub(r"(/[\w.+-]+){2,}/", "", text).replace("|", "/").replace("\n", " ")


def _median(values: list[float]) -> float:
    return median(values) if values else 0.0


def _percent(share: float) -> str:
    return f"{100 * share:.4g} %"
