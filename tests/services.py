"""A pytest plugin that runs the suite on real PostgreSQL and Redis in a fresh data directory.

It is loaded before Django's settings are read. The controlling process starts the services once; workers of
pytest-xdist find them through the environment, each with a Redis database of its own.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from lepton_app import embedded

_OWNER = "LEPTON_TEST_SERVICES_OWNER"
_lease: embedded.Lease | None = None

# What a developer's shell may hold must not reach the tests.
for _name in [name for name in os.environ if name.startswith("LEPTON_") and not name.startswith("LEPTON_TEST_")]:
    if _OWNER not in os.environ:
        del os.environ[_name]

if _OWNER not in os.environ:
    _data_dir = Path(tempfile.mkdtemp(prefix="desk-test-"))
    os.environ[_OWNER] = str(os.getpid())
    os.environ["LEPTON_DATA_DIR"] = str(_data_dir)
    for _name in ("DATABASE_URL", "REDIS_URL"):
        os.environ.pop(_name, None)
    os.environ["LEPTON_DATABASE_POOL_SIZE"] = "4"
    os.environ["HF_HUB_OFFLINE"] = "1"
    _lease = embedded.acquire(embedded.Layout(_data_dir), postgres=True, redis=True)

_worker = os.environ.get("PYTEST_XDIST_WORKER", "")
if _worker.startswith("gw"):
    _layout = embedded.Layout(Path(os.environ["LEPTON_DATA_DIR"]))
    os.environ["REDIS_URL"] = _layout.redis_url.replace("db=0", f"db={int(_worker[2:]) % 15 + 1}")


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop the services and remove their files with the process that started them."""
    global _lease
    if _lease is not None and os.environ.get(_OWNER) == str(os.getpid()):
        from django.db import connections

        connections.close_all()
        _lease.release()
        _lease = None
        shutil.rmtree(os.environ["LEPTON_DATA_DIR"], ignore_errors=True)
