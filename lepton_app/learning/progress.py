"""What a run at work says of itself: into its row, to a terminal, and to trackers. A ``Reporter`` of the training.

The row is written at the beginning of every stage and then at most once a second. Its ``progress`` has ``stage``,
``done``, ``total``, ``epoch``, ``loss``, ``learning_rate`` and ``seconds_left``, each where it is known; its
``history`` has the points of the curves, at most ``MOST_POINTS``, with the stage that each belongs to. Steps go on
counting from stage to stage.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from django.utils.translation import gettext

from lepton_app.learning.claims import Claim
from lepton_app.learning.datasets import Point
from lepton_app.learning.trackers import Tracker

MOST_POINTS = 500
WRITE_SECONDS = 1.0
HISTORY_SECONDS = 5.0
_STEP_CHARS = 200


class RowReporter:
    """Tells a run's row what is done. Each call may raise ``RunCancelled`` or ``RunLost``."""

    def __init__(
        self,
        claim: Claim,
        *,
        history: Sequence[Mapping[str, Any]] = (),
        say: Callable[[str], None] = lambda line: None,
        trackers: Sequence[Tracker] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Go on from the ``history`` of an earlier attempt, and ``say`` the same in one line for people."""
        self._claim, self._say, self._trackers, self._clock = claim, say, trackers, clock
        self._history = [dict(point) for point in history]
        self._stage, self._done, self._total = "", 0, 0
        self._newest: Point | None = None
        self._began: tuple[float, int] | None = None  # when the first steps of the stage were reported, and how many
        self._offset: int | None = None  # steps of earlier stages; None until the stage's first point
        self._written = self._history_written = float("-inf")
        self._has_new_points = False

    @property
    def history(self) -> list[dict[str, Any]]:
        """The points so far, oldest first."""
        return list(self._history)

    def stage(self, name: str) -> None:
        """Begin a stage."""
        self._stage, self._done, self._total = name, 0, 0
        self._newest, self._began, self._offset = None, None, None
        self._write(self._clock())

    def steps(self, done: int, total: int, point: Point | None = None) -> None:
        """Say how far the stage is."""
        now = self._clock()
        self._done, self._total = done, total
        if self._began is None:
            self._began = (now, done)
        if point is not None:
            self._add(point)
        if now - self._written >= WRITE_SECONDS:
            self._write(now)

    def flush(self) -> None:
        """Write what has not been written yet."""
        self._history_written = float("-inf")
        self._write(self._clock())

    def _add(self, point: Point) -> None:
        if self._offset is None:
            # A run that goes on from a checkpoint says some points again: those of the earlier attempt give way.
            earlier = [old for old in self._history if old["stage"] != self._stage]
            offset = max((old["step"] for old in earlier), default=0)
            same = [old for old in self._history if old["stage"] == self._stage and old["step"] < offset + point.step]
            self._offset, self._history = offset, earlier + same
        self._newest = point
        told = {**asdict(point), "step": self._offset + point.step, "stage": self._stage}
        self._history = thinned([*self._history, told])
        self._has_new_points = True
        for tracker in self._trackers:
            tracker.point(told)

    def _write(self, now: float) -> None:
        left = self._seconds_left(now)
        line = line_of(self._stage, self._done, self._total, self._newest, left)
        changes: dict[str, Any] = {"step": self._stage[:_STEP_CHARS], "progress": self._progress(left)}
        if self._has_new_points and now - self._history_written >= HISTORY_SECONDS:
            changes["history"] = self._history
            self._history_written, self._has_new_points = now, False
        self._written = now
        self._claim.say(**changes)
        self._say(line)

    def _progress(self, left: float | None) -> dict[str, Any]:
        told: dict[str, Any] = {"stage": self._stage}
        if self._total:
            told |= {"done": self._done, "total": self._total}
        if self._newest is not None:
            point = self._newest
            told |= {"epoch": round(point.epoch, 3), "loss": point.loss, "learning_rate": point.learning_rate}
        if left is not None:
            told["seconds_left"] = round(left)
        return told

    def _seconds_left(self, now: float) -> float | None:
        if self._began is None or not self._total:
            return None
        began, done_before = self._began
        if self._done <= done_before or now <= began:
            return None
        return (now - began) / (self._done - done_before) * max(0, self._total - self._done)


def thinned(points: list[dict[str, Any]], *, most: int = MOST_POINTS) -> list[dict[str, Any]]:
    """Return at most about ``most`` points: where there are more, every second without validation figures goes.

    The first and the last stay.

    >>> points = [{"step": step, "accuracy": 0.5 if step == 2 else None} for step in range(7)]
    >>> [point["step"] for point in thinned(points, most=6)]
    [0, 2, 3, 5, 6]
    """
    if len(points) <= most:
        return points
    kept, plain = [], 0
    for place, point in enumerate(points):
        is_plain = point.get("accuracy") is None and point.get("validation_loss") is None
        plain += is_plain
        if not is_plain or plain % 2 or place == len(points) - 1:
            kept.append(point)
    return kept


def line_of(stage: str, done: int, total: int, point: Point | None, seconds_left: float | None) -> str:
    """Return what a terminal shows of a run at work.

    >>> line_of("Tuning on 900 texts", 30, 120, Point(30, 1.0, 0.5123, 2e-4), 190.0)
    'Tuning on 900 texts  [#####---------------]  25 %  loss 0.512  3 min 10 s left'
    >>> line_of("Exporting to ONNX", 0, 0, None, None)
    'Exporting to ONNX'
    """
    if not total:
        return stage
    share = min(1.0, done / total)
    bar = "#" * int(share * 20) + "-" * (20 - int(share * 20))
    parts = [f"{stage}  [{bar}] {share * 100:3.0f} %"]
    if point is not None:
        parts.append(f"loss {point.loss:.3f}")
    if seconds_left is not None:
        minutes, seconds = divmod(round(seconds_left), 60)
        clock = f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
        parts.append(gettext("%(time)s left") % {"time": clock})
    return "  ".join(parts)
