"""The command line on a tiny network: the whole build, its second run, and every refusal."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from compressor.errors import OptionError
from compressor.stopping import STOPPED_TRAINING
from tests.benchmarks.reports import small_report
from tests.benchmarks.small_files import write_linear
from tests.benchmarks.strictness import mistakes
from tests.commands import Ended, Run, call
from tests.teachers import write_teacher

NETWORK = """
from torch import nn

def small():
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 32, 3, 2, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10),
    )
"""


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("work")
    write_teacher(folder, NETWORK, "small")
    return folder


@pytest.fixture
def run(work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Call the command line in the work folder: status, output, errors."""

    def in_work(*arguments: str) -> Ended:
        monkeypatch.chdir(work)
        return call(arguments, monkeypatch, capsys)

    return in_work


TEACHER = ("--teacher", "small.pt", "--arch", "net.py:small")
BUILD = (
    "build", *TEACHER, "--data", "digits", "--sparsity", "0.5", "--epochs", "1",
    "--bench-seconds", "0.2", "--threads", "1", "--feature-weight", "0.5", "--out", "run",
)  # fmt: skip
UNTIMED = tuple("0" if part == "0.2" else part for part in BUILD)  # --bench-seconds 0


def test_bench_times_any_file_against_the_first_and_keeps_every_figure(
    work: Path, run: Run
) -> None:
    for name, width in (("first.onnx", 8), ("second.onnx", 4000)):
        write_linear(work / name, width)
    quick = ("--runtimes", "onnxruntime,tensorrt@cuda", "--seconds", "0.3", "--processes", "3")
    status, out, err = run(
        "bench", "first.onnx", "second.onnx", *quick, "--json", "bench.json", "--samples", "calls"
    )
    assert (status, err) == (0, "")
    assert "second.onnx" in out
    assert "TensorRT on cuda: skipped" in out
    found = json.loads((work / "bench.json").read_bytes())
    assert (work / "calls" / found["rows"][0]["samples"]).is_file()
    status, out, err = run("bench", "first.onnx", "second.onnx", *quick, "--against", "bench.json")
    assert (status, err) == (0, "")
    assert "was" in out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("absent.onnx",), "no such ONNX file"),
        (("first.onnx", "--runtimes", "ort"), "no runtime ort"),
        (("first.onnx", "--batch", "one"), "--batch one: give whole numbers"),
        (("first.onnx", "--precision", "fp32, int8"), "--precision int8: there are fp32"),
        (("first.onnx", "--processes", "1"), "give at least 3"),
        (("first.onnx", "--against", "absent.json"), "no results of compressor bench"),
        (("first.onnx", "--size", "height"), "give NAME=N"),
    ],
)
def test_bench_that_cannot_be_is_refused_in_one_line(
    options: tuple[str, ...], said: str, work: Path, run: Run
) -> None:
    write_linear(work / "first.onnx", 8)
    status, _, err = run("bench", *options)
    assert status == 2
    assert said in err
    assert err.count("\n") == 1


