"""Which web sites may carry the widget, and from which pages a browser may come."""

from __future__ import annotations

from urllib.parse import urlsplit

from django.conf import settings
from django.http.request import validate_host

from lepton_app.chat.models import Site

DEMO_SITE_NAME = "Silverbirch"
_LOCAL_HOSTS = ("localhost", "127.0.0.1", "[::1]", ".localhost")


def ensure_site() -> Site:
    """Return the site of the fictional bank, made when it is missing."""
    return Site.objects.get_or_create(name=DEMO_SITE_NAME)[0]


def demo_site() -> Site | None:
    """Return the site of the demo page, or None before it was made or after it was removed or switched off."""
    return Site.objects.filter(name=DEMO_SITE_NAME, is_active=True).first()


def find_site(public_key: str) -> Site | None:
    """Return the active site with this public key."""
    return Site.objects.filter(public_key=public_key, is_active=True).first()


def is_origin_allowed(origin: str | None, *, site: Site, host: str | None) -> bool:
    """Whether a page of ``origin`` (the browser's header) may use the chat of ``site``.

    Own pages may (by ``ALLOWED_HOSTS``, any port; where that is ``*``, pages of the very ``host`` that was asked) and
    the site's allowed origins. No ``Origin`` header, or ``null``, is refused: browsers always send one for a
    websocket, so that whoever sends none is no page of ours.
    """
    if not origin:
        return False
    if origin in site.allowed_origins:
        return True
    try:
        parts = urlsplit(origin)
        hostname = parts.hostname
    except ValueError:
        return False
    if parts.scheme not in {"http", "https"} or not hostname:
        return False
    own = list(settings.ALLOWED_HOSTS) or (list(_LOCAL_HOSTS) if settings.DEBUG else [])
    bracketed = f"[{hostname}]" if ":" in hostname else hostname
    if validate_host(bracketed, [pattern for pattern in own if pattern != "*"]):
        return True
    return "*" in own and host is not None and parts.netloc.lower() == host.lower()
