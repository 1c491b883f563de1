"""How a learning run is drawn while it runs: one bar for each step, and the training's curve.

Knows the run's message; asks no server for it.
"""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Column
from rich.text import Text

from ratchet.cli.curve import curve_table
from ratchet.v1 import learning_pb2 as pb

BAR_CELLS = 30
# The longest usual step name is "evaluate"; a longer one widens the column.
NAME_CELLS = 9


class _Detail(ProgressColumn):
    """What the learner says of the step, on one line: with the bar, the only column that a narrow terminal cuts."""

    def __init__(self) -> None:
        super().__init__(table_column=Column(no_wrap=False))

    def render(self, task: Task) -> Text:
        return Text(task.fields["detail"], no_wrap=True, overflow="ellipsis")


class StepBars:
    """The steps of one run on a console; use as a context manager."""

    def __init__(self, console: Console, *, indent: int = 0, quiet: bool = False) -> None:
        """Draws nothing yet.

        Args:
            console: Where; if it is no terminal the bars are printed once, at the end.
            indent: Blank cells before each line.
            quiet: Draw nothing at all.
        """
        self._progress = Progress(
            TextColumn(f"{' ' * indent}{{task.description:<{NAME_CELLS}}}", markup=False),
            BarColumn(BAR_CELLS),
            TextColumn("{task.percentage:>3.0f}%"),
            _Detail(),
            TimeElapsedColumn(),
            console=console,
            auto_refresh=False,
        )
        self._quiet = quiet
        self._run = pb.Run()
        self._task: TaskID | None = None
        self._step = ""
        self._live = Live(console=console, get_renderable=self._drawn, refresh_per_second=4)

    def show(self, run: pb.Run) -> None:
        """The run as it is now. A new step ends the one before; a run that failed leaves its last bar where it was."""
        self._run = run
        if run.step and run.step != self._step:
            if self._task is not None:
                self._progress.update(self._task, completed=1)
            self._step, self._task = run.step, self._progress.add_task(run.step, total=1, detail="")
        if self._task is not None:
            done = 1 if run.state == pb.RUN_STATE_SUCCEEDED else run.progress
            self._progress.update(self._task, completed=done, detail=run.detail)

    def __enter__(self) -> Self:
        if not self._quiet:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._quiet:
            return
        self._live.stop()
        if not self._live.console.is_interactive:
            # Live ends without a new line where it cannot go back over what it drew.
            self._live.console.print()

    def _drawn(self) -> Group:
        return Group(self._progress, *([curve_table(self._run.losses)] if self._step == "train" else []))
