"""What a person sees on the terminal: stages, a training bar, tables, the verdict.

Comes in: finished values and progress.  Goes out: text.  Decides nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console as Terminal
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar
from rich.table import Table

from compressor.distillation import Progress
from compressor.pacing import Deadline, Epochs
from compressor.types import Analysis, Plan


class Console:
    """Prints as the build goes; also a ``Listener`` of ``compressor.building``."""

    def __init__(self) -> None:
        self._terminal = Terminal(highlight=False, soft_wrap=True)
        self._bar: Bar | None = None
        self._task: Any = None
        self._length: Deadline | Epochs | None = None
        self._told = 0

    @contextmanager
    def watching(self, length: Deadline | Epochs) -> Iterator[None]:
        """Show a training bar for as long as the build runs."""
        self._length = length
        try:
            yield
        finally:
            self._close_bar()

    def stage(self, name: str) -> None:
        self._close_bar()
        if name == "distill" and self._length is not None:
            name = f"distill for {_describe(self._length)}"
        self._terminal.print(f"[bold]{name}[/bold]")

    def note(self, text: str) -> None:
        self._terminal.print(f"  {text}", markup=False)

    def training(self, progress: Progress) -> None:
        """Redraw the bar; where there is no terminal, print a line at every tenth."""
        line = (
            f"{progress.images_per_s:.0f} images/s, loss {progress.loss:.3f}, "
            f"validation {100 * progress.metric:.1f} %, {_minutes(progress.seconds_left)} left"
        )
        if not self._terminal.is_terminal:
            tenth = int(10 * progress.done_share)
            if tenth > self._told:
                self._told = tenth
                self.note(f"{10 * tenth:3d} %  {line}")
            return
        if self._bar is None:
            self._bar = Bar(
                TextColumn("  training"), BarColumn(), TextColumn("{task.description}"),
                console=self._terminal, transient=True,
            )  # fmt: skip
            self._bar.start()
            self._task = self._bar.add_task(line, total=1.0)
        self._bar.update(self._task, completed=progress.done_share, description=line)

    def _close_bar(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def analysis(self, found: Analysis) -> None:
        """Groups, frozen parts with reasons, and the share that can be pruned."""
        groups = Table(title="Groups: units that move together", title_justify="left")
        for column in ("group", "units", "exact", "written by", "read by"):
            groups.add_column(column, justify="right" if column == "units" else "left")
        for group in found.groups:
            writes = [m.parameter for m in group.members if m.role == "writes"]
            reads = [m.parameter for m in group.members if m.role == "reads"]
            exact = "yes" if group.exact else "no"
            groups.add_row(group.name, str(group.units), exact, _few(writes), _few(reads))
        self._terminal.print(groups)
        frozen = Table(title="Frozen, and why", title_justify="left")
        for column in ("parameters", "reason", "operator", "module", "source"):
            frozen.add_column(column, justify="right" if column == "parameters" else "left")
        for entry in found.frozen:
            frozen.add_row(
                f"{entry.parameters:,}", entry.reason, entry.op, entry.where, entry.source
            )
        self._terminal.print(frozen)
        model = found.model
        self._terminal.print(
            f"{model.architecture}: {model.parameters:,} parameters, {model.macs:,} MACs for one "
            f"sample; {100 * found.prunable_parameters:.2f} % of the parameters are in prunable "
            f"groups ({len(found.groups)} groups)"
        )

    def plan(self, made: Plan) -> None:
        """Widths before and after, and what they cost."""
        table = Table(title="Widths", title_justify="left")
        for column in ("group", "before", "after", "kept"):
            table.add_column(column, justify="left" if column == "group" else "right")
        for group in made.groups:
            share = f"{100 * group.width / group.units:.0f} %"
            table.add_row(group.name, str(group.units), str(group.width), share)
        self._terminal.print(table)
        for name in ("params", "macs", "channels"):
            before, after = getattr(made.before, name), getattr(made.after, name)
            gone = 100 * (1 - after / before) if before else 0.0
            self._terminal.print(f"{name:9}{before:>16,} -> {after:>16,}   {gone:.2f} % fewer")
        for warning in made.warnings:
            self.note(f"warning: {warning}")

    def result(self, verdict: str, status: str, lines: Sequence[str], page: Path) -> None:
        """The verdict of a finished run, what must be said with it, and where its page is."""
        self._terminal.print(f"\n[bold]{status}[/bold]: {verdict}")
        for text in lines:
            self.note(text)
        self._terminal.print(f"report: {page}")


def _describe(length: Deadline | Epochs) -> str:
    if isinstance(length, Epochs):
        return f"{length.count} epochs"
    return _minutes(length.seconds)


def _minutes(seconds: float) -> str:
    if seconds >= 90:
        return f"{seconds / 60:.1f} minutes"
    return f"{seconds:.0f} seconds"


def _few(names: list[str], most: int = 3) -> str:
    shown = ", ".join(names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown
