"""Nudges go to our own broker after the commit, and a broker that is away fails nobody's request."""

from __future__ import annotations

import logging
import subprocess
import sys
from typing import Any

import pytest
from celery import current_app
from django.conf import settings
from django.db import transaction

from lepton_app.lib.nudges import nudge_on_commit


class Recorder:
    name = "recorder"

    def __init__(self, error: Exception | None = None) -> None:
        self.calls: list[tuple[int, ...]] = []
        self.error = error

    def delay(self, *ids: int) -> None:
        if self.error is not None:
            raise self.error
        self.calls.append(ids)


@pytest.mark.django_db(transaction=True)
def test_a_nudge_is_sent_at_the_commit_and_not_after_a_roll_back() -> None:
    task = Recorder()
    with transaction.atomic():
        nudge_on_commit(task, 7)
        assert task.calls == []
    assert task.calls == [(7,)]
    with transaction.atomic():
        nudge_on_commit(task, 8)
        transaction.set_rollback(True)
    assert task.calls == [(7,)]


@pytest.mark.django_db(transaction=True)
def test_a_broker_that_is_away_is_logged_and_not_raised(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        nudge_on_commit(Recorder(ConnectionError("broker away")), 7)
    assert "nudge recorder(7,) not sent" in caplog.text


@pytest.mark.django_db(transaction=True)
def test_a_real_task_lands_in_our_redis(clean_redis: Any) -> None:
    from lepton_app.learning.tasks import execute_run

    nudge_on_commit(execute_run, 7)
    assert clean_redis.llen("training") == 1


def test_every_django_process_speaks_to_the_broker_of_the_settings() -> None:
    """Nothing in the web process imports ``lepton_app.celery``, and Celery's own default is another broker."""
    code = "import django; django.setup(); from celery import current_app; print(current_app.conf.broker_url)"
    said = subprocess.run(
        [sys.executable, "-c", code], cwd=settings.BASE_DIR, capture_output=True, text=True, check=True
    )
    assert settings.CELERY_BROKER_URL.startswith("redis")
    assert said.stdout.strip() == current_app.conf.broker_url == settings.CELERY_BROKER_URL
