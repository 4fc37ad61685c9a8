"""The deployed sentiment classifier: what is asked of it reaches the model, and what it says is a sentiment."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import async_to_sync

from lepton_app.learning import serving
from lepton_app.learning.models import Deployment, Run, Task
from lepton_app.lib import encoding
from monitoring import sentiment
from monitoring.sentiment import NEGATIVE, NEUTRAL, POSITIVE, Said, Sentiment, UnknownSentiment
from tests.learning import toys


@pytest.mark.parametrize(
    ("found", "label", "score"),
    [
        (Sentiment(0.7, 0.2, 0.1), NEGATIVE, -0.6),
        (Sentiment(0.1, 0.2, 0.7), POSITIVE, 0.6),
        (Sentiment(0.1, 0.8, 0.1), NEUTRAL, 0.0),
        (Sentiment(0.4, 0.4, 0.2), NEUTRAL, -0.2),
        (Sentiment(0.5, 0.0, 0.5), NEGATIVE, 0.0),
    ],
)
def test_label_and_score(found: Sentiment, label: str, score: float) -> None:
    """Neutral wins a draw with either side."""
    assert (found.label, found.score) == (label, score)


@pytest.fixture
def root(tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An artifacts folder of its own, whose installation's encoder is a toy."""
    settings.ARTIFACTS_DIR = tmp_path
    toys.publish_encoder(tmp_path, seed=0, is_shared=True)
    monkeypatch.setattr(encoding, "_service", None)
    monkeypatch.setattr(serving, "_deployed", {})
    yield tmp_path
    if encoding._service is not None:
        encoding._service.close()


def deploy(root: Path, names: list[str]) -> Run:
    task = Task.objects.create(name=sentiment.TASK, title="Sentiment")
    encoder = toys.publish_encoder(root, seed=1)
    artifact = toys.publish_classifier(root, encoder, precision="fp32", names=names).name
    run = Run.objects.create(task=task, status=Run.Status.READY, artifact=artifact, encoder_artifact=encoder.name)
    Deployment.objects.create(task=task, run=run)
    return run


@pytest.mark.django_db
def test_none_is_deployed(root: Path) -> None:
    assert sentiment.current() is None


@pytest.mark.django_db
def test_it_says_the_sentiment_of_each_text_in_order(root: Path) -> None:
    run = deploy(root, [NEGATIVE, POSITIVE])
    found = sentiment.current()
    assert found is not None
    assert found.run_id == run.pk
    assert found.version == f"run-{run.pk}/{run.artifact}"
    asked = [Said("lost my card"), Said("what fees", "fees")]
    said = async_to_sync(found.classify)(asked)
    assert [one.label for one in said] == [NEGATIVE, POSITIVE]
    assert said == found.classify_sync(asked)
    for one in said:
        assert one.neutral == 0.0  # the toy was taught two of the three
        assert one.negative + one.positive == pytest.approx(1)
    assert found.classify_sync([]) == []


@pytest.mark.django_db
def test_the_model_reads_whom_it_is_asked_about(root: Path) -> None:
    deploy(root, [NEGATIVE, POSITIVE])
    found = sentiment.current()
    assert found is not None
    alone, of_card = found.classify_sync([Said("what fees"), Said("what fees", "lost card card")])
    assert of_card.negative > alone.negative


@pytest.mark.django_db
def test_a_model_of_other_labels_is_refused_by_name(root: Path) -> None:
    run = deploy(root, ["bullish", POSITIVE])
    with pytest.raises(UnknownSentiment, match=f"Run #{run.pk} says bullish; a sentiment is negative"):
        sentiment.current()
    assert UnknownSentiment.code == "unknown_sentiment"
