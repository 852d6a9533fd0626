"""Parsers of what is typed.  Several options of one parser are lines of one text."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import Image

from benchmarks.bench import workloads_of
from benchmarks.environment import cpuinfo_value, parse_cpuinfo, parse_quota
from benchmarks.inputs import Input, parse_sizes, shapes
from benchmarks.probe.targets import parse_target
from compressor import options
from compressor.archives import is_arithmetic
from compressor.data import class_names, first_size, open_data, own_size
from compressor.errors import InputError, SurroundingsError
from compressor.preprocessing import choose
from compressor.recipes.wishes import Wishes, find_recipe
from compressor.recognition import find_architecture
from compressor.ways import find_ways
from export.paths import find_absolute_paths, reduce_argument, reduce_paths
from export.precisions import inputs_of, wanted_of
from export.quantisation import integers_of
from tests.fuzzing.corpus import PICTURES, Corpus
from tests.fuzzing.mutators import change_text
from tests.fuzzing.outcomes import Parser
from tests.fuzzing.targets import Target

LONGEST = 4000  # characters; more of them are the same again
SLOW_S = 5.0  # of processor time
SIGNATURE = (Input(name="x", kind="float32", dims=("batch", 3, "height", "x.3")),)


def typed(data: bytes) -> str:
    """As the interpreter decodes arguments, which hold no zero bytes."""
    return data.replace(b"\0", b"").decode("utf-8", "surrogateescape")[:LONGEST]


def parts(data: bytes, count: int) -> list[str]:
    lines = typed(data).split("\n", count - 1)
    return [*lines, *[""] * (count - len(lines))]


def number(text: str) -> float:
    """As the command line takes numbers; what it refuses itself becomes a plain one."""
    try:
        return float(text)
    except ValueError:
        return 0.5


def leads_away(text: str) -> bool:
    """Whether a path leaves the scratch folder: this machine's own files are not looked at."""
    path = Path(text)
    return path.is_absolute() or ".." in path.parts or text.startswith("~")


def architecture(data: bytes) -> None:
    spec = typed(data)
    library = spec.rpartition(":")[0]
    if leads_away(library) or (library.endswith(".py") and os.path.lexists(library)):
        return  # the user's own code runs, which is what was asked for
    find_architecture(spec)


def data_spec(data: bytes) -> None:
    spec, test = parts(data, 2)
    if leads_away(spec) or leads_away(test):
        return
    own_size(spec)
    for read in (first_size, class_names):
        try:
            read(spec)
        except InputError:
            continue
    open_data(spec, test=test or None, preprocessing=PICTURES, outputs=None, seed=0)


def numbers(data: bytes) -> None:
    mean, std, size = parts(data, 3)
    side = int(number(size)) if abs(number(size)) < 2**80 else 2**80
    choose(
        PICTURES,
        channels=3,
        image_size=(side, side),
        mean=options.numbers("--mean", mean or None),
        std=options.numbers("--std", std or None),
    )


def settings(data: bytes) -> None:
    runtimes, batches, threads, precisions = parts(data, 4)
    workloads_of(
        options.words(runtimes),
        options.whole_numbers("--batch", batches[:100]),
        options.whole_numbers("--threads", threads[:100]),
        options.words(precisions),
    )


def sizes(data: bytes) -> None:
    shapes(SIGNATURE, 2, parse_sizes(typed(data).split("\n")))


def target(data: bytes) -> None:
    found = parse_target(typed(data), threads=1)
    assert parse_target(found.name, threads=1) == found


def precisions(data: bytes) -> None:
    names, calibration, drop = parts(data, 3)
    found = wanted_of(names, calibration or None, number(drop) if drop else None)
    inputs_of(found)
    assert wanted_of(",".join(found.names), None, None).names == found.names


def budget(data: bytes) -> None:
    sparsity, of, least, minutes, epochs, images, device = parts(data, 7)
    options.budget_of(number(sparsity), of, 8, number(least), 8, None)
    count = int(number(epochs)) if epochs and abs(number(epochs)) < 1e18 else None
    options.length(number(minutes) if minutes else None, count, None)
    options.sample_of(len(images))
    with contextlib.suppress(SurroundingsError):  # no such device here
        options.device_of(device or None)


def recipe(data: bytes) -> None:
    name, form, of, *wishes = parts(data, 8)
    known = ("criterion", "self_distillation", "similarity", "student", "units")
    wanted = {wish: text for wish, text in zip(known, wishes, strict=True) if text}
    find_ways(wishes[0] or "auto", None)
    find_recipe(name, form or "structured", 0.5, Wishes(**wanted), of or "params")


def places(data: bytes) -> None:
    text = typed(data)
    reduced = reduce_paths(text)
    assert reduce_paths(reduced) == reduced
    assert find_absolute_paths(reduced) == ()
    reduce_argument(text)


def processor(data: bytes) -> None:
    text = typed(data)
    parse_cpuinfo(text)
    cpuinfo_value(text, "flags")
    parse_quota(text)
    integers_of("x86_64", text)


def size_expression(data: bytes) -> None:
    """What passes is handed to sympy, as torch does when it loads a program."""
    import sympy

    text = data.decode("utf-8", "replace")[:LONGEST]
    if not is_arithmetic(text):
        return
    start = time.process_time()
    with contextlib.suppress(Exception):  # torch's reader meets it: a LoadError there
        sympy.sympify(text)
    taken = time.process_time() - start
    assert taken < SLOW_S, f"sympy took {taken:.1f} s"


