"""Tell a person at a terminal what is being done, how long it takes, and what came of it."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

_REDRAW_SECONDS = 0.2
_FRAMES = "|/-\\"


class Step:
    """A step at work: ``detail`` is what it does now, ``result`` what it says at its end."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.detail = ""
        self.result = ""

    def __call__(self, line: str) -> None:
        """Say what the step does now; the signature of every ``progress`` parameter."""
        self.detail = line


class Steps:
    """Prints a line for each step; on a terminal it turns while the step works, elsewhere it is written once."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._live = self._stream.isatty()

    @contextmanager
    def step(self, title: str) -> Iterator[Step]:
        """Show the step while the body works; its time is told when it took over a second."""
        step, started, done = Step(title), time.monotonic(), threading.Event()
        thread = threading.Thread(target=self._show, args=(step, started, done), daemon=True)
        thread.start()
        ended_well = False
        try:
            yield step
            ended_well = True
        finally:
            done.set()
            thread.join()
            seconds = time.monotonic() - started
            mark = "✓" if ended_well else "✗"
            took = f"  ({seconds:.1f} s)" if seconds >= 1 else ""
            self._line(f"  {mark} {step.title}{': ' + step.result if step.result else ''}{took}\n")

    def _show(self, step: Step, started: float, done: threading.Event) -> None:
        told = ""
        turn = 0
        while not done.wait(_REDRAW_SECONDS):
            seconds = time.monotonic() - started
            if self._live:
                detail = f": {step.detail}" if step.detail else ""
                self._line(f"  {_FRAMES[turn % 4]} {step.title}{detail}  {seconds:.0f} s")
                turn += 1
            elif seconds > 1 and (step.detail or step.title) != told:
                told = step.detail or step.title
                self._line(f"    {step.title}: {step.detail}\n" if step.detail else f"    {step.title} …\n")

    def _line(self, text: str) -> None:
        clear = "\r\x1b[2K" if self._live else ""
        self._stream.write(clear + text)
        self._stream.flush()
