"""Who may import whom, read from the source and enforced."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings

ROOT: Path = settings.BASE_DIR
OURS = ("lepton_app.lib", "lepton_app.learning", "lepton_app.chat", "lepton_app", "intents", "retrieval", "monitoring")
# A package on the left imports itself and the packages on the right, and nothing else of ours.
ALLOWED: dict[str, set[str]] = {
    "lepton_app.lib": set(),
    "lepton_app.learning": {"lepton_app.lib"},
    "intents": {"lepton_app.learning", "lepton_app.lib"},
    "retrieval": {"lepton_app.lib"},
    "monitoring": {"lepton_app.learning", "lepton_app.lib"},
    "lepton_app.chat": {"intents", "retrieval", "lepton_app.learning", "lepton_app.lib"},
}
# Entry points enqueue; operations never do.
ENTRY_POINTS = {"admin", "views", "consumers", "api", "tasks", "urls"}


def modules(package: str) -> Iterator[Path]:
    for path in (ROOT / package.replace(".", "/")).rglob("*.py"):
        if "migrations" not in path.parts:
            yield path


def imported(path: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide where a name comes from"
            for alias in node.names:
                yield node.lineno, f"{node.module}.{alias.name}"


def owner(name: str) -> str | None:
    return next((package for package in OURS if name == package or name.startswith(package + ".")), None)


@pytest.mark.parametrize("package", ALLOWED)
def test_packages_import_only_what_they_may(package: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in modules(package)
        for line, name in imported(path)
        if owner(name) not in {None, package, *ALLOWED[package]}
    ]
    assert wrong == []


def test_operations_never_import_tasks() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for package in ("lepton_app", "intents", "retrieval", "monitoring")
        for path in modules(package)
        if path.stem not in ENTRY_POINTS and not {"management", "admin"} & set(path.parts)
        for line, name in imported(path)
        if owner(name) is not None and "tasks" in name.split(".")
    ]
    assert wrong == []


@pytest.mark.parametrize("entry", ["lepton_app.asgi", "monitoring.stream", "lepton_app.celery"])
def test_serving_processes_never_load_the_training_libraries(entry: str) -> None:
    code = (
        f"import sys, django; django.setup(); import {entry}; "
        "heavy = {'torch', 'transformers', 'peft', 'sentence_transformers', 'sklearn'} & set(sys.modules); "
        "sys.exit(f'loaded: {heavy}' if heavy else 0)"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
