"""The deployed classifier of a task at work in this process, swapped when another one is deployed."""

from __future__ import annotations

import functools
from dataclasses import dataclass

from django.conf import settings

from lepton_app.learning.classifier import LinearClassifier
from lepton_app.learning.models import Deployment
from lepton_app.lib.artifacts import ArtifactIncompatible
from lepton_app.lib.deployed import Deployed
from lepton_app.lib.encoding import encoder_service


@dataclass(frozen=True)
class Served:
    """A classifier with where it came from."""

    task: str
    run_id: int
    model: LinearClassifier

    @property
    def version(self) -> str:
        """Names the run and the artifact, for the lineage of what the classifier said."""
        return f"run-{self.run_id}/{self.model.version}"


@functools.cache
def served(task_name: str) -> Deployed[tuple[int, str], Served]:
    """Return the holder of the task's classifier; one per process and task."""

    def current_key() -> tuple[int, str] | None:
        return (
            Deployment.objects.filter(task__name=task_name, ended_at__isnull=True)
            .values_list("run_id", "run__artifact")
            .first()
        )

    def load(key: tuple[int, str]) -> Served:
        run_id, artifact = key
        model = LinearClassifier.load(settings.ARTIFACTS_DIR / artifact)
        serving = encoder_service().encoder.version
        if model.encoder_version != serving:
            raise ArtifactIncompatible(
                f"run #{run_id} was trained on the rows of encoder {model.encoder_version}, this process encodes with "
                f"{serving}; train again, or set LEPTON_ENCODER and LEPTON_ENCODER_PRECISION back"
            )
        return Served(task=task_name, run_id=run_id, model=model)

    return Deployed(current_key, load, name=f"classifier of {task_name}")
