"""Where the curves of a run are followed besides its row: TensorBoard's files always, Weights & Biases by its key.

What is told are figures and the configuration, never a text. A tracker that cannot work says so in the log, and the
run goes on without it.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import math
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from django.conf import settings

from lepton_app.learning.models import Run

logger = logging.getLogger(__name__)

_CURVES = {
    "loss": "train/loss",
    "learning_rate": "train/learning_rate",
    "epoch": "train/epoch",
    "validation_loss": "validation/loss",
    "accuracy": "validation/accuracy",
}


class Tracker(Protocol):
    """Follows one run."""

    def point(self, point: Mapping[str, Any]) -> None:
        """Take a point of the history."""

    def figures(self, figures: Mapping[str, Any]) -> None:
        """Take the figures at the end; those that are no numbers are left out."""

    def close(self) -> None:
        """Write what is left and end."""


class TensorBoard:
    """Writes event files for ``tensorboard --logdir``; loading its library loads torch where that is installed."""

    def __init__(self, run: Run) -> None:
        """Begin a file in the run's folder; what an earlier run of the same number left there goes."""
        from tensorboardX import SummaryWriter

        folder = tensorboard_folder(run)
        if run.attempts <= 1:
            shutil.rmtree(folder, ignore_errors=True)
        # A name of its own for each attempt: files are named by the second.
        self._writer = SummaryWriter(str(folder), flush_secs=10, filename_suffix=f".attempt-{run.attempts}")
        self._step = 0
        text = "\n".join(f"    {line}" for line in json.dumps(run.config, indent=1, sort_keys=True).splitlines())
        self._writer.add_text("configuration", text)

    def point(self, point: Mapping[str, Any]) -> None:
        """Write a point."""
        self._step = point["step"]
        for name, tag in _CURVES.items():
            if point.get(name) is not None:
                self._writer.add_scalar(tag, point[name], self._step)

    def figures(self, figures: Mapping[str, Any]) -> None:
        """Write the figures at the last step."""
        for name, value in numbers(figures).items():
            self._writer.add_scalar(f"final/{name}", value, self._step)

    def close(self) -> None:
        """Close the file."""
        self._writer.close()


class WeightsAndBiases:
    """Sends the curves to Weights & Biases, as run ``<task>-<number>`` of the project in the settings."""

    def __init__(self, run: Run, *, folder: Path) -> None:
        """Begin; ``folder`` takes its files. A run that is resumed goes on under the same name."""
        import wandb

        self._run = wandb.init(
            project=settings.WANDB_PROJECT,
            id=f"{run.task.name}-{run.pk}",
            name=f"{run.task.name} #{run.pk}",
            resume="allow",
            dir=str(folder),
            config=dict(run.config),
            # Nothing of this machine goes along but what the arguments above say.
            settings=wandb.Settings(
                api_key=settings.WANDB_API_KEY,
                silent=True,
                console="off",
                save_code=False,
                disable_code=True,
                disable_git=True,
                x_disable_meta=True,
                x_disable_stats=True,
                x_disable_machine_info=True,
                x_save_requirements=False,
            ),
        )

    def point(self, point: Mapping[str, Any]) -> None:
        """Send a point."""
        told = {tag: point[name] for name, tag in _CURVES.items() if point.get(name) is not None}
        self._run.log(told, step=point["step"])

    def figures(self, figures: Mapping[str, Any]) -> None:
        """Send the figures as the run's summary."""
        self._run.summary.update(numbers(figures))

    def close(self) -> None:
        """Send what is left."""
        self._run.finish()


class _Safe:
    """A tracker whose first failure is logged and silences it."""

    def __init__(self, make: Callable[[], Tracker], name: str) -> None:
        self._name = name
        self._tracker: Tracker | None = None
        with self._borne():
            self._tracker = make()

    def point(self, point: Mapping[str, Any]) -> None:
        with self._borne():
            if self._tracker is not None:
                self._tracker.point(point)

    def figures(self, figures: Mapping[str, Any]) -> None:
        with self._borne():
            if self._tracker is not None:
                self._tracker.figures(figures)

    def close(self) -> None:
        with self._borne():
            if self._tracker is not None:
                self._tracker.close()

    @contextmanager
    def _borne(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # noqa: BLE001 - no tracker is worth a training
            self._tracker = None
            # The type alone: a library's message may repeat what it was given, and so the key.
            logger.warning("%s does not follow this run any further (%s)", self._name, type(error).__name__)


def trackers_of(run: Run, *, folder: Path) -> list[Tracker]:
    """Return what follows the run; ``folder`` may be written to. Never raises."""
    found: list[Tracker] = [_Safe(lambda: TensorBoard(run), "TensorBoard")]
    if settings.WANDB_API_KEY:
        if importlib.util.find_spec("wandb") is None:
            logger.warning("WANDB_API_KEY is set, but the package wandb is not installed: pip install wandb")
        else:
            found.append(_Safe(lambda: WeightsAndBiases(run, folder=folder), "Weights & Biases"))
    return found


def tensorboard_folder(run: Run) -> Path:
    """Return where the run's event files lie; ``tensorboard --logdir`` takes its parents as well."""
    return Path(settings.DATA_DIR) / "runs-tensorboard" / run.task.name / f"run-{run.pk}"


def numbers(figures: Mapping[str, Any]) -> dict[str, float]:
    """Return the figures that are finite numbers.

    >>> numbers({"accuracy": 0.5, "rows": 7, "served_precision": "int8", "ece": None, "is_new": True})
    {'accuracy': 0.5, 'rows': 7}
    """
    return {
        name: value
        for name, value in figures.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    }