def test_build_leaves_the_whole_run_folder_and_a_second_one_prints_it(work: Path, run: Run) -> None:
    status, out, err = run(*BUILD)
    assert (status, err) == (0, "")
    assert "proof passed" in out
    for told in ("preprocessing: ", "always divided alike", "repair by "):
        assert told in out
    folder = work / "run"
    for name in (
        "manifest.json", "analysis.json", "plan.json", "proof.json", "student.safetensors",
        "student.pt2", "onnx/student.onnx", "onnx/teacher.onnx", "report.json", "report.html",
        "report.md", "benchmarks/onnxruntime-b1.json",
    ):  # fmt: skip
        assert (folder / name).is_file(), name
    report = json.loads((folder / "report.json").read_bytes())
    assert mistakes(report) == []
    assert report["proof"]["passed"]
    assert report["budget"]["achieved"] == pytest.approx(0.5, abs=0.005)
    assert report["student"]["metrics"]["top1"] == report["stages"][-1]["metrics"]["top1"]
    assert [stage["name"] for stage in report["stages"]] == ["removed", "repaired", "distilled"]
    assert {file["file"] for file in report["deployables"]} == {
        "onnx/student.onnx",
        "onnx/teacher.onnx",
    }
    before = (folder / "manifest.json").read_bytes()

    status, again, _ = run(*BUILD)
    assert status == 0
    assert "report.html" in again
    assert (folder / "manifest.json").read_bytes() == before

    status, out, _ = run("verify", "run")
    assert (status, out.splitlines()[-1].startswith("verified: ")) == (0, True)
    assert "onnx/student.onnx in ONNX Runtime CPU: 4 samples differ by at most" in out
    assert "skipped: ONNX Runtime TensorRT" in out

    status, out, err = run("export", "run", "--out", "shipped", "--static-batch", "--triton")
    assert (status, err) == (0, "")
    assert "compressor verify shipped" in out
    for name in ("README.md", "onnx/student-batch1.onnx", "triton/small-student/config.pbtxt"):
        assert (work / "shipped" / name).is_file(), name
    status, _, err = run("export", "run", "--out", "other", "--arch", "net.py:small")
    assert (status, "leave --arch" in err) == (2, True)
    status, _, err = run("export", "nothing.pt2", "--out", "other")
    assert (status, "nothing.pt2: not there" in err) == (2, True)
    status, _, err = run("export", "run", "--out", "other", "--opset", "17")
    assert (status, "--opset 17: cannot be written" in err) == (2, True)
    assert not (work / "other").exists()

    # the student loads with torch alone, and agrees with the ONNX file's golden answers
    program = torch.export.load(folder / "student.pt2")
    golden = np.load(folder / "golden.npz")
    answers = program.module()(torch.from_numpy(golden["input"]))
    expected = golden["output/onnx/student.onnx"]
    assert np.allclose(answers.detach().numpy(), expected, atol=1e-4)

    status, _, err = run(*BUILD[:-1], "run", "--seed", "1")
    assert status == 2
    assert "other inputs (seed)" in err
    status, _, err = run(*BUILD[:-1], "run", "--full-benchmark")
    assert (status, "a finished run without throughput and load" in err) == (2, True)

    reports_say_the_same(folder, report, run)

    (folder / "report.html").write_text("changed")
    status, out, _ = run("verify", "run")
    assert (status, out.splitlines()[-1].startswith("NOT verified: ")) == (1, True)
    assert run("export", "run", "--out", "other")[0] == 2


@pytest.mark.slow
def test_a_build_in_every_precision_says_what_each_costs(work: Path, run: Run) -> None:
    wanted = ("--precision", "fp16,bf16,int8", "--calibration", "percentile", "--max-drop", "0")
    status, _, err = run(*BUILD[:-1], "precisions", *wanted)
    assert (status, err) == (0, "")
    folder = work / "precisions"
    report = json.loads((folder / "report.json").read_bytes())
    files = {one["file"]: one for one in report["deployables"]}
    assert files.keys() == {
        f"onnx/{network}{ending}.onnx"
        for network in ("teacher", "student")
        for ending in ("", "-fp16", "-bf16", "-int8")
    }
    for file, one in files.items():
        assert (one["drop"] is None) == (one["precision"] == "fp32"), file
        assert one["advised"] == (one["drop"] is None or one["drop"]["points"] <= 0), file
        assert one["advised"] or one["worst_tensors"], file
        assert (one["metrics"] is None) == (one["precision"] == "bf16"), file
    assert files["onnx/student-int8.onnx"]["calibration"]["method"] == "percentile"
    page = (folder / "report.html").read_text()
    for file, one in files.items():
        if not one["advised"]:
            assert any(line.startswith(f"{file} is not advised") for line in report["warnings"])
            assert "Not advised" in page
    assert any("NOT_IMPLEMENTED" in line for line in report["notes"])

    golden = np.load(folder / "golden.npz")
    answered = {name.removeprefix("output/") for name in golden if name.startswith("output/")}
    assert answered == {file for file, one in files.items() if one["precision"] != "bf16"}
    assert golden["tolerance/onnx/student-int8.onnx"] >= 2e-2
    assert run("verify", "precisions")[0] == 0

    # another calibration is another run; the files of this one are carried over by export
    status, _, err = run(*BUILD[:-1], "precisions", "--precision", "int8")
    assert (status, "other inputs (calibration, max_drop, precisions)" in err) == (2, True)
    assert run("export", "precisions", "--out", "delivered")[0] == 0
    assert run("verify", "delivered")[0] == 0
    assert (work / "delivered/onnx/student-int8.onnx").is_file()


