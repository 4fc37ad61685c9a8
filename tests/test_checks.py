"""System checks: silent when all is well, with an id and a hint when not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from lepton_app import checks


def ids(found: list[Any]) -> list[str]:
    assert all(message.hint for message in found)
    return [message.id for message in found]


def test_a_data_directory_that_others_can_read_is_an_error(settings: Any, tmp_path: Path) -> None:
    settings.DATA_DIR = tmp_path
    os.chmod(tmp_path, 0o750)
    assert ids(checks.data_directory_is_private(None)) == ["lepton.E001"]
    os.chmod(tmp_path, 0o700)
    assert checks.data_directory_is_private(None) == []


def test_translations_that_are_older_than_their_source_are_told(settings: Any, tmp_path: Path) -> None:
    folder = tmp_path / "zh_Hans" / "LC_MESSAGES"
    folder.mkdir(parents=True)
    (folder / "django.po").write_text("")
    settings.LOCALE_PATHS = [tmp_path]
    assert ids(checks.translations_are_compiled(None)) == ["lepton.W001"]
    (folder / "django.mo").write_bytes(b"")
    os.utime(folder / "django.po", (0, 0))
    assert checks.translations_are_compiled(None) == []


def test_an_encoder_folder_without_a_model_is_an_error(settings: Any, tmp_path: Path) -> None:
    settings.LEPTON_ENCODER = str(tmp_path)
    assert ids(checks.encoder_exists(None)) == ["lepton.E002"]
    (tmp_path / "config.json").write_text("{}")
    assert checks.encoder_exists(None) == []


def test_embedded_services_and_default_hosts_are_told_before_production(settings: Any) -> None:
    settings.EMBED_POSTGRES, settings.EMBED_REDIS = True, False
    assert ids(checks.production_has_services_of_its_own(None)) == ["lepton.W002"]
    settings.ALLOWED_HOSTS = ["localhost"]
    assert ids(checks.hosts_are_named(None)) == ["lepton.W003"]
    settings.ALLOWED_HOSTS = ["desk.example.com"]
    assert checks.hosts_are_named(None) == []


@pytest.mark.usefixtures("tmp_path")
def test_check_deploy_is_clean_with_production_settings(tmp_path: Path) -> None:
    production = {
        "LEPTON_DATA_DIR": str(tmp_path / "data"),
        "LEPTON_SECRET_KEY": "".join(chr(33 + number % 90) for number in range(60)),
        "LEPTON_ALLOWED_HOSTS": "desk.example.com",
        "LEPTON_HTTPS": "on",
        "DATABASE_URL": "postgresql://desk@db.example.com/desk",
        "REDIS_URL": "redis://cache.example.com:6379/0",
    }
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LEPTON_")}
    ended = subprocess.run(
        [sys.executable, str(settings.BASE_DIR / "manage.py"), "check", "--deploy", "--fail-level", "WARNING"],
        env={**kept, **production},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert "no issues" in ended.stdout
