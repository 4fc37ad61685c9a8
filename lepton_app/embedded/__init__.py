"""Start PostgreSQL and Redis from their wheels when no URL is given, and stop them with their last user.

A process that needs the services calls ``acquire`` and gets a ``Lease``. The procedure:

1. take the exclusive lock ``run/starting.lock``, so that two processes never start the same service;
2. take a shared lock on ``run/users.lock``: the kernel drops it when the process ends, however it ends;
3. start what does not answer, after clearing pid and socket files that a killed service left behind;
4. on ``Lease.release``, try to turn the shared lock into an exclusive one; whoever gets it was the last user and
   stops the services.

``Layout`` is pure: settings derive the URLs from it without starting anything.

``layout``    files, sockets and URLs of one data directory
``programs``  where PostgreSQL's and Redis' programs are, and how root runs them
``servers``   start, watch and stop a server
``lease``     who uses the servers
"""

from lepton_app.embedded.layout import DATABASE_NAME, EmbeddedError, Layout, celery_broker_url, prepare_data_dir
from lepton_app.embedded.lease import Lease, acquire
from lepton_app.embedded.servers import Postgres, Redis

__all__ = [
    "DATABASE_NAME",
    "EmbeddedError",
    "Layout",
    "Lease",
    "Postgres",
    "Redis",
    "acquire",
    "celery_broker_url",
    "prepare_data_dir",
]