def command(data: bytes) -> None:
    """Parsing alone: types and ranges of a whole command line, then what options become."""
    import typer
    from typer.exceptions import TyperException

    from compressor.cli import app

    name, *arguments = typed(data).split("\n")
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    if name not in commands:
        return
    try:
        given = commands[name].make_context(name, arguments).params
    except (TyperException, typer.Exit, SystemExit):
        return  # refused by typer in one line, or help was asked for
    _use(given)


def _use(given: dict[str, object]) -> None:
    """The values that only torch or numpy looked at would be refused without a word of ours."""
    import numpy as np
    import torch

    if isinstance(seed := given.get("seed"), int):
        np.random.default_rng((seed, 0))
        torch.Generator().manual_seed(seed)
    if isinstance(threads := given.get("threads"), int):
        before = torch.get_num_threads()
        options.set_threads(threads)
        torch.set_num_threads(before)
    if isinstance(side := given.get("image_size"), int):
        choose(PICTURES, channels=3, image_size=(side, side))


def _plain(parse: Parser) -> Callable[[Corpus, Path], Parser]:
    return lambda corpus, scratch: parse


def _among_pictures(parse: Parser) -> Callable[[Corpus, Path], Parser]:
    """In a folder with pictures of two classes, and a file beside them."""

    def open_there(corpus: Corpus, scratch: Path) -> Parser:
        for name in ("a", "b"):
            folder = scratch / "pictures" / name
            folder.mkdir(parents=True)
            for place in range(3):
                Image.new("RGB", (16, 16), (40 * place, 9, 9)).save(folder / f"{place}.png")
        (scratch / "file").write_text("x")

        def there(data: bytes) -> None:
            before = Path.cwd()
            os.chdir(scratch)
            try:
                parse(data)
            finally:
                os.chdir(before)

        return there

    return open_there


def _text(
    name: str,
    parse: Parser,
    seeds: Sequence[str],
    opened: Callable[[Parser], Callable[[Corpus, Path], Parser]] = _plain,
    in_tests: int = 200,
) -> Target:
    return Target(
        name=name,
        open=opened(parse),
        seeds=lambda corpus: [seed.encode() for seed in seeds],
        change=change_text,
        in_tests=in_tests,
    )


CPUINFO = "processor\t: 0\nmodel name\t: A Processor @ 2.0GHz\nflags\t\t: fpu avx2 avx512_vnni\n"

TARGETS = (
    _text(
        "architecture",
        architecture,
        ["torchvision:resnet18", "timm:resnet18", "net.py:small", "torchvision:resnet81", "x:y"],
        _among_pictures,
        in_tests=40,
    ),
    _text(
        "data",
        data_spec,
        ["digits", "synthetic", "pictures", "pictures\npictures", "file", "pictures/a", "none"],
        _among_pictures,
        in_tests=40,
    ),
    _text("numbers", numbers, [".485,.456,.406\n.229,.224,.225\n32", "0.5\n1\n8", "0,0,0\n\n224"]),
    _text("settings", settings, ["onnxruntime,openvino\n1,8\n1,2\nfp32,bf16", "torch\n1\n1\nfp16"]),
    _text("sizes", sizes, ["height=224\nx.3=7", "height=batch\nx.3=batch", "=3"]),
    _text("target", target, ["onnxruntime", "openvino:int8", "torch:fp32", "onnxruntime:bf16"]),
    _text("precisions", precisions, ["fp32,fp16,bf16,int8\nentropy\n1.5", "int8\nminmax", "fp16"]),
    _text(
        "budget",
        budget,
        ["0.7\nparams\n0.1\n10\n\nxx\ncpu", "0.5\nmacs\n0\n\n3\nxx\ncuda:0", "1e-3\nchannels"],
    ),
    _text(
        "recipe",
        recipe,
        [
            "prune-then-distill\nstructured\nmacs\ntaylor\n\n\nfresh",
            "epsd\nfaithful\nparams\n\ndlb",
            "sdp\nstructured\nparams\n\n\ncosine\n\nremoved",
        ],
    ),
    _text(
        "places",
        places,
        [
            "--out=/data/runs/x y /home/me/a/b.py:3",
            r"C:\Users\me\net.pt and /root/a/b",
            "https://example.org/a/b and/or ../x/y",
        ],
    ),
    _text("processor", processor, [CPUINFO, "150000 100000", "max 100000"]),
    _text(
        "size-expression",
        size_expression,
        [
            "Mul(Integer(2), Symbol('s77', positive=True, integer=True))",
            "s0**2 + 3*s1",
            "FloorDiv(s0, 2) - Max(1, s3) % 7",
            "Pow(Symbol('s0'), Integer(3))",
        ],
    ),
    _text(
        "command",
        command,
        [
            "build\n--teacher\nx.pt\n--sparsity\n0.5\n--epochs\n3\n--seed\n7\n--threads\n2",
            "train\n--arch\nx.py:f\n--data\ndigits\n--seed\n1\n--image-size\n16\n--out\nx.pt",
            "bench\na.onnx\nb.onnx\n--batch\n1,8\n--seed\n3\n--processes\n5",
            "plan\n--teacher\nx.pt\n--sparsity\n0.5\n--keep-whole\n3\n--image-size\n32",
            "probe\n--teacher\nx.pt\n--threads\n2\n--batch\n8\n--minutes\n1",
            "export\nrun\n--out\nx\n--opset\n20\n--threads\n1",
        ],
        in_tests=150,
    ),
)
