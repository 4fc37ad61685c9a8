"""The Chinese catalogue is complete, agrees with the source, and reaches the pages."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections import Counter
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog, Message
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from django.conf import settings
from django.core.management import call_command
from django.test import Client
from django.urls import reverse
from django.utils import translation
from django.utils.translation.reloader import translation_file_changed
from filelock import FileLock

from lepton_app.admin_words import WORDS
from lepton_app.chat.sites import ensure_site

CATALOGUE = Path("lepton_app/locale/zh_Hans/LC_MESSAGES/django.po")
IN_CHINESE = {"accept-language": "zh-CN,zh;q=0.9"}
_PLACEHOLDER = re.compile(r"%%|%\([A-Za-z_]+\)[a-z]|%[sd]|\{[A-Za-z_]*\}")
_CHINESE = re.compile(r"[\u4e00-\u9fff]")


def read(path: Path) -> Catalog:
    with path.open("rb") as file:
        return read_po(file)


def entries(catalogue: Catalog) -> list[Message]:
    return [message for message in catalogue if message.id]


def keys(catalogue: Catalog) -> set[tuple[str | None, str]]:
    """Context and msgid, of plural forms the singular."""
    return {(entry.context, originals(entry)[0]) for entry in entries(catalogue)}


def originals(entry: Message) -> list[str]:
    return [entry.id] if isinstance(entry.id, str) else list(entry.id)


def translations(entry: Message) -> list[str]:
    return [entry.string] if isinstance(entry.string, str) else list(entry.string or [""])


@pytest.fixture(scope="session")
def compiled() -> Path:
    """The compiled catalogue, made anew where it is missing or older than its source."""
    source = settings.BASE_DIR / CATALOGUE
    target = source.with_suffix(".mo")
    with FileLock(settings.DATA_DIR / "messages.lock"):
        if not target.exists() or target.stat().st_mtime < source.stat().st_mtime:
            fresh = target.with_suffix(".mo.new")
            with fresh.open("wb") as file:
                write_mo(file, read(source))
            fresh.replace(target)
            translation_file_changed(None, target)
    return target


@pytest.fixture(scope="module")
def catalogue() -> Catalog:
    return read(settings.BASE_DIR / CATALOGUE)


def test_every_entry_is_translated(catalogue: Catalog) -> None:
    assert len(entries(catalogue)) > 300
    assert [entry.id for entry in entries(catalogue) if not all(translations(entry))] == []
    assert [entry.id for entry in entries(catalogue) if entry.fuzzy] == []
    assert not catalogue.fuzzy
    assert list(catalogue.obsolete) == []


def test_placeholders_agree(catalogue: Catalog) -> None:
    def placeholders(text: str) -> Counter[str]:
        return Counter(_PLACEHOLDER.findall(text))

    wrong = [
        (entry.id, text)
        for entry in entries(catalogue)
        for text in translations(entry)
        if placeholders(text) not in [placeholders(original) for original in originals(entry)]
    ]
    assert wrong == []


def test_the_header_says_what_the_file_is(catalogue: Catalog) -> None:
    header = dict(catalogue.mime_headers)
    assert header["Project-Id-Version"].strip() == "Lepton"
    assert header["Language"] == "zh_Hans"
    assert header["Content-Type"].lower() == "text/plain; charset=utf-8"
    assert "nplurals=1" in header["Plural-Forms"]
    assert catalogue.num_plurals == 1


def test_punctuation_beside_chinese_is_full_width(catalogue: Catalog) -> None:
    narrow = re.compile(r"[\u4e00-\u9fff][,;:?!()]|[,;:?!()][\u4e00-\u9fff]|[\u4e00-\u9fff]\.(?!\.)")
    unspaced = re.compile(r"[\u4e00-\u9fff][A-Za-z0-9]|[A-Za-z0-9][\u4e00-\u9fff]")
    texts = [text for entry in entries(catalogue) for text in translations(entry)]
    assert [text for text in texts if narrow.search(text)] == []
    assert [text for text in texts if unspaced.search(_PLACEHOLDER.sub("", text))] == []


def test_the_source_has_no_words_that_the_catalogue_lacks(
    catalogue: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if shutil.which("xgettext") is None:
        reason = "there is no xgettext on the PATH (Debian: apt-get install gettext)"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    locale = tmp_path / "lepton_app" / "locale"
    locale.mkdir(parents=True)
    for name in ("lepton_app", "intents", "monitoring", "retrieval", "templates"):
        ignored = shutil.ignore_patterns("__pycache__", "locale", "starter", "migrations")
        shutil.copytree(settings.BASE_DIR / name, tmp_path / name, ignore=ignored, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(settings, "LOCALE_PATHS", [str(locale)])
        call_command("makemessages", locale=["zh_Hans"], no_wrap=True, no_location=True, verbosity=0)
    found = keys(read(locale / "zh_Hans" / "LC_MESSAGES" / "django.po"))
    assert len(found) > 300
    assert sorted(found - keys(catalogue), key=str) == []
    assert sorted(keys(catalogue) - found, key=str) == []


@pytest.mark.usefixtures("compiled", "static_files", "db")
class TestPages:
    def test_login(self, client: Client) -> None:
        page = client.get(reverse("admin:login"), headers=IN_CHINESE).content.decode()
        assert 'lang="zh-hans"' in page
        assert "登录" in page
        assert "欢迎回到" in page
        assert "Return to site" not in page

    def test_start(self, client: Client) -> None:
        response = client.get("/", headers=IN_CHINESE)
        page = response.content.decode()
        assert response["Content-Language"] == "zh-hans"
        assert '<html lang="zh-Hans"' in page
        assert "把价格写在首页的银行" in page
        assert "储蓄年利率 3.10%，" in page
        assert "%%" not in page
        assert "prices on the front page" not in page

    def test_widget(self, client: Client) -> None:
        address = reverse("chat:config", args=[ensure_site().public_key])
        told = json.loads(client.get(address, {"language": "zh-hans"}).content)
        assert told["language"] == "zh-hans"
        assert told["strings"]["send"] == "发送"
        assert [key for key, text in told["strings"].items() if not _CHINESE.search(text)] == []

    def test_admin(self, admin_client: Client) -> None:
        page = admin_client.get(reverse("admin:chat_conversation_changelist"), headers=IN_CHINESE).content.decode()
        assert "会话" in page
        assert "训练任务" in page
        assert "Search apps and models" not in page

    def test_words_of_the_admins_look(self) -> None:
        with translation.override("zh-hans"):
            said = [translation.gettext(str(word)) for word in WORDS if isinstance(word, str)]
        assert len(said) > 40
        assert [text for text in said if not _CHINESE.search(text)] == []
