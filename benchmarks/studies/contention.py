"""How often does the verdict err?  Measurements simulated under noise whose truth is known.

    python -m benchmarks.studies.contention [--trials 200] [--seed 0] [--page docs/studies.md]

A call takes its time, times what its process makes of it, times a slow drift, times jitter; while a
neighbour is on the core the scheduler hands it over for a slice every few milliseconds, and the
caches are cold afterwards; now and then something takes much longer (Pareto).  The measurement then
goes through `benchmarks.summaries` as a real one does.  Knows nothing of models and clocks.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.measurements import Measurement
from benchmarks.sampling import SUBJECTS, Sample, Sampling, Sitting
from benchmarks.speedups import Time, round_speedups, speedup_of, t_interval
from benchmarks.studies.parts import put_part, typed
from benchmarks.summaries import deciding_time, summarize

SLOWER = 1.10


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """One kind of weather.  Times in milliseconds."""

    name: str
    call_ms: float
    threads: int = 1  # with two, processor time may not decide
    busy_share: float = 0.0  # of the time that a neighbour wants this core
    busy_ms: float = 300.0  # how long it stays, on average (exponential)
    own_slice_ms: float = 3.0
    other_slice_ms: float = 4.0
    cold_ms: float = 0.05  # processor time lost after each hand-over
    jitter: float = 0.02  # per call, lognormal
    drift: float = 0.03  # of all subjects alike, correlated over rounds
    spike_share: float = 0.003
    process_effect: float = 0.005  # of each subject in each process
    heavy: bool = False  # process effects of Student's t with 3 degrees of freedom


WEATHERS = (
    Noise(name="quiet", call_ms=1.0),
    Noise(name="one core of two loaded", call_ms=1.0, busy_share=0.5),
    Noise(name="this core loaded all the time", call_ms=5.0, busy_share=1.0),
    Noise(name="slow calls, core loaded half the time", call_ms=60.0, busy_share=0.5),
    Noise(name="bursts of two seconds", call_ms=2.0, busy_share=0.4, busy_ms=2000.0),
    Noise(
        name="processes differ by 2 %, heavy tails", call_ms=2.0, process_effect=0.02, heavy=True
    ),
    Noise(name="two threads, one core loaded", call_ms=2.0, threads=2, busy_share=0.5),
    Noise(name="two threads, loaded all the time", call_ms=5.0, threads=2, busy_share=1.0),
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbour:
    """When the other process wants the core: intervals of virtual milliseconds."""

    begins: np.ndarray
    ends: np.ndarray

    def wants(self, now: float) -> bool:
        place = int(np.searchsorted(self.begins, now, side="right")) - 1
        return place >= 0 and now < self.ends[place]


def neighbour_of(noise: Noise, length_ms: float, generator: np.random.Generator) -> Neighbour:
    """Bursts of exponential length, with pauses that make up the wanted share."""
    if noise.busy_share <= 0:
        return Neighbour(begins=np.array([]), ends=np.array([]))
    if noise.busy_share >= 1:
        return Neighbour(begins=np.array([0.0]), ends=np.array([np.inf]))
    pause = noise.busy_ms * (1 - noise.busy_share) / noise.busy_share
    count = int(10 + 3 * length_ms / (noise.busy_ms + pause))
    lengths = generator.exponential(noise.busy_ms, count)
    pauses = generator.exponential(pause, count)
    begins = np.cumsum(pauses + np.concatenate([[0.0], lengths[:-1]]))
    return Neighbour(begins=begins, ends=begins + lengths)


def sit(
    noise: Noise, factor: float, seconds: float, process: int, generator: np.random.Generator
) -> Sitting:
    """One process; the student takes ``factor`` times the teacher's work."""
    neighbour = neighbour_of(noise, 1000 * seconds, generator)
    work = {"teacher": 1.0, "student": factor, "twin": 1.0}
    own = (
        generator.standard_t(3, len(SUBJECTS)) if noise.heavy else generator.standard_normal(3)
    ) * noise.process_effect
    effect = dict(zip(SUBJECTS, np.exp(own), strict=True))
    plan = Sampling()
    calls = int(np.clip(round(1000 * plan.block_seconds / noise.call_ms), 1, plan.most_calls))
    now, weather, turn, left = 0.0, 0.0, 0, noise.own_slice_ms
    samples: list[Sample] = []
    while now < 1000 * seconds or turn < 1:
        weather = 0.98 * weather + np.sqrt(1 - 0.98**2) * noise.drift * generator.standard_normal()
        for order, place in enumerate(generator.permutation(len(SUBJECTS))):
            subject = SUBJECTS[place]
            jitters = np.exp(noise.jitter * generator.standard_normal(calls) + weather)
            spikes = (generator.random(calls) < noise.spike_share) * np.minimum(
                0.2 * (1 + generator.pareto(1.2, calls)), 100.0
            )
            for jitter, spike in zip(jitters, spikes, strict=True):
                cpu = noise.call_ms * work[subject] * effect[subject] * jitter + spike
                wall, todo = 0.0, cpu
                while neighbour.wants(now + wall) and todo > left:
                    wall += left + noise.other_slice_ms * generator.exponential()
                    todo += noise.cold_ms - left
                    cpu += noise.cold_ms
                    left = noise.own_slice_ms * generator.uniform(0.5, 1.5)
                left -= todo
                wall += todo
                now += wall
                samples.append(
                    Sample(
                        process=process,
                        subject=subject,
                        round=turn,
                        order=order,
                        wall_ns=int(1e6 * wall),
                        cpu_ns=int(1e6 * cpu),
                    )
                )
        turn += 1
    return Sitting(
        samples=tuple(samples),
        rounds=turn,
        calls_per_block=calls,
        warmup_calls=(10, 10, 10),
        steady=True,
        stopped="time spent",
        seconds=now / 1000,
    )


