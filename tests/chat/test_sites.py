"""From which pages a browser may come."""

from __future__ import annotations

import pytest
from django.test import override_settings

from lepton_app.chat.models import Site
from lepton_app.chat.sites import demo_site, ensure_site, is_origin_allowed

SITE = Site(name="Shop", allowed_origins=["https://shop.example", "https://shop.example:8443"])


@pytest.mark.parametrize(
    ("origin", "is_allowed"),
    [
        ("https://shop.example", True),
        ("https://shop.example:8443", True),
        ("https://shop.example:9000", False),
        ("http://shop.example", False),
        ("https://www.shop.example", False),
        ("https://desk.example", True),
        ("http://desk.example:8000", True),
        ("https://a.hosts.example", True),
        ("https://desk.example.evil.example", False),
        ("https://evil.example/desk.example", False),
        ("https://desk.example@evil.example", False),
        ("http://[::1]:8000", True),
        ("chrome-extension://abc", False),
        ("ftp://desk.example", False),
        ("null", False),
        ("*", False),
        ("", False),
        (None, False),
        ("http://[", False),
    ],
)
@override_settings(ALLOWED_HOSTS=["desk.example", ".hosts.example", "[::1]"])
def test_own_hosts_and_the_sites_origins_alone(origin: str | None, is_allowed: bool) -> None:
    assert is_origin_allowed(origin, site=SITE, host="desk.example") is is_allowed


@override_settings(ALLOWED_HOSTS=["*"])
def test_where_every_host_is_allowed_only_the_same_host_is_an_own_page() -> None:
    assert is_origin_allowed("https://desk.example:444", site=SITE, host="desk.example:444")
    assert not is_origin_allowed("https://evil.example", site=SITE, host="desk.example:444")
    assert not is_origin_allowed("https://evil.example", site=SITE, host=None)


@pytest.mark.django_db
def test_the_demo_site_is_made_once_and_keeps_its_key() -> None:
    assert demo_site() is None
    key = ensure_site().public_key
    assert ensure_site().public_key == key
    assert demo_site() == Site.objects.get()
