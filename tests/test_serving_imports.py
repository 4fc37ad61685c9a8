"""Serving processes stay small: they never load what only training needs."""

from __future__ import annotations

import subprocess
import sys

import pytest

_HEAVY = ("torch", "transformers", "peft", "sentence_transformers", "sklearn")
_PROGRAM = f"""
import importlib, sys
importlib.import_module(sys.argv[1])
print(",".join(name for name in {_HEAVY!r} if name in sys.modules))
"""


@pytest.mark.parametrize("module", ["lepton_app.asgi"])
def test_a_serving_process_loads_no_training_library(module: str, static_files: object) -> None:
    done = subprocess.run([sys.executable, "-c", _PROGRAM, module], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == ""