def simulate(
    noise: Noise, factor: float, seed: Sequence[int], *, seconds: float = 1.4, processes: int = 5
) -> Measurement:
    """A run of ten seconds: five processes that sample for ``seconds`` each."""
    generator = np.random.default_rng(seed)
    return Measurement(
        sittings=tuple(
            sit(noise, factor, seconds, process, generator) for process in range(processes)
        ),
        surroundings=(),
        ran_by={},
        stopped="time spent",
        seconds=seconds * processes,
    )


# -- rules that were considered --------------------------------------------------------------------


def said_by_summary(found: Measurement, noise: Noise) -> str:
    """What the project says."""
    return summarize(found, batch=1, device="cpu", threads=noise.threads).verdict


def said_by_interval(found: Measurement, noise: Noise) -> str:
    """Student's t over processes, without the noise floor."""
    gains = round_speedups(found.samples, "student", _time(found, noise))
    return _outside(t_interval(np.array([np.median(rounds) for rounds in gains.values()])))


def said_by_wall(found: Measurement, noise: Noise) -> str:
    """Student's t over processes and the noise floor, always in wall time."""
    return summarize(found, batch=1, device="cpu", threads=noise.threads + 1).verdict


def said_by_bootstrap(found: Measurement, noise: Noise, resamples: int = 400) -> str:
    """The nested bootstrap: processes, then rounds; percentiles of the speed-up."""
    gains = list(round_speedups(found.samples, "student", _time(found, noise)).values())
    generator = np.random.default_rng(0)
    values = []
    for _ in range(resamples):
        chosen = generator.integers(0, len(gains), len(gains))
        drawn = tuple(generator.choice(gains[place], len(gains[place])) for place in chosen)
        values.append(np.log(speedup_of(drawn).value))
    low, high = np.quantile(values, [0.025, 0.975])
    return _outside((float(low), float(high)))


def said_by_pooled_rounds(found: Measurement, noise: Noise) -> str:
    """All rounds as if they were independent: bootstrap interval of their median."""
    gains = np.concatenate(
        list(round_speedups(found.samples, "student", _time(found, noise)).values())
    )
    generator = np.random.default_rng(0)
    medians = np.median(generator.choice(gains, (400, len(gains))), axis=1)
    low, high = np.quantile(medians, [0.025, 0.975])
    return _outside((float(low), float(high)))


def _time(found: Measurement, noise: Noise) -> Time:
    wall = sum(one.wall_ns for one in found.samples)
    cpu = sum(one.cpu_ns for one in found.samples)
    return deciding_time(wall / cpu, 0.0, device="cpu", threads=noise.threads)


def _outside(ends: tuple[float, float] | None) -> str:
    if ends is None:
        return "invalid"
    if ends[0] <= 0 <= ends[1]:
        return "no measurable difference"
    return "faster" if ends[0] > 0 else "slower"


RULES: dict[str, Callable[[Measurement, Noise], str]] = {
    "as built": said_by_summary,
    "wall time only": said_by_wall,
    "no noise floor": said_by_interval,
    "nested bootstrap": said_by_bootstrap,
    "rounds pooled": said_by_pooled_rounds,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Shares over all trials of one weather under one rule."""

    false_alarms: float  # two equal networks called faster or slower
    found: float  # 10 % slower called slower
    wrong: float  # 10 % slower called faster


def rates(noise: Noise, rules: Sequence[str], trials: int, seed: int) -> dict[str, Rates]:
    """Simulate ``trials`` equal and ``trials`` slower pairs, and ask every rule."""
    equal: dict[str, Counter[str]] = {rule: Counter() for rule in rules}
    slower: dict[str, Counter[str]] = {rule: Counter() for rule in rules}
    for trial in range(trials):
        for factor, counts in ((1.0, equal), (SLOWER, slower)):
            found = simulate(noise, factor, seed=(seed, trial, round(100 * factor)))
            for rule in rules:
                counts[rule][RULES[rule](found, noise)] += 1
    return {
        rule: Rates(
            false_alarms=(equal[rule]["faster"] + equal[rule]["slower"]) / trials,
            found=slower[rule]["slower"] / trials,
            wrong=slower[rule]["faster"] / trials,
        )
        for rule in rules
    }


def section(table: dict[str, dict[str, Rates]], trials: int, seed: int) -> str:
    """Markdown: for each weather, false alarms / found, under each rule."""
    names = list(RULES)
    lines = [
        "## Verdicts under simulated noise",
        "",
        f"`{typed('benchmarks.studies.contention', sys.argv[1:])}`",
        "",
        f"{trials} equal and {trials} slower pairs in each weather, seed {seed}: five processes of "
        "1.4 s, as a run of ten seconds has. Each cell: share of equal pairs called different / "
        "share of pairs with 10 % more work called slower.",
        "",
        f"| weather | {' | '.join(names)} |",
        f"| --- |{' --- |' * len(names)}",
    ]
    for weather, found in table.items():
        cells = (
            f"{100 * one.false_alarms:.1f} / {100 * one.found:.0f} %" for one in found.values()
        )
        lines.append(f"| {weather} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--page", type=Path, default=None)
    options = parser.parse_args()
    table = {}
    for noise in WEATHERS:
        table[noise.name] = rates(noise, tuple(RULES), options.trials, options.seed)
        shown = {rule: (one.false_alarms, one.found) for rule, one in table[noise.name].items()}
        print(noise.name, shown, flush=True)
    text = section(table, options.trials, options.seed)
    print(text)
    if options.page is not None:
        put_part(options.page, "contention", text)


if __name__ == "__main__":
    main()
