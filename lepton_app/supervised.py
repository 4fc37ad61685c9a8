"""Run one supervised process that ends when its supervisor ends: ``python -m lepton_app.supervised NICENESS WORD…``.

A supervisor that is killed with ``kill -9`` cannot stop its children; on Linux the kernel does it for us. Replaces
itself by the command, so that the process id stays the one that the supervisor knows.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # linux/prctl.h; it is kept across execve(2)


def main(niceness: str, *command: str) -> None:
    """Ask the kernel for a SIGTERM at the parent's death, then become ``command``; never returns.

    ``niceness`` is added to the process's own, 0 to 19: the higher, the more it yields to others.
    """
    supervisor = os.getppid()
    os.nice(int(niceness))
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != supervisor:  # it ended between the two lines
            sys.exit(1)
    os.execvp(command[0], command)  # noqa: S606 - our own argument list, no shell


if __name__ == "__main__":
    main(*sys.argv[1:])
