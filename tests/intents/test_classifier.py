"""The face of the deployed intent classifier, over models as they are served."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from intents import classifier
from lepton_app.learning.models import Deployment, Run
from lepton_app.lib import encoding
from tests.learning import toys

pytestmark = pytest.mark.django_db


@pytest.fixture
def root(tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    yield from toys.installation(tmp_path, settings, monkeypatch)


def at_work(run: Run) -> classifier.IntentClassifier:
    Deployment.objects.create(task=run.task, run=run)
    found = classifier.current()
    assert found is not None
    return found


def test_nothing_deployed_is_none(root: Path) -> None:
    assert classifier.current() is None


@pytest.mark.parametrize("is_own", [False, True])
def test_a_text_is_classified_from_the_rows_that_the_model_reads(root: Path, is_own: bool) -> None:
    encoder = toys.publish_encoder(root, seed=1) if is_own else encoding.encoder_directory()
    run = toys.ready_run(toys.labelled_task(), root, encoder, is_own=is_own)
    model = at_work(run)
    assert (model.run_id, model.owns_encoder) == (run.pk, is_own)
    assert model.version == f"run-{run.pk}/{run.artifact}"
    for text, label in (("lost my card", "card"), ("how much are fees", "fees")):
        row = asyncio.run(model.encode(text))
        assert row.shape == (toys.DIMENSION,)
        assert model.classify(text, row).labels[0] == label
    shared = encoding.encoder_service().encode_sync(["lost my card"])[0]
    assert bool((shared == asyncio.run(model.encode("lost my card"))).all()) is not is_own
