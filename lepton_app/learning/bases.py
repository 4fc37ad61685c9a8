"""Which earlier run another one may start from, and what it then takes over.

- After **pre-training**, any method that tunes goes on from the adapted encoder.
- A **warm start** goes on with the adapter and the head of a run of the same method and shape; options of shape that
  nobody set are the earlier run's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.utils.translation import gettext

from lepton_app.learning import snapshots
from lepton_app.learning.config import TrainingConfig
from lepton_app.learning.errors import BaseUnusable
from lepton_app.learning.models import Run, Task
from lepton_app.lib import artifacts

if TYPE_CHECKING:
    from lepton_app.learning.training import Base

# What gives an adapter its shape, by method; full tuning has none.
_LORA = ("rank", "alpha", "targets")
SHAPES: Mapping[str, tuple[str, ...]] = {
    "contrastive": _LORA,
    "lora": _LORA,
    "adalora": (*_LORA, "initial_rank"),
    "ia3": ("targets",),
    "prompt": ("prompt_tokens",),
    "full": (),
}


def inherited(base: Run, method: str, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``changes`` with the earlier run's encoder and, for a warm start, its options of shape where not set."""
    kept = ("encoder",) if base.method == Run.Method.PRETRAIN else ("encoder", *SHAPES.get(method, ()))
    return {**{name: base.config[name] for name in kept if name in base.config}, **changes}


def check(task: Task, config: TrainingConfig, base: Run) -> None:
    """Refuse a run that cannot be started from. Raises ``BaseUnusable``."""
    problem = _problem(task, config, base)
    if problem:
        raise BaseUnusable(
            gettext("Run #%(number)s cannot be started from: %(problem)s") % {"number": base.pk, "problem": problem}
        )


def _problem(task: Task, config: TrainingConfig, base: Run) -> str:
    if base.task_id != task.pk:
        return gettext("it belongs to the task “%(task)s”.") % {"task": base.task.name}
    if base.status != Run.Status.READY:
        return gettext("it is %(status)s and not ready.") % {"status": base.get_status_display().lower()}
    if config.method == "head":
        return gettext("a head uses the installation's encoder; choose a method that tunes, for example lora.")
    if not base.encoder_artifact:
        return gettext("it has no adapter; only runs that tune an encoder have one.")
    try:
        artifacts.peek(settings.ARTIFACTS_DIR / base.encoder_artifact)
    except artifacts.ArtifactError as error:
        return gettext("its encoder cannot be read (%(code)s).") % {"code": error.code}
    if config.encoder != base.config.get("encoder", ""):
        return gettext("it started from another encoder.")
    if base.method == Run.Method.PRETRAIN:
        return ""
    if base.method != config.method:
        return gettext("its method is %(method)s; use the same one.") % {"method": base.method}
    if base.config.get("layers"):
        return gettext("its layers were dropped, and what was learnt belongs to them.")
    wanted = config.model_dump()
    others = [name for name in SHAPES.get(config.method, ()) if base.config.get(name) != wanted[name]]
    if others:
        said = ", ".join(f"{name}={base.config.get(name)}" for name in others)
        return gettext("its adapter has another shape; use %(options)s.") % {"options": said}
    return ""


def base_of(run: Run) -> Base:
    """Return what the training of a run starts from. Its artifacts are verified where they are read."""
    from lepton_app.learning.training import Base

    earlier = run.base
    if earlier is None:
        return Base()
    root = settings.ARTIFACTS_DIR
    if earlier.method == Run.Method.PRETRAIN:
        return Base(lineage=(root / earlier.encoder_artifact,))
    origin: Run | None = earlier
    while origin is not None and origin.method != Run.Method.PRETRAIN:
        origin = origin.base
    return Base(
        lineage=(root / origin.encoder_artifact,) if origin is not None else (),
        warm=root / earlier.encoder_artifact,
        learnt=_learnt_by(earlier),
    )


def _learnt_by(run: Run) -> frozenset[str]:
    """Return the texts that a run has learnt; none where its snapshot is gone, so that all count as new."""
    if run.snapshot is None:
        return frozenset()
    try:
        return frozenset(snapshots.read(run.snapshot).train.texts)
    except artifacts.ArtifactError:
        return frozenset()
