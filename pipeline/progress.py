"""Show the progress of a run: a bar on a terminal, lines in a file, or nothing.

A file, a pipe, Slurm and CI get a line when a unit starts and ends, and one per minute between.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Self

from rich.progress import BarColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from study.terminal import Terminal
from study.text import visible

#: Seconds between lines about a running unit.
MINUTE = 60.0


class Progress:
    """Receives progress from an engine and shows nothing; its subclasses show it."""

    def start(self, size: float, count: int) -> None:
        """Start a list of jobs with this total size and number."""

    def begin(self, title: str) -> None:
        """Start a job."""

    def at(self, done: float, title: str | None = None) -> None:
        """Receive how much of the total size is done, and what is running."""

    def end(self, title: str, fault: str | None = None) -> None:
        """End a job, whether or not it failed."""

    def note(self, text: str) -> None:
        """Receive a detail, shown only on request."""

    def __enter__(self) -> Self:
        """Show progress until the context ends."""
        return self

    def __exit__(self, *unused: object) -> None:
        """Remove the display."""


class OnTerminal(Progress):
    """A bar with the remaining time.

    Parameters
    ----------
    console : Terminal
    verbose : bool
    """

    def __init__(self, console: Terminal, verbose: bool = False) -> None:
        self._verbose = verbose
        self._bar = Bar(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
        )
        self._line: TaskID | None = None

    def start(self, size: float, count: int) -> None:
        """Add a line to the bar."""
        self._line = self._bar.add_task("", total=max(size, 1), visible=bool(count))

    def begin(self, title: str) -> None:
        """Show the title."""
        if self._line is not None:
            self._bar.update(self._line, description=visible(title))

    def at(self, done: float, title: str | None = None) -> None:
        """Move the bar."""
        if self._line is not None:
            self._bar.update(self._line, completed=done)
            if title is not None:
                self.begin(title)

    def note(self, text: str) -> None:
        """Print a line above the bar."""
        if self._verbose:
            self._bar.console.print(text)

    def __enter__(self) -> Self:
        """Show the bar."""
        self._bar.start()
        return self

    def __exit__(self, *unused: object) -> None:
        """Leave the bar as it is."""
        self._bar.stop()


class Lines(Progress):
    """Lines with the time of day: start and end of each job, and one per minute between.

    Parameters
    ----------
    write : callable
        Takes a line.
    verbose : bool
    clock : callable
        Returns seconds and never runs backward.

    Examples
    --------
    >>> seconds = iter([0, 0, 30, 90, 90])
    >>> lines = Lines(lambda line: print(line[9:]), clock=lambda: next(seconds))
    >>> lines.start(100, 1)
    >>> lines.begin("gpt2, trained, comprehension")
    gpt2, trained, comprehension: started (1 of 1)
    >>> lines.at(10)
    >>> lines.at(50)
    gpt2, trained, comprehension: 50% of all after 1 min 30 s, about 1 min 30 s left
    >>> lines.end("gpt2, trained, comprehension")
    gpt2, trained, comprehension: done in 1 min 30 s, about 1 min 30 s left
    """

    def __init__(
        self,
        write: Callable[[str], object],
        verbose: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._write, self._verbose, self._clock = write, verbose, clock
        self._size, self._count, self._done = 1.0, 0, 0.0
        self._began: dict[str, float] = {}
        self._number = 0
        self._start = self._said = clock()
        self._one = threading.RLock()
        self._ended = threading.Event()

    def start(self, size: float, count: int) -> None:
        """Start a list of jobs."""
        self._size, self._count, self._done, self._number = max(size, 1), count, 0.0, 0
        self._began = {}
        self._start = self._said

    def begin(self, title: str) -> None:
        """Write that a job starts."""
        if title in self._began:
            return
        self._said = self._began[title] = self._clock()
        if not self._number:
            self._start = self._said
        self._number += 1
        self._say(f"{title}: started ({self._number} of {self._count})")

    def at(self, done: float, title: str | None = None) -> None:
        """Write the progress if nothing was written for a minute."""
        with self._one:
            self._done = done
            now = self._clock()
            if now - self._said >= MINUTE:
                self._said = now
                what = title or next(reversed(self._began), "waiting")
                share = f"{min(done / self._size, 1):.0%} of all"
                self._say(f"{what}: {share} after {duration(now - self._start)}{self._left(now)}")

    def end(self, title: str, fault: str | None = None) -> None:
        """Write that a job ends."""
        self._said = now = self._clock()
        took = duration(now - self._began.get(title, now))
        said = f"failed after {took}: {fault}" if fault else f"done in {took}{self._left(now)}"
        self._say(f"{title}: {said}")

    def note(self, text: str) -> None:
        """Write a detail."""
        if self._verbose:
            self._say(text)

    def __enter__(self) -> Self:
        """Start a thread that writes a line per minute while a job reports nothing."""
        threading.Thread(target=self._keep_minute, daemon=True).start()
        return self

    def __exit__(self, *unused: object) -> None:
        """Stop the thread."""
        self._ended.set()

    def _keep_minute(self) -> None:
        while not self._ended.wait(MINUTE / 12):
            with self._one:
                if self._began:
                    self.at(self._done)

    def _left(self, now: float) -> str:
        """Return the remaining time, from the rate so far."""
        if not 0 < self._done < self._size:
            return ""
        left = (now - self._start) * (self._size / self._done - 1)
        return f", about {duration(left)} left"

    def _say(self, text: str) -> None:
        self._write(f"{time.strftime('%H:%M:%S')} {text}")


def progress(console: Terminal, quiet: bool = False, verbose: bool = False) -> Progress:
    """Return the kind of progress that suits a console.

    Parameters
    ----------
    console : Terminal
    quiet : bool
        Show nothing.
    verbose : bool
        Also show details.
    """
    if quiet:
        return Progress()
    if console.is_terminal:
        return OnTerminal(console, verbose)
    return Lines(lambda line: console.print(line, soft_wrap=True), verbose)


def duration(seconds: float) -> str:
    """Return a duration in a readable form.

    Examples
    --------
    >>> duration(7.4), duration(95), duration(3 * 3600 + 61)
    ('7 s', '1 min 35 s', '3 h 1 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
