"""What a trained model is worth: its report on the hold-out, its card, and what the gate says of it.

The report is an artifact of its own; the verdict is against the model that is at work at this moment.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from django.conf import settings
from django.utils.translation import gettext

from lepton_app.learning import gate
from lepton_app.learning.cards import Card, model_card
from lepton_app.learning.config import TrainingConfig
from lepton_app.learning.datasets import Dataset
from lepton_app.learning.evaluation import headline, measure, save_report
from lepton_app.learning.figures import Report
from lepton_app.learning.model import load_model
from lepton_app.learning.models import Deployment, Run
from lepton_app.learning.progress import RowReporter
from lepton_app.lib.encoder_export import encoder_name

if TYPE_CHECKING:
    from lepton_app.learning.training import Trained


def measure_and_judge(
    run: Run,
    dataset: Dataset,
    trained: Trained,
    config: TrainingConfig,
    reporter: RowReporter,
    published: list[Path],
) -> None:
    """Measure the exported model on the hold-out, keep report and card, and ask the gate; sets the run's fields.

    ``published`` receives the report's folder. Nothing is written to the row. Raises what reading, measuring and
    publishing raise.
    """
    assert trained.classifier is not None
    reporter.stage(gettext("Measuring on %(count)s texts that were held out") % {"count": len(dataset.holdout)})
    model = load_model(settings.ARTIFACTS_DIR, run.artifact, run.encoder_artifact)
    try:
        report = measure(
            model,
            dataset,
            artifact=trained.classifier,
            figures=trained.figures,
            history=reporter.history,  # type: ignore[arg-type]  # the points as JSON, with their stage
            about={
                "run": run.pk,
                "task": run.task.name,
                "method": run.method,
                "config": run.config,
                "snapshot": run.snapshot.sha256 if run.snapshot is not None else "",
            },
        )
    finally:
        model.close()
    path = save_report(report, settings.ARTIFACTS_DIR, card=_card(run, dataset, trained, config, report))
    published.append(path)
    run.report_artifact = path.name
    run.metrics |= headline(report)
    reporter.stage(gettext("Asking the gate"))
    at_work = Deployment.objects.filter(task=run.task, ended_at__isnull=True).select_related("run__snapshot").first()
    judgement = gate.compare(run, at_work.run if at_work is not None else None)
    run.verdict, run.gate = judgement.verdict, dict(judgement.as_json())


def _card(run: Run, dataset: Dataset, trained: Trained, config: TrainingConfig, report: Report) -> str:
    return model_card(
        Card(
            run.task.name,
            config,
            dataset.labels,
            encoder_name(config.encoder or settings.LEPTON_ENCODER or None),
            {"training": len(dataset.train), "validation": len(dataset.validation), "hold-out": len(dataset.holdout)},
            trained.figures,
            report=report,
            snapshot_sha256=run.snapshot.sha256 if run.snapshot is not None else "",
        )
    )
