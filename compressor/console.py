"""What a person sees on the terminal: stages, a training bar, tables, the verdict.

Comes in: finished values and progress.  Goes out: text.  Decides nothing.  Names
come from files, so nothing in a text is markup, and what is not printable is spelled out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console as Terminal
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar
from rich.text import Text

from compressor.pacing import Deadline
from compressor.tables import answers, widths
from compressor.tables.text import visible

if TYPE_CHECKING:
    from rich.table import Table

    from compressor.cards import Card
    from compressor.dimensions import Parameter
    from compressor.explanation import Explanation
    from compressor.loop import Progress
    from compressor.narrowing import Narrowing
    from compressor.types import Plan


class Console:
    """Prints as the build goes; also a ``Listener`` of ``compressor.building``."""

    def __init__(self, *, silent: bool = False) -> None:
        self._terminal = Terminal(
            highlight=False, soft_wrap=True, markup=False, emoji=False, quiet=silent
        )
        self._bar: Bar | None = None
        self._task: Any = None
        self._told = 0
        self._noted = ""

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Show a bar for as long as the build runs."""
        try:
            yield
        finally:
            self._close_bar()

    def stage(self, name: str) -> None:
        self._close_bar()
        self._told, self._noted = 0, ""
        self._say(name, style="bold")

    def note(self, text: str) -> None:
        self._say(f"  {text}")

    def working(self, done_share: float) -> None:
        """Redraw the bar of a stage that is not training; nothing where there is no terminal."""
        if self._terminal.is_terminal:
            self._draw("working", f"{100 * done_share:.0f} %", done_share)

    def step(self, text: str) -> None:
        """One line that the next one replaces; nothing where there is no terminal."""
        if self._terminal.is_terminal:
            self._draw("measuring", text, 0.0)

    def tables(self, found: Sequence[Table], lines: Sequence[str]) -> None:
        """Tables, and the lines below them."""
        self._close_bar()
        for one in found:
            self._terminal.print(one)
        for text in lines:
            self.note(text)

    def training(self, progress: Progress) -> None:
        """Redraw the bar; where there is no terminal, print a line at every tenth."""
        if progress.note and progress.note != self._noted:
            self._noted = progress.note
            self.note(progress.note)
        left = Deadline(max(progress.seconds_left, 0.1))
        line = (
            f"{progress.images_per_s:.0f} images/s, loss {progress.loss:.3f}, "
            f"validation {100 * progress.metric:.1f} %, {left} left"
        )
        if not self._terminal.is_terminal:
            tenth = int(10 * progress.done_share)
            if tenth > self._told:
                self._told = tenth
                self.note(f"{10 * tenth:3d} %  {line}")
            return
        self._draw("training", line, progress.done_share)

    def _draw(self, what: str, line: str, done_share: float) -> None:
        if self._bar is None:
            self._bar = Bar(
                TextColumn(f"  {what}"), BarColumn(),
                TextColumn("{task.description}", markup=False),
                console=self._terminal, transient=True,
            )  # fmt: skip
            self._bar.start()
            self._task = self._bar.add_task("", total=1.0)
        self._bar.update(self._task, completed=done_share, description=visible(line))

    def _close_bar(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def analysis(self, found: Explanation, asked: Sequence[Parameter], *, everything: bool) -> None:
        """The whole network's answers, or those for the parameters ``asked`` about."""
        if asked:
            self._lines(answers.parameter_lines(found, asked, everything=everything))
            return
        self._lines(answers.summary_lines(found))
        self._lines(answers.group_lines(found, everything=everything))
        self._lines(answers.frozen_lines(found, everything=everything))

    def plan(self, made: Narrowing, plan: Plan, *, everything: bool) -> None:
        """Widths and costs before and after."""
        self._lines(widths.width_lines(made, everything=everything))
        if everything:
            self._lines(widths.layer_lines(made))
        self._lines(widths.contest_lines(made, everything=everything))
        self._lines(widths.part_lines(made, plan, everything=everything))
        for warning in plan.warnings:
            self.note(f"warning: {warning}")

    def sections(self, blocks: Sequence[Sequence[str]]) -> None:
        """Blocks of lines, each under its first."""
        for block in blocks:
            self._lines(block)

    def widths(self, lines: Sequence[str]) -> None:
        """Which widths a target likes."""
        self._lines(lines)

    def _lines(self, block: Sequence[str]) -> None:
        """A block under its first line, which stands out; a blank line before it."""
        if block:
            self._terminal.print()
            self._say(block[0], style="bold")
            for line in block[1:]:
                self._say(line)

    def taught(self, card: Card, file: Path, command: str) -> None:
        """What a new teacher can do, where it is, and the command that makes it smaller."""
        told = [
            f"{100 * found.top1:.1f} % on {found.images:,} {name} images"
            for name, found in (("test", card.test), ("validation", card.validation))
            if found is not None
        ]
        self._terminal.print()
        self._say(f"{file}: top-1 {', '.join(told)}")
        self._say(f"smaller: {command}")

    def result(self, verdict: str, status: str, lines: Sequence[str], page: Path) -> None:
        """The verdict of a finished run, what must be said with it, and where its page is."""
        self._terminal.print()
        self._terminal.print(Text.assemble((status, "bold"), ": ", visible(verdict)))
        for text in lines:
            self.note(text)
        self._say(f"report: {page}")

    def _say(self, text: str, style: str | None = None) -> None:
        self._terminal.print(visible(text), style=style)
