"""Reports as a run's files would have them: a small one, and one with every optional key."""

from __future__ import annotations

from typing import Any

SHA = "cd" * 32


def small_report() -> dict[str, Any]:
    figures = {"median_ms": 3.1, "p90_ms": 3.4, "p99_ms": None, "throughput_per_s": 322.0, "n": 40}
    return {
        "format": 1,
        "teacher": {
            "name": "resnet8",
            "sha256": "ab" * 32,
            "trained": True,
            "parameters": 330_000,
            "macs": 12_000_000,
            "metrics": {"top1": 0.927},
        },
        "student": {
            "parameters": 100_000,
            "macs": 4_000_000,
            "metrics": {"top1": 0.912},
            "agreement": 0.95,
        },
        "budget": {"sparsity": 0.7, "of": "params", "achieved": 0.697},
        "recipe": {
            "name": "prune-then-distill",
            "form": "structured",
            "phases": [{"name": "distill", "metrics": {"top1": 0.912}, "seconds": 61.0}],
        },
        "stages": [
            {"name": "removed", "metrics": {"top1": 0.1}, "agreement": 0.11},
            {"name": "distilled", "metrics": {"top1": 0.912}, "agreement": 0.95},
        ],
        "proof": {
            "passed": True,
            "max_relative_error": 3.1e-15,
            "tolerance": 1e-9,
            "nodes_compared": 31,
            "moved": 0.83,
            "exact_groups": 2,
            "inexact_groups": 0,
        },
        "deployables": [
            {
                "file": f"onnx/{name}.onnx",
                "precision": "float32",
                "bytes": size,
                "sha256": SHA,
                "opset": 20,
                "parity": {"samples": 64, "max_abs_error": 2.1e-6, "agreement": 1.0},
                "metrics": None,
            }
            for name, size in (("student", 410_000), ("teacher", 1_330_000))
        ],
        "benchmarks": [
            {
                "runtime": "onnxruntime",
                "device": "cpu",
                "precision": "float32",
                "batch": 1,
                "threads": 1,
                "teacher": figures,
                "student": {**figures, "median_ms": 1.29},
                "speedup": 2.4,
                "interval": [2.3, 2.5],
                "verdict": "faster",
                "status": "VALID",
                "reasons": [],
                "twin_interval": [0.98, 1.02],
                "samples": "benchmarks/onnxruntime-b1.json",
            }
        ],
        "environment": {"cpu": "A Processor", "flags": ["avx2"], "packages": {"torch": "2.15.0"}},
        "seconds": {"capture": 2.1},
    }


