"""Health of the process and of each thing it needs, by name."""

from __future__ import annotations

import logging
from collections.abc import Callable

from django.conf import settings
from django.db import connection
from django.http import HttpRequest, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

logger = logging.getLogger(__name__)

OK = "ok"


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
    ready = all(state == OK for state in found.values())
    return JsonResponse({"status": "ok" if ready else "unavailable", "components": found}, status=200 if ready else 503)


def components() -> dict[str, str]:
    """Return for each component ``ok``, ``missing`` (nothing is deployed) or ``failed``; reasons go to the log."""
    return {name: _state(name, probe) for name, probe in _PROBES.items()}


def _state(name: str, probe: Callable[[], bool]) -> str:
    try:
        return OK if probe() else "missing"
    except Exception:  # whatever a component raises, the page says that it failed
        logger.warning("component %s is not ready", name, exc_info=True)
        return "failed"


def _database() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        return cursor.fetchone() == (1,)


def _redis() -> bool:
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    # The client's own retries would keep a probe waiting for seconds.
    with redis.Redis.from_url(settings.REDIS_URL, socket_timeout=2, retry=Retry(NoBackoff(), 0)) as client:
        return bool(client.ping())


def _model() -> bool:
    from intents import classifier

    return classifier.current() is not None


def _index() -> bool:
    from retrieval import serving

    return serving.current_index() is not None


_PROBES: dict[str, Callable[[], bool]] = {
    "database": _database,
    "redis": _redis,
    "model": _model,
    "index": _index,
}
