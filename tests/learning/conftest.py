"""Fixtures of the tests of learning."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.learning import toys


@pytest.fixture
def toy_root(tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An artifacts folder of the test's own, whose encoder is made in milliseconds."""
    yield from toys.installation(tmp_path, settings, monkeypatch)
