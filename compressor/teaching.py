"""Teaching: an architecture and labelled images become a trained teacher.

Comes in: an architecture's name, data, a length and a seed.  Goes out: a weight file under the
names of the network's own class, and its card.  Trains by the loop of ``distillation``, without a
teacher.  Knows nothing of pruning.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from compressor.cards import Accuracy, Card, card_path, encode_card, read_card
from compressor.data import ImageData, Images, class_names, first_size, open_data, own_size
from compressor.distillation import Distilled, distill, fitting_batch
from compressor.errors import (
    ArchitectureError,
    DataError,
    DefectError,
    FolderError,
    LoadError,
    OptionError,
)
from compressor.evaluation import accuracy, evaluate, logits_of, output_size
from compressor.files import check_writable, replacing, sha256, sweep_of
from compressor.graphs import Graph
from compressor.loading import Teacher, capture_teacher, untrained
from compressor.locks import beside, held
from compressor.optimisation import FRESH_NORMED, FRESH_PLAIN, fitting_settings
from compressor.pacing import Deadline, Epochs
from compressor.saving import save_state, save_tensors
from compressor.watching import Listener, Silent

ENDINGS = (".pt", ".pth", ".safetensors")
TRAINED_AS_EVALUATED = (
    "what only training has (stochastic depth, dropout inside attention, auxiliary heads) takes no "
    "part: the network is trained as it evaluates"
)
_LEAST_MOMENTUM = 0.1  # of batch norms: torch's own
_FEWEST_STEPS = 16  # per epoch: weights that know nothing yet need steps more than large batches
_LARGEST_DIFFERENCE = 1e-3  # of module and graph in float32, relative where answers exceed one


def train(
    arch: str,
    data: str,
    out: Path,
    *,
    length: Deadline | Epochs,
    test: str | None = None,
    seed: int = 0,
    image_size: int | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    batch_size: int | None = None,
    device: str = "cpu",
    restart: bool = False,
    listener: Listener | None = None,
) -> Card:
    """Train ``arch`` from fresh weights on ``data``; writes ``out`` and its card, whole or not.

    ``arch``: torchvision:NAME, timm:NAME or FILE.py:factory; ``data``: "digits", or an image folder
    with class folders, which decide the number of classes.  ``out`` (.pt, .pth or .safetensors)
    holds a state dict.  The same seed, one thread and ``Epochs`` give the same weights.
    ``image_size``, ``mean`` and ``std`` as for ``loading.load``.

    Raises InputError kinds before training; FolderError where ``out`` is there already and not to
    be replaced (``restart`` replaces a teacher that has a card), SurroundingsError where the disk
    refuses or another process trains a teacher of this name.
    """
    listener = listener or Silent()
    _check_out(out, restart)
    if batch_size is not None and batch_size < 2:
        raise OptionError(f"--batch-size {batch_size}: a batch norm needs at least 2 images")
    classes = class_names(data)
    listener.stage("load")
    fresh = untrained(
        arch,
        classes=len(classes),
        seed=seed,
        image_size=image_size if image_size is not None else own_size(data),
        mean=mean,
        std=std,
        data_size=first_size(data),
    )
    listener.note(f"preprocessing: {fresh.preprocessing.origin}")
    listener.stage("capture")
    _quicken(fresh)
    graph = capture_teacher(fresh)
    _check_outputs(arch, data, len(classes), output_size(graph))
    listener.stage("data")
    opened = open_data(
        data, test=test, preprocessing=fresh.preprocessing, outputs=len(classes), seed=seed
    )
    if not opened.train_with_labels:
        why = next(iter(opened.notes), "there are no labels")
        raise DataError(
            f"{data}: {why.partition(',')[0]}; every class needs at least 2 training images: add "
            "some"
        )
    for note in (*graph.notes, *opened.notes, *_enlarged(data, opened), TRAINED_AS_EVALUATED):
        listener.note(note)
    with held(beside(out), "compressor train", listener.note):
        _check_out(out, restart)  # another one may have ended meanwhile
        sweep_of(out)
        check_writable(out)
        listener.stage(f"train for {length}")
        found = _learn(graph, opened, length, seed, batch_size, device, listener)
        for note in found.notes:
            listener.note(note)
        module = give_values(found.graph, fresh)
        return _write(out, module, _card(fresh, opened, found, seed, device))


def give_values(trained: Graph, fresh: Teacher) -> nn.Module:
    """The values of ``trained`` in the module it was captured from, which is changed.

    Raises DefectError where the module then answers otherwise than the graph.
    """
    module = fresh.module
    assert module is not None  # only a .pt2 comes without
    own: dict[str, Tensor] = dict(module.named_parameters(remove_duplicate=False))
    own.update(module.named_buffers(remove_duplicate=False))
    with torch.no_grad():
        for name, value in trained.tensors.items():
            if name in own:  # else a constant of the program, which training leaves alone
                own[name].copy_(value)
        expected = logits_of(trained(*fresh.example_inputs))
        found = logits_of(module.eval()(*fresh.example_inputs))
    largest = max(1.0, float(expected.abs().max()))
    if not float((found - expected).abs().max()) <= _LARGEST_DIFFERENCE * largest:
        raise DefectError(
            f"{fresh.source.architecture}: with the trained values its own class answers otherwise "
            "than what was trained; nothing was written. This is a defect: please report the "
            "network"
        )
    return module


def _check_out(out: Path, restart: bool) -> None:
    if out.suffix not in ENDINGS:
        raise OptionError(f"--out {out}: name a file that ends in {', '.join(ENDINGS)}")
    there = [path for path in (out, card_path(out)) if path.exists()]
    if not there:
        return
    try:
        ours = read_card(out) is not None and not out.is_dir()
    except LoadError:
        ours = False
    if not ours:
        raise FolderError(
            f"{there[0]} is there already and no teacher of ours; name another file with --out"
        )
    if not restart:
        raise FolderError(
            f"{there[0]} is there already; name another file with --out, or train anew with "
            "--restart"
        )


def _quicken(fresh: Teacher) -> None:
    """Batch-norm statistics that follow within some twenty steps, before they are captured.

    Slow ones (0.01 in MobileNetV3, for runs of many thousand steps) are still near their start
    when a short run ends: it then answers digits at chance, with a training loss of 0.05.  A
    momentum of None is captured as 0, which never moves.
    """
    assert fresh.module is not None  # only a .pt2 comes without
    for part in fresh.module.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            part.momentum = max(part.momentum or 0.0, _LEAST_MOMENTUM)


def _check_outputs(arch: str, data: str, classes: int, outputs: int | None) -> None:
    if outputs is None:
        raise ArchitectureError(
            f"--arch {arch}: its output is no table of one number per class; give a classifier"
        )
    if outputs != classes:
        raise ArchitectureError(
            f"--arch {arch}: the network has {outputs} outputs, {data} has {classes} classes; let "
            "its factory take num_classes, or give data of its classes"
        )


def _enlarged(data: str, opened: ImageData) -> tuple[str, ...]:
    """A line where small pictures make large work."""
    size, crop = first_size(data), opened.preprocessing.crop
    if size is None or own_size(data) or 2 * min(size) > min(crop):
        return ()
    return (
        f"pictures of {size[0]}x{size[1]} are enlarged to {crop[0]}x{crop[1]}; --image-size "
        f"{min(size)} would take them as they are",
    )


def _learn(
    graph: Graph,
    data: ImageData,
    length: Deadline | Epochs,
    seed: int,
    batch_size: int | None,
    device: str,
    listener: Listener,
) -> Distilled:
    count = len(data.train)
    fitting = min(fitting_batch(count, data.preprocessing.crop), max(count // _FEWEST_STEPS, 16))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # dropout draws from torch's own generator
        return distill(
            graph,
            None,
            data,
            length=length,
            generator=torch.Generator().manual_seed(seed),
            optimisation=fitting_settings(graph, normed=FRESH_NORMED, plain=FRESH_PLAIN),
            batch_size=batch_size or fitting,
            device=device,
            progress=listener.training,
        )


def _card(fresh: Teacher, data: ImageData, found: Distilled, seed: int, device: str) -> Card:
    """The card, but for the hash of a file that is not written yet."""
    placed = found.graph.copy().to(device)

    def answered(images: Images, labels: Tensor) -> Accuracy:
        top1 = accuracy(evaluate(placed, images, data.preprocessing), labels)
        return Accuracy(images=len(images), top1=top1)

    validation, test = data.validation, data.test
    assert validation.labels is not None  # training was by labels, and chose by them
    return Card(
        sha256="",
        architecture=fresh.source.architecture,
        classes=data.classes,
        preprocessing=data.preprocessing,
        data=data.name,
        images=len(data.train),
        seed=seed,
        epochs=round(found.epochs, 2),
        seconds=round(found.seconds, 1),
        validation=answered(validation, validation.labels),
        test=answered(test, test.labels) if test is not None and test.labels is not None else None,
    )


def _write(out: Path, module: nn.Module, card: Card) -> Card:
    """Weights and card together; the weights come to their name last."""
    with replacing(out) as place:
        if out.suffix == ".safetensors":
            # Clones: the format has no shared tensors, and every name is to be there.
            named = {k: v.clone().contiguous() for k, v in module.state_dict().items()}
            save_tensors(named, place, {"format": "pt"})
        else:
            save_state(module.state_dict(), place)
        card = replace(card, sha256=sha256(place))
        card_path(place).write_bytes(encode_card(card))
    return card
