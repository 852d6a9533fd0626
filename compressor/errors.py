"""Every error the project raises on purpose, and the exit status each one ends in.

    CompressorError
    ├── InputError            status 2   the user's input is wrong
    │   ├── LoadError                    a teacher file that cannot be taken
    │   ├── ArchitectureError            no architecture fits, or the one named does not
    │   ├── DataError                    images or labels that cannot be used
    │   ├── CaptureError                 torch.export cannot capture the network
    │   ├── BudgetError                  a budget that is malformed or out of reach
    │   ├── PlanError                    a plan made for another structure, or edited by hand
    │   ├── OptionError                  options that contradict each other
    │   ├── MissingExtraError            an optional library is needed and absent
    │   └── FolderError                  an output folder or file that is not ours to write
    ├── SurroundingsError     status 3   disk, memory, lock or device failed
    └── DefectError           status 1   a defect of ours, stopped before it reached a file
        ├── ProofError                   the student differs from the masked teacher
        └── ParityError                  an exported file differs from the student

A message is one line: what is wrong, where, and what to do.  Knows nothing of the command line,
which prints the line and exits with ``status``.
"""


class CompressorError(Exception):
    """Root of the tree; ``status`` is the exit status of the command that meets it."""

    status = 1


class InputError(CompressorError):
    status = 2


class LoadError(InputError):
    pass


class ArchitectureError(InputError):
    pass


class DataError(InputError):
    pass


class CaptureError(InputError):
    pass


class BudgetError(InputError):
    pass


class PlanError(InputError):
    pass


class OptionError(InputError):
    pass


class MissingExtraError(InputError):
    pass


class FolderError(InputError):
    pass


class SurroundingsError(CompressorError):
    status = 3


class DefectError(CompressorError):
    status = 1


class ProofError(DefectError):
    pass


class ParityError(DefectError):
    pass


def first_line(error: BaseException) -> str:
    """Of what a library's error says; its kind, where it says nothing."""
    return (str(error).splitlines() or [type(error).__name__])[0]