def reports_say_the_same(folder: Path, report: dict[str, Any], run: Run) -> None:
    """What `compressor report` prints and writes of a run, alone and beside itself."""
    status, out, _ = run("report", "run", "--markdown")
    assert (status, out) == (0, (folder / "report.md").read_text())
    assert "| onnx/student.onnx |" in out
    status, out, _ = run("report", "run", "--json")
    assert (status, json.loads(out)) == (0, report)
    status, out, _ = run("report", "run", "--csv", "calls.csv", "--html", "again.html")
    assert (status, out.splitlines()[-2:]) == (0, ["page: again.html", "timed calls: calls.csv"])
    calls = (folder.parent / "calls.csv").read_text().splitlines()
    assert len(calls) == 1 + sum(
        len(json.loads((folder / row["samples"]).read_bytes())["samples"]["wall_ns"])
        for row in report["benchmarks"]
    )
    page = (folder.parent / "again.html").read_text()
    assert page == (folder / "report.html").read_text()

    status, out, _ = run("report", "run", "./run", "--html", "both.html")
    assert status == 0
    for words in ("students", "+0.0 points", "1.00x", "accuracies are of the same images"):
        assert words in out
    assert "comparison.json#/runs/1/difference/value" in (folder.parent / "both.html").read_text()
    status, out, _ = run("report", "run", "./run", "--json")
    assert json.loads(out)["runs"][1]["difference"]["value"] == 0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("absent",), "absent holds no finished run"),
        (("finished", "absent"), "absent holds no finished run"),
        (("finished", "--markdown", "--json"), "choose one"),
        (("finished", "finished", "--csv", "x.csv"), "--csv is for the timed calls of one run"),
    ],
)
def test_reports_that_cannot_be_given_are_refused(
    arguments: tuple[str, ...], told: str, work: Path, run: Run
) -> None:
    (work / "finished").mkdir(exist_ok=True)
    (work / "finished/report.json").write_text(json.dumps(small_report()))
    status, _, err = run("report", *arguments)
    assert status == 2
    assert told in err
    assert len(err.splitlines()) == 1


