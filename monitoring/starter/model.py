"""The sentiment model in the box: from the adapter beside this module to a deployed run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from lepton_app.learning import deployments, shipped
from lepton_app.learning.models import Deployment, Task
from monitoring import sentiment

FOLDER = Path(__file__).with_name("sentiment")
# What stands in the deployment's record in place of the gate's verdict: the run has no snapshot of labels here.
REASON = "Comes with the project; its figures are those of its model card."


def is_needed() -> bool:
    """Tell whether no sentiment model is at work here; one with labels of its own is somebody's choice."""
    try:
        return sentiment.current() is None
    except sentiment.UnknownSentiment:
        return False


def deploy_starter_model(*, progress: Callable[[str], None] = lambda line: None) -> Deployment | None:
    """Put the model in the box to work where no sentiment model is; None, and nothing changes, where one is.

    Also where a model is deployed that cannot be loaded any more. Raises ``LearningError``, ``ExportError`` and
    ``ArtifactError``. Call it outside any transaction.
    """
    if not is_needed():
        return None
    task, _made = Task.objects.get_or_create(
        name=sentiment.TASK,
        defaults={
            "title": "Sentiment",
            "description": "How news items and posts speak of a company, a commodity, an index or a currency.",
        },
    )
    return deployments.deploy(shipped.install(FOLDER, task, progress=progress), reason=REASON)
