"""Loading: a file becomes a teacher.

Comes in: a weight file or exported program, an architecture's name or none, options.  Goes out: a
``Teacher``.  Knows nothing of data, plans or students.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from compressor.archives import is_archive, read_program
from compressor.cards import Card, card_path, read_card
from compressor.checkpoints import (
    Checkpoint,
    check_file,
    check_finite,
    check_sizes,
    read_checkpoint,
)
from compressor.documents import parse_as
from compressor.errors import ArchitectureError, CompressorError, LoadError, OptionError
from compressor.files import sha256 as sha256_of
from compressor.fitting import Fit, factory_of, fill, fit
from compressor.preprocessing import Size, check_size, choose, require_sound
from compressor.recognition import SCALES_ITS_INPUT, find_architecture, recognise
from compressor.types import Preprocessing, Source

if TYPE_CHECKING:
    from torch.export import ExportedProgram

    from compressor.graphs import Graph

# Layers that a network begins with -> what it takes.
NO_PICTURES: dict[type[nn.Module], str] = {
    nn.Conv1d: "sequences",
    nn.RNNBase: "sequences",
    nn.Conv3d: "clips",
    nn.Embedding: "tokens",
}
EXTRA_PREPROCESSING = "preprocessing.json"  # beside the program in an archive of ours


@dataclass(frozen=True, slots=True, kw_only=True)
class Teacher:
    """A network with everything a build needs to know about it.

    Exactly one of ``module`` (in evaluation mode, float32, on the CPU) and ``graph`` (loaded from a
    ``.pt2``, or captured and folded, and then ``folded`` says what was) is there.  ``factory``
    gives an untrained network of the same shape, initialised from torch's global generator; None
    where only the program is known.
    """

    module: nn.Module | None
    graph: Graph | None
    factory: Callable[[], nn.Module] | None
    example_inputs: tuple[Tensor, ...]
    source: Source
    preprocessing: Preprocessing
    labels: tuple[str, ...] | None
    notes: tuple[str, ...]
    folded: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class InputOptions:
    """What the user said about the network's input."""

    example_inputs: tuple[Tensor, ...] | None
    image_size: Size | None
    mean: Sequence[float] | None
    std: Sequence[float] | None
    data_size: Size | None


def load(
    path: str | Path,
    arch: str | None = None,
    example_inputs: tuple[Tensor, ...] | None = None,
    *,
    image_size: int | Size | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    trust_pickle: bool = False,
    data_size: Size | None = None,
) -> Teacher:
    """Load a teacher from a state dict, a checkpoint around one, or an exported program.

    ``arch`` is torchvision:NAME, timm:NAME or FILE.py:factory; None recognises torchvision's.
    A card beside the file (``compressor.cards``) says what neither ``arch`` nor options do: a
    library's architecture, the preprocessing, the classes.  The input's size is ``image_size``,
    else the card's or the architecture's published one, else ``data_size``.
    ``mean`` and ``std`` are in [0, 1] pixel units, one number or one per channel.

    Raises LoadError for the file, ArchitectureError for the architecture, OptionError for options.
    """
    file = Path(path)
    check_file(file)
    asked = InputOptions(
        example_inputs=example_inputs,
        image_size=check_size(image_size),
        mean=mean,
        std=std,
        data_size=data_size,
    )
    if is_archive(file):
        if arch is not None:
            raise OptionError(f"--arch {arch}: {file.name} is a program already; leave --arch out")
        return _load_program(file, asked)
    checkpoint = read_checkpoint(file, trust_pickle=trust_pickle)
    sha256 = sha256_of(file)
    if checkpoint.module is not None and arch is None:
        return _take_module(file, sha256, checkpoint, asked)
    card, card_notes = _card_of(file, sha256)
    named = arch if arch is not None else _library_architecture(card)
    found, notes = _find(file, named, checkpoint, card)
    published = found.architecture.published(sha256, found.options)
    return _teacher(
        module=fill(found),
        categories=card.classes if card else found.architecture.categories,
        factory=factory_of(found),
        published=card.preprocessing if card else published,
        source=Source(
            name=file.stem, architecture=found.architecture.name, sha256=sha256, trained=True
        ),
        asked=asked,
        notes=(*checkpoint.notes, *card_notes, *notes, *_peculiarities(found)),
    )


def untrained(
    arch: str,
    example_inputs: tuple[Tensor, ...] | None = None,
    *,
    classes: int | None = None,
    seed: int = 0,
    image_size: int | Size | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    data_size: Size | None = None,
) -> Teacher:
    """A network of ``arch`` as its code initialises it, for recipes that have no trained teacher.

    ``classes`` None leaves the architecture's own number, and so does a factory of the user's that
    takes none: look at the output.  Torch's global generator is left as it was.  Raises
    ArchitectureError and OptionError as ``load`` does.
    """
    architecture = find_architecture(arch)
    options = dict(architecture.options_for({}))
    if classes is not None and architecture.classes_option is not None:
        options[architecture.classes_option] = classes
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = architecture.build(options)
    return _teacher(
        module=module.float().eval(),
        categories=architecture.categories,
        factory=lambda: architecture.build(options),
        published=architecture.published(None, options),
        source=Source(
            name=architecture.name.rpartition(":")[2],
            architecture=architecture.name,
            sha256=None,
            trained=False,
        ),
        asked=InputOptions(
            example_inputs=example_inputs,
            image_size=check_size(image_size),
            mean=mean,
            std=std,
            data_size=data_size,
        ),
        notes=(),
    )


