"""The documentation names every setting and every command, and nothing that does not exist."""

from __future__ import annotations

import pkgutil
import re
from pathlib import Path

import pytest
from django.conf import settings

from lepton_app import benchmarks
from lepton_app.management import commands

SETTINGS = (settings.BASE_DIR / "lepton_app" / "settings.py").read_text(encoding="utf-8")
DOCS = settings.BASE_DIR / "docs"
READ = set(re.findall(r'env\.read_\w+\(\s*"([A-Z_]+)"', SETTINGS))


def test_every_variable_that_settings_read_is_described() -> None:
    described = set(re.findall(r"^\| `([A-Z_]+)` \|", (DOCS / "settings.md").read_text(encoding="utf-8"), re.M))
    assert described == READ
    assert len(READ) > 15


def test_no_other_file_reads_the_environment_for_settings() -> None:
    readers = re.compile(r"os\.environ(\.get\(|\[)\s*\"(LEPTON_|DATABASE_URL|REDIS_URL)")
    guilty = [
        str(path)
        for package in ("lepton_app", "intents", "retrieval", "monitoring")
        for path in (settings.BASE_DIR / package).rglob("*.py")
        if readers.search(path.read_text(encoding="utf-8"))
    ]
    assert guilty == []


def test_every_command_is_described_and_explains_itself() -> None:
    text = (DOCS / "commands.md").read_text(encoding="utf-8")
    described = set(re.findall(r"^\| `manage\.py (\w+)", text, re.M))
    existing = {found.name for found in pkgutil.iter_modules(commands.__path__)}
    assert described == existing


def test_every_benchmark_is_named() -> None:
    text = (DOCS / "commands.md").read_text(encoding="utf-8")
    names = {found.name.replace("_", "-") for found in pkgutil.iter_modules(benchmarks.__path__)}
    line = next(line for line in text.splitlines() if line.startswith("| `manage.py bench"))
    assert {name for name in names if not name.startswith("-")} <= set(re.findall(r"`([a-z-]+)`", line))


@pytest.mark.parametrize("page", [*sorted(DOCS.glob("*.md")), settings.BASE_DIR / "README.md"], ids=lambda p: p.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
        if not target.startswith(("http://", "https://", "mailto:")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_readme_gives_the_two_commands() -> None:
    text = (settings.BASE_DIR / "README.md").read_text(encoding="utf-8")
    assert "make run" in text
    assert "make test" in text
