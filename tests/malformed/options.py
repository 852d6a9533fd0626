"""What is typed: architectures, data, numbers out of range, options that contradict each other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tests.benchmarks.small_files import write_linear
from tests.malformed.cases import Case, nothing, put
from tests.malformed.material import program_file
from tests.malformed.runs import finished, reported, seal

SMALL = ("--arch", "net.py:small", "--image-size", "8")
TEACHER = ("--teacher", "good.pt", *SMALL)
LONG = "9" * 400


def typed(command: tuple[str, ...], names: str, says: str, write=nothing) -> Case:  # type: ignore[no-untyped-def]
    told = " ".join(part if len(part) < 40 else f"{part[:8]}..." for part in command)
    return Case(name=f"typed: {told}", write=write, command=command, names=names, says=says)


def architectures() -> Iterator[Case]:
    expected = "expected torchvision:NAME, timm:NAME or FILE.py:factory"
    wrong = {
        "": expected,
        ":": expected,
        "resnet18": expected,
        "torchvision": expected,
        "torchvision:": expected,
        "timm:": expected,
        "keras:resnet18": expected,
        "timm:hf-hub:org/net": expected,
        "net.py": expected,
        "net.py:small:more": expected,
        "torchvision:resnet9000": "no such network",
        "torchvision:../resnet18": "no such network",
        "torchvision:load_state_dict": "no such network",
        "timm:no_such_network": "no such network",
        "timm:resnet10t.no_such_tag": "no_such_tag",
        "absent.py:small": "no such file",
        "folder.py:small": "no such file",
        "net.py:": "defines no function",
        "net.py:large": "defines no function",
        "net.py:number": "defines no function",
        "net.py:raising": "no such luck",
        "net.py:leaving": "raised SystemExit",
        "net.py:wordy": "no nn.Module",
        "net.py:needy": "depth",
        "broken.py:small": "SyntaxError",
        "failing.py:small": "ZeroDivisionError",
        "leaving.py:small": "SystemExit",
        "bytes.py:small": "importing it raised",
        "zeros.py:small": "importing it raised",
        "endless.py:small": "importing it raised",
    }

    def write(folder: Path) -> None:
        (folder / "folder.py").mkdir()
        (folder / "broken.py").write_text("def small(:\n    return\n")
        (folder / "failing.py").write_text("1 / 0\n")
        (folder / "leaving.py").write_text("import sys\nsys.exit('bye')\n")
        (folder / "bytes.py").write_bytes(b"\xff\xfe\x00small\xff")
        (folder / "zeros.py").write_bytes(b"x = 1\n\0\0")
        (folder / "endless.py").write_text("x = " + "(" * 5000 + ")" * 5000 + "\n")

    for arch, says in wrong.items():
        command = ("analyze", "--teacher", "good.pt", "--arch", arch, "--image-size", "8")
        file, ending, _ = arch.partition(".py:")
        yield typed(command, f"--arch {file}{ending[:-1]}"[:20].strip(), says, write)
    command = (
        "train",
        "--arch",
        "net.py:wide",
        "--data",
        "digits",
        "--epochs",
        "1",
        "--out",
        "n.pt",
    )
    yield typed(command, "--arch net.py:wide", "the network has 2 outputs")
    paired = ("--arch", "net.py:paired", "--image-size", "8")
    says = "takes 2 inputs (image, extra): missing a required argument: 'extra'; give a .pt2"
    for command in (
        ("analyze", "--teacher", "good.pt", *paired),
        ("train", *paired, "--data", "digits", "--out", "n.pt"),
    ):
        yield typed(command, "net.py:paired", says)
    command = ("train", "--arch", "net.py:Meta", "--data", "digits", "--out", "n.pt")
    yield typed(command, "net.py:Meta", "called 'meta'")
    command = ("train", "--arch", "net.py:raising", "--data", "digits", "--out", "n.pt")
    yield typed(command, "--arch net.py:raising", "no such luck")


PLAN = ("plan", *TEACHER, "--criterion", "magnitude")


def data() -> Iterator[Case]:
    for spec, says in {
        "Digits": "digits or synthetic",
        "digits ": "digits or synthetic",
        "synthetic:7": "digits or synthetic",
        "nowhere/at/all": "no such folder",
        "net.py": "is not a folder",
    }.items():
        yield typed((*PLAN, "--sparsity", "0.5", "--data", spec), spec.strip(), says)
    train = ("train", *SMALL, "--epochs", "1", "--out", "n.pt")
    yield typed((*train, "--data", "synthetic"), "synthetic", "no labels")
    yield typed((*train, "--data", "digits", "--test", "nowhere"), "nowhere", "--test")
    yield typed((*train, "--data", "net.py"), "net.py", "is not a folder")


BUILD = ("build", *TEACHER, "--epochs", "0", "--bench-seconds", "0", "--out", "run")


def numbers() -> Iterator[Case]:
    """Of ``plan`` and ``build``: refused before anything is loaded, or soon after."""
    for value in ("0", "1", "-0.5", "1.5", "nan", "inf", "much", ""):
        yield typed((*PLAN, "--sparsity", value), "sparsity", "")
    half = ("--sparsity", "0.5")
    out_of_range: dict[str, tuple[str, ...]] = {
        "--image-size": ("0", "-8", "100000", LONG, "8x8", "nan"),
        "--multiple-of": ("0", "-8", "1.5", LONG),
        "--keep-at-least": ("-0.1", "1.1", "nan", "inf"),
        "--smallest-group": ("0", "-1"),
        "--probe-minutes": ("0", "-1", "nan", "inf"),
        "--seed": ("-1", "1.5", LONG),
        "--threads": ("-1", "100000", LONG),
        "--mean": ("", "x", "nan", "123", ".1,.2", ".1,,.2", "inf"),
        "--std": ("0", "-1", "nan", "inf", "0,0,0"),
    }
    for option, values in out_of_range.items():
        for value in values:
            yield typed((*PLAN, *half, option, value), option, "")
    for option, values in {
        "--epochs": ("-1", "1.5", LONG),
        "--repair-images": ("0", "3", "-5", LONG),
        "--repair": ("", "magic"),
        "--bench-seconds": ("-1", "nan", "inf"),
        "--opset": ("0", "5", "999", "-1"),
        "--slo-ms": ("0", "nan", "-1", "5"),
        "--feature-weight": ("-1", "nan", "inf"),
        "--max-drop": ("-1", "nan", "2"),
        "--device": ("tpu", "cpu:magic", "cpu:99", ""),
        "--precision": ("", "fp8", "fp32,,int8"),
        "--calibration": ("magic", "minmax"),
        "--sign-key": ("absent.pem", "net.py"),
    }.items():
        for value in values:
            yield typed((*BUILD, *half, option, value), option.removeprefix("--"), "")
    for value in ("0", "-1", "nan", "inf"):
        yield typed(("build", *TEACHER, *half, "--minutes", value, "--out", "run"), "--minutes", "")


def contradictions() -> Iterator[Case]:
    half = ("--sparsity", "0.5")
    build = ("build", *TEACHER, *half, "--out", "run")
    yield typed((*PLAN, *half, "--of", "flops"), "--of flops", "params, macs, channels")
    yield typed((*PLAN, *half, "--criterion", "magic"), "magic", "magnitude")
    yield typed((*PLAN, *half, "--allocation", "magic"), "magic", "uniform")
    yield typed((*PLAN, *half, "--keep-whole", "99"), "99", "")
    yield typed((*PLAN, *half, "--target", "tvm"), "--target tvm", "onnxruntime")
    yield typed((*PLAN, *half, "--recipe", "magic"), "--recipe magic", "epsd")
    yield typed(("plan", *TEACHER, *half, "--recipe", "sdp"), "recipe", "prune-then-distill")
    yield typed((*build, "--minutes", "1", "--epochs", "1"), "--minutes", "give one")
    yield typed((*build, "--recipe", "epsd"), "--recipe epsd", "leave --teacher out")
    fresh = ("build", *SMALL, *half, "--out", "run")
    yield typed((*fresh, "--recipe", "epsd"), "--recipe epsd", "learns from labels: give --data")
    yield typed((*build, "--form", "magic"), "--form magic", "structured")
    yield typed((*build, "--lookahead", "3"), "--lookahead", "no choice of")
    yield typed((*build, "--student", "magic"), "--student magic", "inherit")
    yield typed((*build, "--no-such-option"), "--no-such-option", "")
    yield typed(("build", *half), "--teacher", "")
    yield typed(("analyze",), "--teacher", "")
    yield typed(("compress",), "compress", "")
    yield typed(("analyze", *TEACHER, "--layer", "no.such.layer"), "--layer", "no such module")
    yield typed(("export", "absent.pt2", "--out", "new"), "absent.pt2", "not there")
    yield typed(("export", "good.pt", *SMALL, "--out", "net.py"), "net.py", "another folder")
    yield typed(
        ("export", "good.pt", *SMALL, "--out", "new", "--opset", "5"), "--opset 5", "choose"
    )
    yield typed(
        ("export", "good.pt", *SMALL, "--out", "new", "--sign-key", "net.py"), "--sign-key", "key"
    )
    yield typed(
        ("analyze", *TEACHER, "--html", "taken"),
        "taken",
        "is a folder",
        lambda folder: (folder / "taken").mkdir(),
    )
    yield typed(
        ("analyze", *TEACHER, "--html", "net.py/page.html"), "net.py/page.html", "not a folder"
    )


def teaching() -> Iterator[Case]:
    train = ("train", *SMALL, "--data", "digits", "--epochs", "1")
    yield typed((*train, "--out", "new.txt"), "--out new.txt", ".safetensors")
    yield typed((*train, "--out", "good.pt"), "good.pt", "another file")
    yield typed(
        (*train, "--out", "taken.pt"),
        "taken.pt",
        "another file",
        lambda folder: (folder / "taken.pt").mkdir(),
    )
    yield typed((*train, "--out", "net.py/new.pt"), "net.py/new.pt", "not a folder")
    yield typed(
        (*train, "--out", "new.pt", "--restart"),
        "new.pt.json",
        "no teacher of ours",
        put("new.pt.json", b"{"),
    )
    for value in ("0", "1", "-5", LONG):
        yield typed((*train, "--out", "new.pt", "--batch-size", value), "--batch-size", "")
    yield typed((*train[:-1], "0", "--out", "new.pt"), "--epochs 0", "at least 1")


def told(option: str, value: str) -> str:
    """What the line names: a value that is a name, else the option."""
    return (
        value
        if value.strip("-0123456789").replace(".", "").isalnum()
        else option.removeprefix("--")[:5]
    )


def others() -> Iterator[Case]:
    probe = ("probe", *TEACHER)
    for option, values in {
        "--runtime": ("tvm", ""),
        "--precision": ("fp8",),
        "--threads": ("-1", LONG),
        "--batch": ("0", "-1", LONG),
        "--minutes": ("0", "nan", "inf"),
    }.items():
        for value in values:
            yield typed((*probe, option, value), told(option, value), "")

    def linear(folder: Path) -> None:
        write_linear(folder / "net.onnx", 4)
        (folder / "taken").mkdir()

    bench = ("bench", "net.onnx", "--runtimes", "onnxruntime")
    for option, values in {
        "--batch": ("0", "x", "", "1,,8", "-1", LONG),
        "--threads": ("0", "x", "-1", "100000"),
        "--precision": ("fp8", ""),
        "--size": ("height", "height=0", "height=-4", "=4"),
        "--seconds": ("0", "-1", "nan", "inf"),
        "--within": ("0", "nan"),
        "--processes": ("2", "-1", LONG),
        "--seed": ("-1",),
        "--json": ("taken",),
        "--samples": ("net.onnx",),
        "--against": ("absent.json", "taken"),
    }.items():
        for value in values:
            yield typed((*bench, option, value), told(option, value), "", linear)
    yield typed(("bench", "net.onnx", "--runtimes", "tvm"), "tvm", "there are", linear)
    yield typed(
        ("bench", "net.onnx", "net.pt2"), "net.pt2", "no runtime reads both",
        lambda folder: (linear(folder), put("net.pt2", program_file())(folder)),
    )  # fmt: skip
    yield typed(("bench",), "files", "")
    yield typed(("verify", "nowhere"), "nowhere", "no such folder")

    def verify(*options: str) -> tuple[str, ...]:
        return ("verify", "run", *options)

    def sealed(folder: Path) -> None:
        seal(finished(folder))

    yield typed(verify("--public-key", "absent.pem"), "--public-key", "PEM", sealed)
    yield typed(verify("--public-key", "net.py"), "--public-key", "PEM", sealed)
    yield typed(("export", "run", "--out", "run/new"), "run/new", "another --out", sealed)
    yield typed(("export", "run", "--out", "new", "--arch", "net.py:small"), "run", "leave", sealed)
    yield typed(("report", "run", "--markdown", "--json"), "--markdown", "choose one", reported)
    yield typed(("report", "run", "run", "--csv", "x.csv"), "--csv", "one folder", reported)
    yield typed(("report", "run", "--csv", "net.py/x.csv"), "net.py/x.csv", "", reported)


def cases() -> Iterator[Case]:
    for family in (architectures, data, numbers, contradictions, teaching, others):
        yield from family()
