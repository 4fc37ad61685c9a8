"""Tell a worker that a row waits. The row is the job: a nudge that gets lost costs time, never the job.

>>> from types import SimpleNamespace
>>> sent = []
>>> _send(SimpleNamespace(name="train", delay=lambda *ids: sent.append(ids)), (7,))
>>> sent
[(7,)]
"""

from __future__ import annotations

import logging
from typing import Any, Protocol

from django.db import transaction

logger = logging.getLogger(__name__)


class Task(Protocol):
    """A Celery task, as far as it is needed here."""

    name: str

    def delay(self, *ids: int) -> Any:
        """Put a call of the task into its queue."""


def nudge_on_commit(task: Task, *ids: int) -> None:
    """Queue ``task`` with the ids of rows once the transaction has committed.

    A broker that is away is logged, and never fails the request whose row is stored already: the task's sweep picks
    the row up.
    """

    def send() -> None:
        _send(task, ids)

    transaction.on_commit(send)


def _send(task: Task, ids: tuple[int, ...]) -> None:
    try:
        task.delay(*ids)
    except Exception:  # whatever the broker's client raises, the row waits for the sweep
        logger.warning("nudge %s%r not sent; its sweep picks the row up", task.name, ids, exc_info=True)
