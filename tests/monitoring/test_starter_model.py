"""The sentiment model in the box: whole, small, put to work once, and right about what it was made for."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from lepton_app.learning import serving, shipped
from lepton_app.learning.models import Deployment, Label, Run, Task
from lepton_app.lib import encoding
from monitoring import sentiment
from monitoring.sentiment import LABELS, NEGATIVE, NEUTRAL, POSITIVE, Said
from monitoring.starter.model import FOLDER, REASON, deploy_starter_model

MOST_BYTES = 1_500_000


def test_the_folder_is_whole_and_small() -> None:
    found = shipped.read(FOLDER)
    assert found.head.labels == LABELS
    assert found.figures["holdout_rows"] > 1000
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < MOST_BYTES


def test_the_card_states_the_figures_of_the_file() -> None:
    card, figures = (FOLDER / shipped.CARD_FILE).read_text(encoding="utf-8"), shipped.read(FOLDER).figures
    for name, title in (("accuracy", "accuracy"), ("macro_f1", "macro F1"), ("weighted_f1", "weighted F1")):
        stated = re.search(rf"^\| {title} \| ([\d.]+) \|$", card, re.M)
        assert stated is not None
        assert float(stated[1]) == pytest.approx(figures[name], abs=0.0006)
    assert "manage.py bench sentiment --sentfin" in card


@pytest.fixture
def root(tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An artifacts folder of its own."""
    settings.ARTIFACTS_DIR = tmp_path
    monkeypatch.setattr(encoding, "_service", None)
    monkeypatch.setattr(serving, "_deployed", {})
    return tmp_path


@pytest.mark.weights
@pytest.mark.django_db(transaction=True)
def test_it_goes_to_work_once_and_reads_whom_it_is_asked_about(root: Path) -> None:
    deployed = deploy_starter_model()
    assert deployed is not None
    run = Run.objects.get()
    assert (run.status, run.method, deployed.run, deployed.reason) == (Run.Status.READY, "lora", run, REASON)
    assert set(Label.objects.values_list("name", flat=True)) == set(LABELS)
    assert run.metrics["accuracy"] == shipped.read(FOLDER).figures["accuracy"]

    found = sentiment.current()
    assert found is not None
    title = "Halden Air falls as Brightwing gains"
    asked = {
        Said(title, "Halden Air"): NEGATIVE,
        Said(title, "Brightwing"): POSITIVE,
        Said("Orlan Steel net profit jumps 40 pc"): POSITIVE,
        Said("Shares of Orlan Steel crash on fraud charges"): NEGATIVE,
        Said("Orlan Steel to hold annual meeting on Tuesday", "Orlan Steel"): NEUTRAL,
    }
    said = found.classify_sync(list(asked))
    assert [one.label for one in said] == list(asked.values())
    for one in said:
        assert one.negative + one.neutral + one.positive == pytest.approx(1)

    assert deploy_starter_model() is None  # it is at work
    artifacts_before = sorted(root.iterdir())
    Deployment.objects.update(ended_at=timezone.now())
    serving._deployed.clear()
    again = deploy_starter_model()  # neither exported nor made a run of again
    assert again is not None
    assert again.run == run
    assert sorted(root.iterdir()) == artifacts_before


@pytest.mark.django_db
def test_a_model_with_labels_of_its_own_is_left_at_work(root: Path) -> None:
    from tests.learning import toys

    encoder = toys.publish_encoder(root, seed=1)
    artifact = toys.publish_classifier(root, encoder, precision="fp32", names=["bullish", "bearish"]).name
    task = Task.objects.create(name=sentiment.TASK, title="Sentiment")
    run = Run.objects.create(task=task, status=Run.Status.READY, artifact=artifact, encoder_artifact=encoder.name)
    Deployment.objects.create(task=task, run=run)
    assert deploy_starter_model() is None
    assert Deployment.objects.get().run == run