def fresh_start(teacher: Teacher, graph: Graph, seed: int) -> Graph:
    """The captured network with the values its own code initialises it with.

    Torch's global generator is left as it was.  Raises OptionError where no code is known, or where
    the program is no longer what the code says.
    """
    if teacher.factory is None or teacher.folded:
        raise OptionError(
            f"{teacher.source.name}: a fresh start needs the network's own code; give --arch"
            + (" and leave --fold out" if teacher.folded else "")
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = teacher.factory().float().eval()
    own: dict[str, Tensor] = dict(module.named_parameters(remove_duplicate=False))
    own.update(module.named_buffers(remove_duplicate=False))
    fresh = graph.copy()
    with torch.no_grad():
        for name, tensor in fresh.tensors.items():
            if name in own and own[name].shape == tensor.shape:
                tensor.copy_(own[name])
            elif isinstance(tensor, nn.Parameter):
                raise OptionError(
                    f"{teacher.source.name}: {name} of the program is not in its own code as it "
                    "is; a fresh start is not possible"
                )
    return fresh


def _card_of(file: Path, sha256: str) -> tuple[Card | None, tuple[str, ...]]:
    """The card beside a weight file, and a line about it."""
    card, path = read_card(file), card_path(file)
    name = path.name
    if card is None:
        return None, (f"{name} is no card of ours and is not used",) if path.exists() else ()
    if card.sha256 != sha256:
        return None, (f"{name} speaks of other weights and is not used",)
    origin = f"as in training ({name})"
    card = replace(card, preprocessing=replace(card.preprocessing, origin=origin))
    return card, (f"{name}: {card.architecture}, trained on {card.data}",)


def _library_architecture(card: Card | None) -> str | None:
    """What a card may decide by itself: a user's own code runs only where it is named."""
    known = card is not None and card.architecture.startswith(("torchvision:", "timm:"))
    return card.architecture if card is not None and known else None


def _find(
    file: Path, arch: str | None, checkpoint: Checkpoint, card: Card | None
) -> tuple[Fit, tuple[str, ...]]:
    if arch is None:
        try:
            recognised = recognise(checkpoint.tensors, file_name=file.name)
        except ArchitectureError as error:
            if card is None:
                raise
            said = f"; its card says --arch {card.architecture}"
            raise ArchitectureError(f"{error}{said}") from error
        return recognised.fit, (recognised.note,)
    found = fit(find_architecture(arch), checkpoint.tensors)
    if not found.fits:
        raise ArchitectureError(
            f"{file}: does not fit --arch {arch}: {found.differences()}; "
            "give the architecture these weights were trained with"
        )
    return found, ()


def _peculiarities(found: Fit) -> tuple[str, ...]:
    name = found.architecture.name.removeprefix("torchvision:")
    notes: list[str] = []
    if found.architecture.name.startswith("torchvision:") and name in SCALES_ITS_INPUT:
        notes.append(f"{name} is built with transform_input=True, as for its published weights")
    if found.options.get("aux_logits") or found.options.get("aux_loss"):
        notes.append("its auxiliary heads serve training only, and are left out of the program")
    return tuple(notes)


def _teacher(
    *,
    module: nn.Module,
    categories: tuple[str, ...] | None,
    factory: Callable[[], nn.Module],
    published: Preprocessing | None,
    source: Source,
    asked: InputOptions,
    notes: tuple[str, ...],
) -> Teacher:
    preprocessing, inputs = _input(module, published, asked)
    outputs = _head_rows(module)
    return Teacher(
        module=module,
        graph=None,
        factory=factory,
        example_inputs=inputs,
        source=source,
        preprocessing=preprocessing,
        labels=categories if categories and outputs == len(categories) else None,
        notes=notes,
    )


def _input(
    module: nn.Module, published: Preprocessing | None, asked: InputOptions
) -> tuple[Preprocessing, tuple[Tensor, ...]]:
    inputs = asked.example_inputs
    size = asked.image_size
    channels = _input_channels(module)
    if inputs is not None:
        if inputs[0].ndim == 4:
            channels, size = inputs[0].shape[1], (inputs[0].shape[2], inputs[0].shape[3])
        else:
            size = size or (published.crop if published else (1, 1))  # no pictures: nothing to crop
    else:
        _require_pictures(module)
    preprocessing = choose(
        published,
        channels=channels,
        image_size=size,
        mean=asked.mean,
        std=asked.std,
        data_size=asked.data_size,
    )
    if inputs is None:
        generator = torch.Generator().manual_seed(0)
        inputs = (torch.randn(2, channels, *preprocessing.crop, generator=generator),)
    return preprocessing, inputs


def _input_channels(module: nn.Module) -> int:
    convolutions = (part for part in module.modules() if isinstance(part, nn.Conv2d | nn.Conv3d))
    first = next(convolutions, None)
    return 3 if first is None else first.in_channels


def _require_pictures(module: nn.Module) -> None:
    """Raises OptionError where the first layer with parameters takes something else, and no later
    one looks at pictures: layers need not be named in the order of their calls."""
    if any(isinstance(part, nn.Conv2d) for part in module.modules()):
        return
    own = ((part, next(part.parameters(recurse=False), None)) for part in module.modules())
    first = next((part for part, parameter in own if parameter is not None), None)
    for kind, taken in NO_PICTURES.items():
        if isinstance(first, kind):
            raise OptionError(
                f"the network takes {taken}, not pictures; give a .pt2 program, or example_inputs "
                "to load() in Python"
            )


def _head_rows(module: nn.Module) -> int | None:
    """Rows of the last layer: the number of classes of a classifier."""
    rows = [p.shape[0] for name, p in module.named_parameters() if name.endswith("weight")]
    return rows[-1] if rows else None


def _take_module(file: Path, sha256: str, checkpoint: Checkpoint, asked: InputOptions) -> Teacher:
    module = checkpoint.module
    assert module is not None
    name = type(module).__name__
    preprocessing, inputs = _input(module, None, asked)
    return Teacher(
        module=module,
        graph=None,
        factory=None,
        example_inputs=inputs,
        source=Source(name=file.stem, architecture=f"pickled:{name}", sha256=sha256, trained=True),
        preprocessing=preprocessing,
        labels=None,
        notes=(*checkpoint.notes, "a fresh start is not possible from a pickled module"),
    )


def graph_of(program: ExportedProgram) -> Graph:
    """The program as a graph."""
    from compressor.graphs import graph_from_program

    return graph_from_program(program)


def _graph_of_file(file: Path, program: ExportedProgram) -> Graph:
    """Raises LoadError where the program is not one that torch.export would have written."""
    try:
        return graph_of(program)
    except CompressorError:
        raise
    except Exception as error:  # an edited structure may break anywhere
        lines = str(error).strip().splitlines() or [""]
        raise LoadError(
            f"{file}: its program does not hold together ({type(error).__name__}: "
            f"{lines[0][:200]}); export it again with torch.export.save"
        ) from error


def published_of(file: Path, text: str | None) -> Preprocessing | None:
    """What was put beside a program in its archive.  Raises LoadError where it is damaged."""
    if not text:
        return None
    try:
        found = parse_as(text.encode(), Preprocessing)
        require_sound(found)
    except ValueError as error:
        raise LoadError(
            f"{file}: its {EXTRA_PREPROCESSING} is damaged ({error}); export it again"
        ) from error
    return found


def _load_program(file: Path, asked: InputOptions) -> Teacher:
    program, extras = read_program(file)
    check_sizes(file, program.state_dict)
    check_finite(file, program.state_dict)
    graph = _graph_of_file(file, program)
    inputs = asked.example_inputs or graph.example_inputs
    size = (inputs[0].shape[2], inputs[0].shape[3]) if inputs[0].ndim == 4 else (1, 1)
    if asked.image_size is not None and asked.image_size != size:
        raise OptionError(
            f"{file.name} was exported for {size[0]}x{size[1]}, and --image-size or the data asks "
            f"for {asked.image_size[0]}x{asked.image_size[1]}; leave --image-size out, or give "
            "other data"
        )
    published = published_of(file, extras.get(EXTRA_PREPROCESSING))
    return Teacher(
        module=None,
        graph=graph,
        factory=None,
        example_inputs=inputs,
        source=Source(
            name=file.stem,
            architecture=graph.architecture or f"exported:{file.stem}",
            sha256=sha256_of(file),
            trained=True,
        ),
        preprocessing=choose(
            published,
            channels=inputs[0].shape[1] if inputs[0].ndim == 4 else 3,
            image_size=size,
            mean=asked.mean,
            std=asked.std,
        ),
        labels=None,
        notes=("loaded from an exported program: a fresh start is not possible",),
    )


def capture_teacher(teacher: Teacher) -> Graph:
    """The teacher's graph: captured from its module, or as loaded from a program."""
    from compressor.graphs import capture

    if teacher.graph is not None:
        return teacher.graph
    assert teacher.module is not None
    return capture(teacher.module, teacher.example_inputs, architecture=teacher.source.architecture)


def fold_teacher(teacher: Teacher) -> Teacher:
    """The teacher with its parameter-only work done once (``compressor.folding``)."""
    from compressor.folding import fold

    graph, told = fold(capture_teacher(teacher))
    notes = told or ("nothing to fold: no tensor is computed from parameters alone",)
    return replace(teacher, module=None, graph=graph, notes=(*teacher.notes, *notes), folded=told)
