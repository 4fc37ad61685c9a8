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
    components = {name: _state(name, probe) for name, probe in _PROBES.items()}
    ready = all(state == "ok" for state in components.values())
    return JsonResponse(
        {"status": "ok" if ready else "unavailable", "components": components}, status=200 if ready else 503
    )


def _state(name: str, probe: Callable[[], bool]) -> str:
    try:
        return "ok" if probe() else "missing"
    except Exception:  # whatever a component raises, the page says that it failed
        logger.warning("component %s is not ready", name, exc_info=True)
        return "failed"


def _database() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        return cursor.fetchone() == (1,)


def _redis() -> bool:
    import redis

    with redis.Redis.from_url(settings.REDIS_URL, socket_timeout=2) as client:
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
