"""The models of a task at work in this process: the deployed one and the shadowed one, swapped when the mark moves.

A serving process runs ``watch()`` from its start to its end; without it, whoever asks for a model at most once a
second also loads it. Whoever got a model keeps it to the end of the call, whatever is deployed meanwhile.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from django.conf import settings

from lepton_app.learning.model import Model, load_model
from lepton_app.learning.models import Deployment, Shadow
from lepton_app.lib.deployed import Deployed, State, Watch

_lock = threading.Lock()


@dataclass(frozen=True)
class Key:
    """What is to be served: a run with its artifacts. ``shadow_id`` is 0 for the deployed run."""

    run_id: int
    artifact: str
    encoder_artifact: str
    shadow_id: int = 0

    def __str__(self) -> str:
        return f"run #{self.run_id}"


@dataclass(frozen=True)
class Served:
    """A model with where it came from."""

    task: str
    run_id: int
    model: Model
    shadow_id: int = 0

    @property
    def version(self) -> str:
        """Names the run and the artifact, for the lineage of what the model said."""
        return f"run-{self.run_id}/{self.model.version}"


Holder = Deployed[Key, Served]
_deployed: dict[str, Holder] = {}
_shadowed: dict[str, Holder] = {}


def served(task_name: str) -> Holder:
    """Return the holder of the task's deployed model; one per process and task."""

    def current_key() -> Key | None:
        row = (
            Deployment.objects.filter(task__name=task_name, ended_at__isnull=True)
            .values_list("run_id", "run__artifact", "run__encoder_artifact")
            .first()
        )
        return Key(*row) if row is not None else None

    return _holder(_deployed, task_name, current_key, name=f"model of {task_name}")


def shadowed(task_name: str) -> Holder:
    """Return the holder of the candidate that runs beside the task's deployed model; one per process and task."""

    def current_key() -> Key | None:
        row = (
            Shadow.objects.filter(task__name=task_name, ended_at__isnull=True)
            .values_list("run_id", "run__artifact", "run__encoder_artifact", "pk")
            .first()
        )
        return Key(*row) if row is not None else None

    return _holder(_shadowed, task_name, current_key, name=f"shadow of {task_name}")


def states() -> dict[str, State[Key]]:
    """Return for each task that this process has served what is at work, since when, and what could not be loaded."""
    with _lock:
        holders = dict(_deployed)
    return {task: holder.state for task, holder in sorted(holders.items())}


def watch() -> Watch:
    """Return a watch over every model that this process serves; the caller starts and stops it."""
    return Watch(_holders)


def _holders() -> list[Holder]:
    with _lock:
        return [*_deployed.values(), *_shadowed.values()]


def _holder(holders: dict[str, Holder], task_name: str, current_key: Callable[[], Key | None], *, name: str) -> Holder:
    def load(key: Key) -> Served:
        model = load_model(settings.ARTIFACTS_DIR, key.artifact, key.encoder_artifact)
        return Served(task=task_name, run_id=key.run_id, model=model, shadow_id=key.shadow_id)

    with _lock:
        return holders.setdefault(task_name, Deployed(current_key, load, name=name))
