"""Where the chat's blocking work runs: queries on a few threads of their own, model calls on others.

By default asgiref runs every synchronous call of a process on one thread, where a slow one holds up all the others.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, ParamSpec, TypeVar

from channels.db import database_sync_to_async

P = ParamSpec("P")
R = TypeVar("R")

# Together fewer than the default size of the connection pool, so that neither waits for the other's connections.
_DATABASE_THREADS = 4
_MODEL_THREADS = 2


@cache
def _database_executor() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_DATABASE_THREADS, thread_name_prefix="chat-database")


@cache
def _model_executor() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_MODEL_THREADS, thread_name_prefix="chat-model")


def on_database_thread(function: Callable[P, R]) -> Callable[P, Coroutine[Any, Any, R]]:
    """Return an awaitable form of a function that queries the database and does nothing slow."""
    return database_sync_to_async(function, thread_sensitive=False, executor=_database_executor())


def on_model_thread(function: Callable[P, R]) -> Callable[P, Coroutine[Any, Any, R]]:
    """Return an awaitable form of a function that computes; it may query, but never inside a transaction."""
    return database_sync_to_async(function, thread_sensitive=False, executor=_model_executor())
