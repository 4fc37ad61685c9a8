"""Health of the process and of each thing it needs, by name.

What is told to everybody is one word for each component; which model is at work, since when, and why another one could
not be loaded is told to staff.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from datetime import datetime
from typing import TypedDict

from django.conf import settings
from django.contrib.auth.decorators import permission_required
from django.db import connection
from django.http import HttpRequest, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

logger = logging.getLogger(__name__)

OK = "ok"
# Something serves, and the newest of its kind cannot be loaded.
OUTDATED = "outdated"
MISSING = "missing"
FAILED = "failed"


class ModelHealth(TypedDict):
    """One task's model in this process. ``error`` says why run ``failed_run`` is not served; null when all is well."""

    task: str
    run: int | None
    artifact: str | None
    since: datetime | None
    failed_run: int | None
    code: str | None
    error: str | None


@require_safe
@never_cache
def healthz(request: HttpRequest) -> JsonResponse:
    """Say that the process serves requests."""
    return JsonResponse({"status": "ok"})


@require_safe
@never_cache
def readyz(request: HttpRequest) -> JsonResponse:
    """Say for each component whether it is ready; 503 when one is not.

    The reasons go to the log: this page is open to everybody who reaches the process.
    """
    found = components()
    if any(state not in {OK, OUTDATED} for state in found.values()):
        return JsonResponse({"status": "unavailable", "components": found}, status=503)
    status = "degraded" if OUTDATED in found.values() else "ok"
    return JsonResponse({"status": status, "components": found})


@require_safe
@never_cache
@permission_required("learning.view_deployment", raise_exception=True)
def models_at_work(request: HttpRequest) -> JsonResponse:
    """Say which models this process serves; with several processes, each answers for itself."""
    return JsonResponse({"process": os.getpid(), "models": models()})


def models() -> list[ModelHealth]:
    """Return for each task that this process serves which model is at work, since when, and what failed to load."""
    from intents import classifier
    from lepton_app.learning import serving

    classifier.current()  # a process that has not been asked yet looks now
    found = []
    for task, state in serving.states().items():
        error = state.error
        found.append(
            ModelHealth(
                task=task,
                run=state.key.run_id if state.key is not None else None,
                artifact=state.key.artifact if state.key is not None else None,
                since=state.since,
                failed_run=state.failed_key.run_id if state.failed_key is not None else None,
                code=str(getattr(error, "code", type(error).__name__)) if error is not None else None,
                error=str(error) if error is not None else None,
            )
        )
    return found


def components() -> dict[str, str]:
    """Return for each component ``ok``, ``outdated``, ``missing`` or ``failed``; reasons go to the log.

    ``missing`` is what has not been deployed; ``outdated`` serves, but the newest of its kind cannot be loaded.
    """
    return {name: _state(name, probe) for name, probe in _PROBES.items()} | _other_models()


def _state(name: str, probe: Callable[[], str]) -> str:
    try:
        return probe()
    except Exception:  # whatever a component raises, the page says that it failed
        logger.warning("component %s is not ready", name, exc_info=True)
        return FAILED


def _database() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        return OK if cursor.fetchone() == (1,) else FAILED


def _redis() -> str:
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    # The client's own retries would keep a probe waiting for seconds.
    with redis.Redis.from_url(settings.REDIS_URL, socket_timeout=2, retry=Retry(NoBackoff(), 0)) as client:
        return OK if client.ping() else FAILED


def _model() -> str:
    from intents import classifier

    classifier.current()
    return _model_state(classifier.TASK)


def _other_models() -> dict[str, str]:
    """The models of other tasks that this process serves; it loads none for being asked."""
    from intents import classifier
    from lepton_app.learning import serving

    return {f"model {task}": _model_state(task) for task in serving.states() if task != classifier.TASK}


def _model_state(task: str) -> str:
    from lepton_app.learning import serving

    state = serving.states()[task]
    if state.key is None:
        return MISSING if state.error is None else FAILED
    return OK if state.failed_key is None else OUTDATED


def _index() -> str:
    from retrieval import serving

    return OK if serving.current_index() is not None else MISSING


_PROBES: dict[str, Callable[[], str]] = {
    "database": _database,
    "redis": _redis,
    "model": _model,
    "index": _index,
}
