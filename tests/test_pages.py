"""Pages that belong to nobody in particular: errors, and where people land after signing in."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

pytestmark = pytest.mark.django_db


def test_a_page_that_is_missing_says_so_in_both_languages(static_files: Path) -> None:
    answer = Client().get("/nothing-here/")
    assert answer.status_code == 404
    assert "There is no page here" in answer.content.decode()
    answer = Client(headers={"Accept-Language": "zh-CN"}).get("/nothing-here/")
    assert answer.status_code == 404
    assert '<html lang="zh-Hans">' in answer.content.decode()


@pytest.mark.usefixtures("static_files")
def test_signing_in_without_a_destination_leads_to_the_admin(client: Client) -> None:
    User.objects.create_superuser("staff", password="a long enough password")
    answer = client.post(reverse("admin:login"), {"username": "staff", "password": "a long enough password"})
    assert (answer.status_code, answer.headers["Location"]) == (302, reverse("admin:index"))


@pytest.mark.usefixtures("static_files")
def test_every_page_has_an_icon(client: Client) -> None:
    assert "lepton/icon" in client.get(reverse("admin:login")).content.decode()
