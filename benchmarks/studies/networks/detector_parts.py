"""The part of a torchvision detector that is one graph, as a module: pictures in, tensors out.

Comes in: a row of ``detectors``.  Goes out: an ``nn.Module`` that shares the detector's layers.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F
from torchvision import models

from benchmarks.studies.networks.detectors import TWO_STAGE
from benchmarks.studies.networks.rows import Network


def detector_part(network: Network) -> nn.Module:
    """The capturable part of the detector that the row names."""
    detector = models.get_model(network.factory, weights=None, weights_backbone=None)
    return TwoStage(detector) if network.part == TWO_STAGE else OneStage(detector)


class OneStage(nn.Module):
    """Backbone and dense heads (RetinaNet, FCOS, SSD)."""

    def __init__(self, detector: Any) -> None:
        super().__init__()
        self.backbone = detector.backbone
        self.head = detector.head

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        found: dict[str, Tensor] = self.head(list(self.backbone(images).values()))
        return found


class TwoStage(nn.Module):
    """Backbone, neck, proposal head, and every head of regions there is (R-CNN)."""

    def __init__(self, detector: Any) -> None:
        super().__init__()
        regions = detector.roi_heads
        self.backbone = detector.backbone
        self.proposals = detector.rpn.head
        self.box = nn.Sequential(regions.box_head, regions.box_predictor)
        self.mask = _head(regions, "mask")
        self.keypoint = _head(regions, "keypoint")

    def forward(self, images: Tensor) -> list[Tensor]:
        levels = list(self.backbone(images).values())
        scores, offsets = self.proposals(levels)
        found = [*scores, *offsets, *self.box(F.adaptive_avg_pool2d(levels[0], 7))]
        for head in (self.mask, self.keypoint):
            if head is not None:
                found.append(head(F.adaptive_avg_pool2d(levels[0], 14)))
        return found


def _head(regions: Any, kind: str) -> nn.Module | None:
    if getattr(regions, f"{kind}_head", None) is None:
        return None
    return nn.Sequential(getattr(regions, f"{kind}_head"), getattr(regions, f"{kind}_predictor"))
