"""torchvision's detectors: the network part of each.

A detector's forward resizes a list of pictures, then picks boxes by their scores (top-k,
non-maximum suppression) and reads features under them; how many there are depends on the data, so
it is no one graph.  The part with parameters is one: backbone, neck and heads.
"""

from __future__ import annotations

from benchmarks.studies.networks.rows import Network

ONE_STAGE = (
    "backbone and heads; the rest decodes, sorts and suppresses boxes, whose number depends on the "
    "data"
)
TWO_STAGE = (
    "backbone, neck, proposal head and the heads of regions; regions are picked by their scores, "
    "so the heads read a pooled pyramid level of the same size instead"
)

# factory, picture size (the fixed one of the two SSDs), parameters in millions
_ONE_STAGE = (
    ("fcos_resnet50_fpn", 128, 32.3),
    ("retinanet_resnet50_fpn", 128, 34.1),
    ("retinanet_resnet50_fpn_v2", 128, 38.2),
    ("ssd300_vgg16", 300, 35.6),
    ("ssdlite320_mobilenet_v3_large", 320, 3.4),
)
_TWO_STAGE = (
    ("fasterrcnn_mobilenet_v3_large_320_fpn", 128, 19.4),
    ("fasterrcnn_mobilenet_v3_large_fpn", 128, 19.4),
    ("fasterrcnn_resnet50_fpn", 128, 41.8),
    ("fasterrcnn_resnet50_fpn_v2", 128, 43.7),
    ("keypointrcnn_resnet50_fpn", 128, 59.2),
    ("maskrcnn_resnet50_fpn", 128, 44.5),
    ("maskrcnn_resnet50_fpn_v2", 128, 46.4),
)

DETECTORS: tuple[Network, ...] = tuple(
    Network(
        library="torchvision",
        factory=factory,
        shape=(3, size, size),
        millions=millions,
        part=part,
    )
    for part, rows in ((ONE_STAGE, _ONE_STAGE), (TWO_STAGE, _TWO_STAGE))
    for factory, size, millions in rows
)
