"""Networks made to catch faults of the rules that nothing else in the tests executes.

They are no part of ``ZOO``, whose laws cover every one of its networks: only ``tests.judging`` runs
over these.  ``ROWS`` and ``PICTURES`` stand between two layers (``tests.rules.cases``); a network
of its own is a ``Specimen``; those in ``CHANGED`` are changed once captured.  ``DEFECTS`` are wrong
as the rules are now: each says how.
"""

from __future__ import annotations

from collections.abc import Mapping

from tests.attacks import places, products
from tests.attacks.layers import ATTACKS, CHANGED
from tests.attacks.pictures import PICTURES
from tests.rules.cases import Middle

__all__ = ["ATTACKS", "CHANGED", "DEFECTS", "PICTURES", "ROWS"]

ROWS: Mapping[str, Middle] = {**products.ROWS, **places.ROWS}
DEFECTS: Mapping[str, str] = {}
