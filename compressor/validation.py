"""Validation while training: one fixed set of images, the teacher's answers known beforehand.

In: graphs and images.  Out: one ``Validation`` per question.  Knows nothing of optimisers; time
comes from the caller's clock.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from compressor.acceleration import Clock
from compressor.data import Images
from compressor.errors import DataError
from compressor.evaluation import accuracy, agreement, evaluate
from compressor.graphs import Graph
from compressor.objectives import label_loss, logit_divergence
from compressor.types import Preprocessing

MOST_IMAGES = 1000  # that are looked at each time
# Below this a metric may be luck, and halving it says nothing.
_TELLING_METRIC = 0.2
_ONE_SIDED = 1.645  # standard errors
_FAR, _FAR_FROM = 10.0, 1.0  # a loss is lost at ten times the best one, or ten nats


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """How weights did on the validation images after ``done_share`` of the run: the averaged ones,
    but for the last of a training, which is of the weights as the last step left them.

    ``loss``: divergence from the teacher at temperature 1, or cross-entropy without a teacher.
    """

    done_share: float
    seconds: float  # since the run began
    loss: float
    accuracy: float | None
    agreement: float | None
    images: int = 0  # that were looked at

    @property
    def metric(self) -> float:
        """What decides: accuracy where there are labels, else agreement with the teacher."""
        return self.accuracy if self.accuracy is not None else (self.agreement or 0.0)

    def better_than(self, other: Validation) -> bool:
        """A higher metric, or the same one at a lower loss."""
        return (self.metric, -self.loss) > (other.metric, -other.loss)

    def worse_than(self, other: Validation) -> bool:
        """Whether the metric is lower by more than chance explains (one-sided, 95 %)."""
        spread = math.sqrt(max(other.metric * (1.0 - other.metric), 0.0) / max(other.images, 1))
        return self.metric < other.metric - _ONE_SIDED * spread

    def diverged_from(self, best: Validation) -> str | None:
        """Why training cannot go on from here, or None."""
        if not math.isfinite(self.loss):
            return "the validation loss is not finite"
        if self.loss > _FAR * max(best.loss, _FAR_FROM):
            return f"the validation loss rose from {best.loss:.3g} to {self.loss:.3g}"
        if best.metric >= _TELLING_METRIC and self.metric < 0.5 * best.metric:
            return f"the validation metric fell from {best.metric:.3f} to {self.metric:.3f}"
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Validator:
    """Asks graphs about the same images."""

    images: Images
    preprocessing: Preprocessing
    teacher_logits: Tensor | None
    use_labels: bool
    batch_size: int
    memory_format: torch.memory_format

    def validate(self, graph: Graph, *, done_share: float, seconds: float) -> Validation:
        logits = evaluate(
            graph,
            self.images,
            self.preprocessing,
            self.batch_size,
            memory_format=self.memory_format,
        )
        labels = self.images.labels if self.use_labels else None
        if self.teacher_logits is not None:
            loss = float(logit_divergence(logits, self.teacher_logits, 1.0))
        elif labels is not None:
            loss = float(label_loss(logits, labels))
        else:
            loss = 0.0
        known = self.teacher_logits
        return Validation(
            done_share=done_share,
            seconds=seconds,
            loss=loss,
            accuracy=accuracy(logits, labels) if labels is not None else None,
            agreement=agreement(logits, known) if known is not None else None,
            images=len(self.images),
        )


def make_validator(
    images: Images,
    preprocessing: Preprocessing,
    teacher: Graph | None,
    *,
    use_labels: bool,
    batch_size: int,
    memory_format: torch.memory_format = torch.contiguous_format,
    seconds: float | None = None,
    most: int = MOST_IMAGES,
    clock: Clock,
) -> Validator:
    """``most`` images at the most, or what a teacher answers in ``seconds``, as a fixed sample.

    The sample is the same whatever the run's seed, so runs compare.  Raises DataError where there
    are no images, or where neither labels nor a teacher could judge an answer.
    """
    labelled = use_labels and images.labels is not None
    if teacher is None and not labelled:
        raise DataError("validation needs labels or a teacher: give labelled images or a teacher")
    most = min(len(images.pixels), most)
    if not most:
        raise DataError("there are no validation images: give more images, or a val/ folder")
    order = torch.randperm(len(images.pixels), generator=torch.Generator().manual_seed(0))
    sample = pick(images, order[:most])
    parts: list[Tensor] = []
    begin, count = clock(), most
    while teacher is not None:
        part = pick(sample, slice(len(parts) * batch_size, (len(parts) + 1) * batch_size))
        parts.append(
            evaluate(teacher, part, preprocessing, batch_size, memory_format=memory_format)
        )
        count = min(len(parts) * batch_size, most)
        spent = clock() - begin
        if count == most or (seconds is not None and spent + spent / len(parts) > seconds):
            break
    return Validator(
        images=pick(sample, slice(count)),
        preprocessing=preprocessing,
        teacher_logits=torch.cat(parts) if parts else None,
        use_labels=labelled,
        batch_size=batch_size,
        memory_format=memory_format,
    )


def pick(images: Images, rows: Tensor | slice) -> Images:
    """These images, with their labels."""
    labels = images.labels
    return Images(pixels=images.pixels[rows], labels=labels[rows] if labels is not None else None)
