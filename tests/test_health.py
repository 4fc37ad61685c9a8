"""What the process says of itself: to everybody in a word for each component, to staff with reasons."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from lepton_app import health
from lepton_app.learning import serving
from lepton_app.learning.models import Deployment, Run, Task
from lepton_app.lib import encoding
from tests.learning import toys

pytestmark = pytest.mark.django_db


@pytest.fixture
def root(tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setitem(health._PROBES, "index", lambda: "ok")
    yield from toys.installation(tmp_path, settings, monkeypatch)


def ready(client: Client) -> tuple[int, dict[str, Any]]:
    response = client.get("/readyz")
    return response.status_code, json.loads(response.content)


def at_work(client: Client) -> dict[str, Any]:
    response = client.get("/readyz/models")
    assert response.status_code == 200
    (found,) = json.loads(response.content)["models"]
    assert isinstance(found, dict)
    return found


def deployed(name: str, root: Path) -> Run:
    task, _new = Task.objects.get_or_create(name=name, defaults={"title": name})
    run = toys.ready_run(task, root, encoding.encoder_directory())
    Deployment.objects.filter(task=task).delete()
    Deployment.objects.create(task=task, run=run)
    return run


def test_a_model_that_cannot_be_loaded_is_told_and_the_one_before_serves(root: Path, client: Client) -> None:
    viewer = User.objects.create_user("viewer", is_staff=True)
    viewer.user_permissions.add(Permission.objects.get(codename="view_deployment"))
    assert client.get("/readyz/models").status_code == 403
    status, body = ready(client)
    assert (status, body["status"], body["components"]["model"]) == (503, "unavailable", "missing")

    client.force_login(viewer)
    good = deployed("intent", root)
    serving.served("intent").refresh(spared_seconds=60)
    status, body = ready(client)
    assert (status, body["status"], body["components"]["model"]) == (200, "ok", "ok")
    told = at_work(client)
    assert (told["task"], told["run"], told["artifact"]) == ("intent", good.pk, good.artifact)
    assert told["since"] is not None
    assert told["failed_run"] is told["code"] is told["error"] is None

    bad = deployed("intent", root)
    toys.damage(root / bad.artifact / "arrays.safetensors")
    serving.served("intent").refresh(spared_seconds=60)
    status, body = ready(client)
    assert (status, body["status"], body["components"]["model"]) == (200, "degraded", "outdated")
    assert str(root) not in json.dumps(body)
    told = at_work(client)
    assert (told["run"], told["failed_run"], told["code"]) == (good.pk, bad.pk, "artifact_corrupt")
    assert "another sha256" in told["error"]


def test_a_model_that_is_deployed_and_never_loaded_counts_as_failed(root: Path, client: Client) -> None:
    run = deployed("intent", root)
    toys.damage(root / run.artifact / "arrays.safetensors")
    status, body = ready(client)
    assert (status, body["status"], body["components"]["model"]) == (503, "unavailable", "failed")


def test_models_of_other_tasks_that_this_process_serves_are_named(root: Path, client: Client) -> None:
    deployed("intent", root)
    deployed("sentiment", root)
    assert "model sentiment" not in ready(client)[1]["components"]
    serving.served("sentiment").get()
    status, body = ready(client)
    assert (status, body["components"]["model"], body["components"]["model sentiment"]) == (200, "ok", "ok")
