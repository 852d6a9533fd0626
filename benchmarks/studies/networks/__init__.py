"""The written list of networks that the compatibility study runs over.

The list is plain data, one row per network, written down before any of it was run and not changed
to suit a result.  Tests hold it against the installed libraries, so that a model that a new
version adds is noticed.  ``NETWORKS`` is all of it; ``building`` makes a network of a row.
Importing the list imports none of the libraries.
"""

from __future__ import annotations

from benchmarks.studies.networks.detectors import DETECTORS
from benchmarks.studies.networks.rows import Network
from benchmarks.studies.networks.timm_rows import TIMM
from benchmarks.studies.networks.torchvision_rows import TORCHVISION
from benchmarks.studies.networks.transformers_rows import TRANSFORMERS

__all__ = ["NETWORKS", "Network", "find"]

NETWORKS: tuple[Network, ...] = (*TORCHVISION, *DETECTORS, *TIMM, *TRANSFORMERS)

_BY_NAME = {network.name: network for network in NETWORKS}


def find(name: str) -> Network:
    """The row of that name; raises KeyError where the list has none."""
    return _BY_NAME[name]
