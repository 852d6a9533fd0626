"""Networks made to catch faults of the rules that nothing else in the tests executes.

They are no part of ``ZOO``, whose laws cover every one of its networks: only ``tests.judging`` runs
over these.  ``ROWS`` and ``PICTURES`` stand between two layers (``tests.rules.cases``); a network
of its own is a ``Specimen``.  ``DEFECTS`` are wrong as the rules are now: each says how.
"""

from __future__ import annotations

from collections.abc import Mapping

from tests.attacks import places, products
from tests.attacks.layers import ATTACKS
from tests.attacks.pictures import PICTURES
from tests.rules.cases import Middle

__all__ = ["ATTACKS", "DEFECTS", "PICTURES", "ROWS"]

ROWS: Mapping[str, Middle] = {**products.ROWS, **places.ROWS}
DEFECTS: Mapping[str, str] = {
    "attacks.units_looked_at_through": "a mask does not lose the positions that keys lose",
    "attacks.units_looking_through": "a mask does not lose the positions that queries lose",
    "attacks.theta_of_units": "the size that affine_grid is given does not follow its matrices",
    "attacks.squeezed_all": "squeeze also drops a dimension that was cut to one row",
    "attacks.squeezed_in_vain": "squeeze also drops a dimension that was cut to one row",
    "attacks.softmax_of_one": "a dimension of a value without dimensions raises an IndexError",
    "lengths_alone": "0 / 0 in a masked row is not undone by a gate that multiplies",
}