def sample_file() -> dict[str, Any]:
    """Raw samples of 40 rounds of one call each, in the form of their file."""
    walls = (3_100_000, 1_290_000, 3_100_000)
    calls = [(turn, place, wall) for turn in range(40) for place, wall in enumerate(walls)]
    return {
        "format": 2,
        "workload": setting(),
        "subjects": ["teacher", "student", "twin"],
        "samples": {
            "process": [turn // 8 for turn, _, _ in calls],
            "subject": [place for _, place, _ in calls],
            "round": [turn for turn, _, _ in calls],
            "order": [place for _, place, _ in calls],
            "wall_ns": [wall + 9000 * turn for turn, _, wall in calls],
            "cpu_ns": [wall for _, _, wall in calls],
        },
    }


def benchmark(runtime: str, precision: str, batch: int, teacher: float, student: float) -> Any:
    """A measured workload with all that the benchmark says of it."""

    def latency(median: float) -> dict[str, Any]:
        return {
            "n": 1200,
            "median_ms": median,
            "median_interval_ms": [0.99 * median, 1.01 * median],
            "p90_ms": 1.1 * median,
            "p99_ms": 1.6 * median,
            "mean_ms": 1.05 * median,
            "cpu_median_ms": 0.98 * median,
            "throughput_per_s": 1000 * batch / median,
            "contention": 1.02,
        }

    gain = teacher / student
    word = "faster" if gain > 1.05 else "slower" if gain < 0.95 else "no measurable difference"
    ends = [0.96 * gain, 1.04 * gain]
    return {
        "runtime": runtime,
        "device": "cpu",
        "precision": precision,
        "batch": batch,
        "threads": 2,
        "teacher": latency(teacher),
        "student": latency(student),
        "speedup": gain,
        "interval": ends,
        "interval_method": "Student's t over 5 processes",
        "decided_by": "wall",
        "wall_speedup": {"value": gain, "interval": ends},
        "cpu_speedup": {"value": 0.99 * gain, "interval": ends},
        "verdict": word,
        "status": "VALID",
        "reasons": [],
        "processes": 5,
        "rounds": 120,
        "twin_speedup": 1.003,
        "twin_interval": [0.982, 1.021],
        "noise_floor": 0.021,
        "warmup_calls": [50, 50, 55],
        "steady": 5,
        "surroundings": [
            {
                "cores": 2,
                "load_start": 0.4,
                "load_end": 0.9,
                "runnable_start": 1,
                "runnable_end": 2,
                "others_cores": 0.05 * (1 + process),
                "steal_share": 0.001,
                "voluntary_switches": 3,
                "involuntary_switches": 41,
            }
            for process in range(5)
        ],
        "ran_by": dict.fromkeys(("teacher", "student"), "CPUExecutionProvider, 12 nodes"),
        "stopped": "narrow enough",
        "seconds": 9.3,
        "samples": f"benchmarks/{runtime}-b{batch}.json",
    }


def deployable(subject: str, precision: str, size: int, top1: float) -> dict[str, Any]:
    suffix = "" if precision == "fp32" else f"-{precision}"
    return {
        "file": f"onnx/{subject}{suffix}.onnx",
        "precision": precision,
        "bytes": size,
        "sha256": SHA,
        "opset": 20,
        "parity": {
            "samples": 8,
            "max_abs_error": 2.1e-6 if precision == "fp32" else 0.021,
            "agreement": 1.0,
            "max_relative_error": 3.1e-7,
            "tolerance": 1e-4 if precision == "fp32" else None,
        },
        "metrics": {"top1": top1},
        "checked_in": "onnxruntime",
        "not_runnable": None,
        "calibration": None,
        "kept_float32": 4 if precision == "fp16" else None,
        "rounded": None,
        "drop": None,
        "advised": True,
        "reason": None,
        "worst_tensors": [],
    }


def int8(subject: str, size: int, top1: float, lost: float) -> dict[str, Any]:
    """A quantised file that loses too much."""
    return {
        **deployable(subject, "int8", size, top1),
        "calibration": {
            "method": "percentile",
            "images": 256,
            "source": "training images",
            "activations": "uint8",
            "weights": "int8",
            "reduce_range": False,
        },
        "drop": {"points": lost, "error": 0.4, "of": "top-1", "images": 539},
        "advised": lost <= 1,
        "reason": f"it loses {lost} points of top-1, more than 1" if lost > 1 else None,
        "worst_tensors": [
            {
                "tensor": "layer1.0.conv1",
                "operator": "Conv",
                "relative_error": 0.31,
                "added": 0.12,
                "finite": True,
            },
            {
                "tensor": "logits",
                "operator": "Gemm",
                "relative_error": None,
                "added": None,
                "finite": False,
            },
        ],
    }


def setting(
    runtime: str = "onnxruntime", batch: int = 1, precision: str = "float32"
) -> dict[str, Any]:
    return {
        "runtime": runtime,
        "device": "cpu",
        "precision": precision,
        "batch": batch,
        "threads": 2,
    }


def layer(number: int, before: float, after: float, widths: tuple[int, int]) -> dict[str, Any]:
    def part(time: float, width: int) -> dict[str, Any]:
        return {
            "us": time,
            "main_us": 0.9 * time,
            "beside_us": 0.1 * time,
            "convert_us": 0.0,
            "macs": 1000 * width * width,
            "executed_macs": None,
            "bytes": 4000 * width,
            "in_width": width,
            "out_width": width,
            "operators": ["Conv", "Relu"],
            "kernels": ["nchwc.Conv" if width % 4 == 0 else "FusedConv"],
            "computes_in": ["float32"],
        }

    return {
        "name": f"layer{number // 3 + 1}.{number % 3}.conv{number % 2 + 1}",
        "teacher": part(before, widths[0]),
        "student": part(after, widths[1]),
        "macs_left": (widths[1] / widths[0]) ** 2,
        "time_left": after / before,
        "missing_us": after - before * (widths[1] / widths[0]) ** 2,
    }


def explanation(precision: str, told: list[str], causes: dict[str, float]) -> dict[str, Any]:
    missing = sum(causes.values())
    kept = {"float32": 30} if precision == "float32" else {precision: 28, "float32": 2}
    conversions = [
        {
            "kind": "QuantizeLinear",
            "teacher": 14,
            "student": 15,
            "teacher_ms": 0.11,
            "student_ms": 0.12,
        }
    ]
    return {
        **setting(precision=precision),
        "sentences": told,
        "macs_speedup": 3.0,
        "time_speedup": 2.4,
        "teacher_ms": 3.1,
        "student_ms": 1.03 + missing,
        "expected_ms": 1.03,
        "missing_ms": missing,
        "teacher_kernels_ms": 2.9,
        "student_kernels_ms": 1.2,
        "teacher_profiled_ms": 3.3,
        "student_profiled_ms": 1.4,
        "teacher_unplaced_ms": 0.0,
        "student_unplaced_ms": 0.001,
        "causes": [{"cause": cause, "ms": ms} for cause, ms in causes.items()],
        "conversions": [] if precision == "float32" else conversions,
        "types": {"teacher": kept, "student": kept},
        "uncounted": [],
        "rounds": 200,
        "contention": 1.02,
    }


def extras() -> dict[str, Any]:
    """What is measured beyond latency."""

    def spread(middle: float) -> dict[str, float]:
        return {"median": middle, "least": 0.9 * middle, "most": 1.3 * middle}

    def start(scale: float) -> dict[str, Any]:
        return {
            "processes": 3,
            "calls_until_steady": 4,
            "import_ms": spread(120.0),
            "load_ms": spread(14.0 * scale),
            "first_call_ms": spread(6.0 * scale),
            "steady_call_ms": spread(3.0 * scale),
        }

    def rate(subject: str, batch: int, streams: int, scale: float) -> dict[str, Any]:
        speed = 300 * scale * batch**0.3 * streams**0.8
        return {
            **setting(batch=batch),
            "subject": subject,
            "streams": streams,
            "samples_per_s": speed,
            "least": 0.9 * speed,
            "most": 1.1 * speed,
            "windows": 5,
            "calls": 410,
            "median_ms": 1000 * batch / speed,
            "slowest_ms": 2000 * batch / speed,
            "p99_ms": 1500 * batch / speed if batch < 16 else None,
        }

    def trial(subject: str, load: float, capacity: float) -> dict[str, Any]:
        busy = load / capacity
        wait = 1000 / capacity * (1 + busy / (2 * max(1 - busy, 0.05)))
        return {
            "subject": subject,
            "rate_per_s": load,
            "requests": 900,
            "busy_share": min(busy, 1.0),
            "given_up": busy > 1,
            "median_ms": wait,
            "p90_ms": 2 * wait,
            "p99_ms": 4 * wait,
            "slowest_ms": 5 * wait,
        }

    capacities = {"teacher": 320.0, "student": 770.0}
    sizes = {"teacher": 1.0, "student": 0.4}
    return {
        "layers": [
            {
                **setting(precision=precision),
                "rounds": 200,
                "rows": [
                    layer(n, 260.0 - 5 * n, 260.0 - 5 * n - 40 * (n % 4), (64, 64 - 9 * (n % 4)))
                    for n in range(layers)
                ],
            }
            for precision, layers in (("float32", 30), ("int8", 4))
        ],
        "explanation": [
            explanation(
                "float32",
                [
                    "ONNX Runtime, batch 1, 2 threads: MACs 3.00x fewer, time 2.40x less.",
                    "0.21 ms (81 %) because 8 layers run in another kernel.",
                    "Plan with --multiple-of 4 at least, 16 for speed.",
                ],
                {"other kernel": 0.21, "outside kernels": 0.05},
            ),
            explanation(
                "int8",
                ["ONNX Runtime, batch 1, int8, 2 threads: MACs 3.00x fewer, time 1.50x less."],
                {"conversions": 0.3, "small kernel": 0.1},
            ),
            {**setting("openvino"), "reason": "openvino is not installed"},
        ],
        "throughput": {
            "cores": 2,
            "batches": [
                rate(subject, batch, 1, 1 / scale)
                for batch in (1, 4, 16, 32)
                for subject, scale in sizes.items()
            ],
            "streams": [
                rate(subject, 1, streams, 1 / scale)
                for streams in (1, 2)
                for subject, scale in sizes.items()
            ],
            "limit_ms": 20.0,
            "best_batch": [
                {"runtime": "onnxruntime", "subject": name, "batch": 4, "samples_per_s": 610.0}
                for name in sizes
            ],
        },
        "load": {
            **setting(),
            "service_ms": {"teacher": 3.1, "student": 1.29},
            "trials": [
                trial(subject, load, capacity)
                for load in (77.0, 230.0, 310.0, 540.0, 690.0)
                for subject, capacity in capacities.items()
            ],
            "slo_ms": 20.0,
            "goodput": [
                {
                    "subject": name,
                    "rate_per_s": 0.8 * capacity,
                    "fails_at_per_s": 0.9 * capacity,
                    "reason": None,
                    "limit_ms": 20.0,
                }
                for name, capacity in capacities.items()
            ],
            "goodput_trials": [],
        },
        "cold_start": {
            **setting(),
            "warm": {name: start(scale) for name, scale in sizes.items()},
            "cold": None,
            "cold_reason": "the system kept 40% of the file's pages",
        },
        "memory": {
            **setting(),
            **{
                arena: {
                    name: {
                        "processes": 3,
                        "baseline_bytes": 54_000_000,
                        "loaded_bytes": int(9e6 * scale),
                        "peak_bytes": int(2e7 * scale),
                    }
                    for name, scale in sizes.items()
                }
                for arena in ("arena", "no_arena")
            },
            "reason": None,
        },
        "energy": {
            **setting(),
            "joules": {name: {"package-0": 0.061 * scale} for name, scale in sizes.items()},
            "calls": {"teacher": 900, "student": 2100},
            "reason": None,
        },
    }


def full_report() -> dict[str, Any]:
    """Every optional key, several runtimes and precisions."""
    report = small_report()
    rows = [
        benchmark("onnxruntime", "float32", 1, 3.1, 1.29),
        benchmark("onnxruntime", "float32", 8, 21.0, 9.4),
        benchmark("onnxruntime", "float32", 32, 83.0, 38.0),
        benchmark("onnxruntime", "int8", 1, 1.4, 0.71),
        benchmark("openvino", "float32", 1, 2.8, 1.31),
        benchmark("openvino", "float32", 8, 19.0, 9.2),
        benchmark("openvino", "bfloat16", 1, 0.9, 0.92),
        benchmark("torch", "float32", 1, 6.4, 6.9),
    ]
    rows[3] |= {"status": "NOISY", "reasons": ["contention, since calls took 1.31 times"]}
    report["teacher"]["architecture"] = "cifar_resnet.py:resnet8"
    report["recipe"] |= {
        "citation": "Park & No, ECCV 2022",
        "choices": {"feature_weight": 5.0, "student": "kept"},
    }
    return {
        **report,
        "deployables": [
            deployable("teacher", "fp32", 1_330_000, 0.927),
            deployable("student", "fp32", 410_000, 0.912),
            deployable("student", "fp16", 208_000, 0.911),
            int8("teacher", 350_000, 0.921, 0.6),
            int8("student", 117_000, 0.884, 2.8),
        ],
        "benchmarks": rows,
        "benchmarks_skipped": [
            {**setting("torch"), "device": "cuda", "reason": "torch finds no CUDA device"}
        ],
        **extras(),
        "target": {
            "name": "onnxruntime:fp32",
            "environment": {"cpu": "A Processor", "threads": 2},
            "groups": 5,
            "groups_with_widths": 4,
            "noise": 0.031,
        },
        "data": {
            "name": "digits",
            "train": 1078,
            "validation": 180,
            "test": 539,
            "train_with_labels": True,
            "seen_test_share": 0.25,
        },
        "environment": {
            **report["environment"],
            "cores": 2,
            "virtual_machine": True,
            "governor": None,
            "thread_variables": {"OMP_NUM_THREADS": "1"},
            "load_average": [0.52, 0.61, 0.7],
            "threads": 2,
            "peak_memory_bytes": 1_049_255_936,
        },
        "warnings": ["widths are multiples of 1, not of 8"],
        "notes": ["preprocessing: as in training (small.pt.json)"],
        "command": ["compressor", "build", "--teacher", "resnet8.pt", "--sparsity", "0.7"],
        "seed": 0,
    }
