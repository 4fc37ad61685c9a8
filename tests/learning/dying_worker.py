"""A training worker that writes a checkpoint and then works on for ever: the test of killed workers kills it."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any


def train_for_ever(*args: Any, workspace: Path, **rest: Any) -> None:
    """Stand in for a training of many hours."""
    (workspace / "checkpoint").write_text("step 40")
    print("checkpoint", flush=True)
    time.sleep(600)


def main() -> None:
    """Work on the run that the command line names."""
    import django

    django.setup()
    from lepton_app.learning import runs, training

    training.train = train_for_ever  # type: ignore[assignment]  # it never returns
    runs.execute(int(sys.argv[1]))


if __name__ == "__main__":
    main()
