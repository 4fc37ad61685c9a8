"""Ask PostgreSQL and Redis once, directly, so that a wrong address is said in one line and at once.

Django's connection pool tries again until its time is up and then knows no reason; here the server's own word counts.
"""

from __future__ import annotations

from django.conf import settings

_TIMEOUT_SECONDS = 5


class Unreachable(Exception):
    """A service does not answer; the message is one line without the address's password."""


def check() -> None:
    """Raise ``Unreachable`` unless PostgreSQL and Redis both let us in."""
    _postgres()
    _redis()


def _postgres() -> None:
    import psycopg

    database = settings.DATABASES["default"]
    try:
        psycopg.connect(
            host=database["HOST"] or None,
            port=database["PORT"] or None,
            dbname=database["NAME"],
            user=database["USER"] or None,
            password=database["PASSWORD"] or None,
            connect_timeout=_TIMEOUT_SECONDS,
        ).close()
    except psycopg.Error as error:
        raise Unreachable(f"PostgreSQL cannot be reached: {_one_line(error)}. Check DATABASE_URL.") from None


def _redis() -> None:
    import redis

    try:
        with redis.Redis.from_url(settings.REDIS_URL, socket_connect_timeout=_TIMEOUT_SECONDS) as client:
            client.ping()
    except (redis.RedisError, ValueError) as error:
        raise Unreachable(f"Redis cannot be reached: {_one_line(error)}. Check REDIS_URL.") from None


def _one_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(".:") if lines else type(error).__name__