def test_a_build_without_data_synthesises_its_pictures(
    work: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from compressor import inversion

    monkeypatch.setattr(inversion, "STEPS", 2)
    monkeypatch.setattr(inversion, "FEWEST_STEPS", 2)
    without = tuple(part for part in UNTIMED[:-1] if part not in ("--data", "digits"))
    status, out, err = run(*without, "synthesised", "--image-size", "32")
    assert (status, err) == (0, "")
    told = "640 pictures synthesised from the teacher's batch-norm statistics, 2 steps each"
    assert "synthesise pictures" in out
    assert told in out
    report = json.loads((work / "synthesised/report.json").read_bytes())
    assert mistakes(report) == []
    assert told in report["notes"]
    assert (report["data"]["name"], report["data"]["train"]) == ("synthetic", 512)
    assert report["student"]["metrics"] is None
    status, out, _ = run("report", "synthesised", "--csv", "none.csv")
    assert (status, out.splitlines()[-1]) == (0, "none.csv: a heading, as no call was timed")


def test_an_interrupted_build_continues_after_training(
    work: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from compressor.building import pipeline
    from compressor.execution import following

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    arguments = (*UNTIMED[:-1], "interrupted")
    with monkeypatch.context() as patched:
        patched.setattr(pipeline, "ship_student", stop)
        status, _, err = run(*arguments)
    assert status == 130
    assert "the same command continues" in err
    (kept,) = (work / "interrupted/unfinished").glob("standing-*.safetensors")
    trained = load_file(kept)
    with monkeypatch.context() as patched:
        patched.setattr(following, "carry_out", stop)  # it must not be needed again
        status, out, _ = run(*arguments)
    assert status == 0
    assert "continuing after phase 3" in out
    student = load_file(work / "interrupted/student.safetensors")
    assert all(torch.equal(value, trained[f"student/{name}"]) for name, value in student.items())
    assert not kept.exists()


def test_a_build_that_failed_to_export_goes_on_with_another_opset(
    work: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from compressor.execution import following
    from export import shipping

    def refuse(*_: object, **__: object) -> None:
        raise OptionError("--opset 18: not this one")

    arguments = (*UNTIMED[:-1], "other-opset")
    with monkeypatch.context() as patched:
        patched.setattr(shipping, "ship_onnx", refuse)
        assert run(*arguments, "--opset", "18")[0] == 2
    with monkeypatch.context() as patched:
        patched.setattr(following, "carry_out", refuse)  # it must not be needed again
        status, _, err = run(*arguments, "--opset", "20")
    assert (status, err) == (0, "")
    report = json.loads((work / "other-opset/report.json").read_bytes())
    assert {one["opset"] for one in report["deployables"] if one["opset"]} == {20}
    status, _, err = run(*arguments, "--opset", "18")
    assert (status, "compressor export writes its files anew" in err) == (2, True)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "expected"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_in_training_is_obeyed_once_training_is_kept(
    number: int, expected: int, work: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from compressor import loop
    from compressor.console import Console

    sent: list[float] = []

    def send(console: Console, progress: loop.Progress) -> None:
        if not sent:
            os.kill(os.getpid(), number)
        sent.append(progress.done_share)

    out = f"stopped-{expected}"
    with monkeypatch.context() as patched:
        patched.setattr(loop, "_CHECK_EVERY", 1)
        patched.setattr(Console, "training", send)
        status, _, err = run(*UNTIMED[:-1], out)
    assert status == expected
    assert len(sent) == 1  # at the next step it is over
    assert err.splitlines() == [f"error: {STOPPED_TRAINING}"]
    assert [path.name for path in (work / out / "unfinished/phase-3").iterdir()] == [
        "training-0.safetensors"
    ]
    assert run(*UNTIMED[:-1], out)[0] == 0
    assert run(*UNTIMED[:-1], f"whole-{expected}")[0] == 0
    names = ("student.safetensors", "plan.json", "onnx/student.onnx")
    for name in names:
        assert (work / out / name).read_bytes() == (work / f"whole-{expected}" / name).read_bytes()


def test_analyze_prints_groups_and_json_holds_the_agreed_keys(run: Run) -> None:
    status, out, _ = run("analyze", *TEACHER, "--image-size", "32")
    assert status == 0
    assert "is the network's output" in out
    status, out, _ = run("analyze", *TEACHER, "--image-size", "32", "--json")
    document = json.loads(out)
    assert {"format", "model", "groups", "frozen", "prunable_parameters", "seconds"} <= set(
        document
    )
    assert set(document["seconds"]) == {"capture", "analysis"}
    assert {"id", "units", "exact", "members"} <= set(document["groups"][0])


def test_analyze_says_what_can_go_what_stays_and_where(run: Run) -> None:
    status, out, err = run("analyze", *TEACHER, "--image-size", "32")
    assert (status, err) == (0, "")
    assert "% of the parameters can be pruned, in 2 groups" in out
    assert re.search(r"^  3 +channels +32  yes", out, flags=re.MULTILINE)
    assert "written by 3\n      read by 8\n" in out
    assert re.search(r"in 8, \S+\.py:\d+\n +holds 8\.weight, 8\.bias", out)
    assert "\x1b" not in out
    assert max(map(len, out.splitlines())) <= 80


def test_analyze_answers_for_one_layer(run: Run) -> None:
    status, out, _ = run("analyze", *TEACHER, "--image-size", "32", "--layer", "3")
    assert status == 0
    assert "3.weight  (32 x 16 x 3 x 3)" in out
    assert "moves with 0, 1" in out
    assert "moves with 4, 8" in out
    assert "can be pruned" not in out
    status, out, _ = run("analyze", *TEACHER, "--image-size", "32", "--layer", "3", "--json")
    assert [entry["name"] for entry in json.loads(out)["layers"]] == ["3.weight"]
    status, out, err = run("analyze", *TEACHER, "--image-size", "32", "--layer", "33")
    assert (status, out) == (2, "")
    assert err.startswith("error: --layer 33: no such module or parameter")
    assert len(err.splitlines()) == 1


def test_analyze_writes_a_page(work: Path, run: Run) -> None:
    status, out, _ = run("analyze", *TEACHER, "--image-size", "32", "--html", "picture.html")
    assert status == 0
    assert "picture: picture.html" in out
    assert (work / "picture.html").read_text().rstrip().endswith("</html>")


def test_plan_shows_widths_and_costs_before_and_after(run: Run) -> None:
    arguments = ("plan", *TEACHER, "--data", "digits", "--sparsity", "0.5", "--multiple-of", "1")
    status, out, _ = run(*arguments, "--all")
    assert status == 0
    assert re.search(r"3 +channels +32 -> +\d+ +\d+ %", out)
    assert re.search(r"3\.weight +32 x 16 x 3 x 3 -> \d+ x \d+ x 3 x 3", out)
    assert re.search(r"in all +5,\d+ -> +\d,\d+ +-\d+ %", out)
    table = out[out.index("Widths") :]
    assert max(map(len, table.splitlines())) <= 80
    status, out, _ = run(*arguments, "--json")
    document = json.loads(out)
    assert {"groups", "before", "after", "layers", "parts", "contests"} <= set(document)
    assert (
        sum(part["after"]["params"] for part in document["parts"]) == (document["after"]["params"])
    )


def _never(*_: object, **__: object) -> None:
    raise AssertionError("came too far")


SYNTHETIC = (*TEACHER, "--image-size", "32", "--epochs", "0", "--bench-seconds", "0")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--sparsity", "0.5", "--keep-whole", "nolayer"), "--keep-whole nolayer: fits no group"),
        (("--sparsity", "0.99"), "--sparsity 0.99 of params is out of reach: at most"),
    ],
)
@pytest.mark.parametrize("recipe", ["prune-then-distill", "sdp"])
def test_a_budget_out_of_reach_is_refused_before_pictures_are_synthesised(
    options: tuple[str, ...], said: str, recipe: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from compressor import preparing

    monkeypatch.setattr(preparing, "synthesise", _never)
    commands = [("build", *SYNTHETIC, "--recipe", recipe)]
    if recipe == "prune-then-distill":
        commands.append(("plan", *SYNTHETIC[:-4]))
    for command in commands:
        status, _, err = run(*command, *options)
        assert (status, err.count("\n")) == (2, 1)
        assert said in err


def test_a_plan_by_weights_alone_synthesises_nothing_and_tells_its_stages(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from compressor import preparing

    monkeypatch.setattr(preparing, "synthesise", _never)
    by_weights = ("--criterion", "magnitude", "--allocation", "uniform", "--sparsity", "0.5")
    status, out, err = run("plan", *SYNTHETIC[:-4], *by_weights)
    assert (status, err) == (0, "")
    assert out.startswith("capture\nanalyze\nscore and plan\n")
    status, out, _ = run("plan", *SYNTHETIC[:-4], *by_weights, "--json")
    assert json.loads(out)["criterion"] == "magnitude"


def test_probe_measures_once_and_plan_takes_the_widths(
    work: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMPRESSOR_CACHE", str(work / "cache"))
    small = (*TEACHER, "--image-size", "32")
    quick = ("--target", "onnxruntime", "--probe-minutes", "0.02")
    status, out, err = run("probe", *small, "--minutes", "0.05")
    assert (status, err) == (0, "")
    assert "measuring which widths onnxruntime:fp32 likes" in out
    threads = torch.get_num_threads()
    words = f"{threads} thread{'' if threads == 1 else 's'}"
    assert f"Widths worth having on onnxruntime:fp32, {words}, batch 1" in out
    assert max(map(len, out.splitlines()[1:])) <= 80
    status, out, err = run("probe", *small, "--json", "--minutes", "0.05")
    assert (status, err) == (0, "")
    assert all(entry["worth"] for entry in json.loads(out)["groups"])
    status, out, err = run("plan", *small, "--data", "digits", "--sparsity", "0.5", *quick)
    assert (status, err) == (0, "")
    assert "measuring" not in out
    assert re.search(r"on onnxruntime its layers are expected to be \d+\.\d\d times as fast", out)


@pytest.mark.parametrize(
    ("command", "options", "said"),
    [
        ("probe", ("--runtime", "tvm"), "--runtime tvm: not one of onnxruntime, openvino, torch"),
        ("probe", ("--precision", "bf16"), "onnxruntime is not measured in bf16"),
        ("probe", ("--minutes", "0"), "--minutes 0: give a number above 0"),
        ("probe", ("--batch", "0"), "both must be 1 or more"),
        ("plan", ("--sparsity", "0.5", "--target", "tvm"), "--target tvm: not one of"),
        ("plan", ("--sparsity", "0.5", "--target", "torch:int8"), "torch is not measured in int8"),
        ("plan", ("--sparsity", "0.5", "--probe-minutes", "0"), "give a number above 0"),
        ("build", ("--sparsity", "0.5", "--target", "openvino:int4"), "not measured in int4"),
    ],
)
def test_targets_that_cannot_be_are_refused_in_one_line(
    command: str, options: tuple[str, ...], said: str, run: Run
) -> None:
    status, _, err = run(command, *TEACHER, *options)
    assert status == 2
    assert said in err
    assert err.count("\n") == 1


def test_plan_is_a_dry_run(work: Path, run: Run) -> None:
    before = sorted(work.iterdir())
    status, out, _ = run("plan", *TEACHER, "--data", "digits", "--sparsity", "0.5")
    assert status == 0
    assert "units (" in out
    assert "-50 %" in out
    assert sorted(work.iterdir()) == before


TRAIN = ("train", "--arch", "net.py:small", "--data", "digits", "--epochs", "1", "--threads", "1")


def test_train_writes_a_teacher_that_build_takes(work: Path, run: Run) -> None:
    status, out, err = run(*TRAIN, "--out", "taught/new.safetensors", "--image-size", "16")
    assert (status, err) == (0, "")
    for told in ("preprocessing: ", "always divided alike", "train for 1 epochs"):
        assert told in out
    assert re.search(
        r"new\.safetensors: top-1 [\d.]+ % on 539 test images, [\d.]+ % on 180 val", out
    )
    assert sorted(path.name for path in (work / "taught").iterdir()) == [
        "new.safetensors",
        "new.safetensors.json",
    ]
    taught = ("--teacher", "taught/new.safetensors", "--arch", "net.py:small")
    status, out, err = run("analyze", *taught)
    assert (status, err) == (0, "")
    assert "new.safetensors.json: net.py:small, trained on digits" in out
    status, _, err = run(*TRAIN, "--out", "taught/new.safetensors")
    assert status == 2
    assert err.startswith("error: taught/new.safetensors is there already")
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--out", "bad.txt"), "bad.txt"),
        (("--out", "bad.pt", "--data", "synthetic"), "synthetic"),
        (("--out", "bad.pt", "--data", "nowhere"), "nowhere"),
        (("--out", "bad.pt", "--arch", "torchvision:resnet9000"), "resnet9000"),
        (("--out", "bad.pt", "--minutes", "1"), "--minutes"),
        (("--out", "bad.pt", "--mean", "x"), "--mean"),
        ((), "--out"),
    ],
)
def test_train_refuses_in_one_line(
    work: Path, run: Run, arguments: tuple[str, ...], said: str
) -> None:
    status, _, err = run(*TRAIN, *arguments)
    assert status == 2, err
    assert err.startswith("error: ")
    assert len(err.strip().splitlines()) == 1, err
    assert said in err
    assert not list(work.glob("bad.*"))


def _broken_image(folder: Path) -> None:
    for name in "abcdefghij":
        (folder / name).mkdir(parents=True)
        for place in range(4):
            pixels = np.full((32, 32, 3), place, dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{place}.png")
    (folder / "c/1.png").write_bytes(b"\x89PNG\r\n\x1a\nnot really")


def _refused(name: str, work: Path) -> tuple[str, ...]:
    """Arguments of a build that must be refused."""
    good = ("build", *TEACHER, "--data", "digits", "--sparsity", "0.5", "--out", "refused")
    replaced = dict(zip(good[1::2], good[2::2], strict=True))
    if name == "missing file":
        replaced["--teacher"] = "nowhere.pt"
    elif name == "truncated file":
        (work / "cut.pt").write_bytes((work / "small.pt").read_bytes()[:2000])
        replaced["--teacher"] = "cut.pt"
    elif name == "wrong architecture":
        replaced["--arch"] = "torchvision:resnet18"
        replaced["--image-size"] = "32"
    elif name == "unknown architecture":
        replaced["--arch"] = "torchvision:resnet9000"
    elif name == "sparsity too large":
        replaced["--sparsity"] = "1.5"
    elif name == "sparsity zero":
        replaced["--sparsity"] = "0"
    elif name == "unreachable budget":
        replaced["--sparsity"] = "0.99"
    elif name == "empty folder":
        (work / "empty").mkdir(exist_ok=True)
        replaced["--data"] = "empty"
    elif name == "no such folder":
        replaced["--data"] = "nowhere"
    elif name == "unreadable image":
        if not (work / "images").exists():
            _broken_image(work / "images")
        replaced["--data"] = "images"
    elif name == "output folder not ours":
        (work / "mine").mkdir(exist_ok=True)
        (work / "mine/notes.txt").write_text("keep me")
        replaced["--out"] = "mine"
    elif name == "minutes and epochs":
        replaced |= {"--minutes": "1", "--epochs": "1"}
    elif name == "unknown option":
        replaced["--sparsify"] = "1"
    elif name == "unknown recipe":
        replaced["--recipe"] = "magic"
    elif name == "unknown precision":
        replaced["--precision"] = "fp32,fp8"
    elif name == "drop of nothing":
        replaced["--max-drop"] = "2"
    return ("build", *(part for pair in replaced.items() for part in pair))


REFUSALS = {
    "missing file": "nowhere.pt",
    "truncated file": "cut.pt",
    "wrong architecture": "small.pt",
    "unknown architecture": "resnet9000",
    "sparsity too large": "1.5",
    "sparsity zero": "sparsity",
    "unreachable budget": "%",
    "empty folder": "empty",
    "no such folder": "nowhere",
    "unreadable image": "1.png",
    "output folder not ours": "mine",
    "minutes and epochs": "--epochs",
    "unknown option": "--sparsify",
    "unknown recipe": "magic",
    "unknown precision": "fp8",
    "drop of nothing": "--max-drop 2",
}


@pytest.mark.parametrize("name", REFUSALS)
def test_bad_input_is_one_line_status_2_and_nothing_written(
    name: str, work: Path, run: Run
) -> None:
    arguments = _refused(name, work)
    status, _, err = run(*arguments)
    assert status == 2, err
    assert err.startswith("error: ")
    assert len(err.strip().splitlines()) == 1, err
    assert REFUSALS[name] in err
    assert not (work / "refused").exists()
    if (work / "mine").exists():
        assert [path.name for path in (work / "mine").iterdir()] == ["notes.txt"]
