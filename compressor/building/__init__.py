"""The pipeline: a teacher, data and a budget become a run folder.

    inputs       what a run depends on
    claiming     the run folder for one build alone
    stages       stages that are done once, by the journal
    targets      the widths that a target likes, as part of the budget
    deployables  a finished student becomes the files that ship
    speeds       teacher and student timed in pairs, and why the gain is what it is
    closing      pages, what makes a product of the folder, manifest, signature
    pipeline     all of it, in order

With ``cli`` and ``reporting`` the only part of ``compressor`` that looks upward, to ``export`` and
``benchmarks``, and inside functions alone.
"""

from compressor.building.inputs import data_identity
from compressor.building.pipeline import DEFAULT_LENGTH, FRESH_SEEDS, build, default_folder
from compressor.building.targets import Aim, for_target

__all__ = [
    "DEFAULT_LENGTH",
    "FRESH_SEEDS",
    "Aim",
    "build",
    "data_identity",
    "default_folder",
    "for_target",
]
