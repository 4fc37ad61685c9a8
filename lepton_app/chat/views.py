"""What the widget loads over HTTP, its script and its settings, and the demo page."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from django.conf import settings
from django.contrib.staticfiles import finders
from django.http import HttpRequest, HttpResponse, HttpResponseNotModified, JsonResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils.cache import patch_vary_headers
from django.utils.http import parse_etags
from django.utils.translation import get_language
from django.views.decorators.http import require_safe

from intents import catalogue
from lepton_app.chat import sites
from lepton_app.chat.widget_strings import widget_strings

WIDGET_FILE = "chat/widget.js"
_SCRIPT_SECONDS = 300
_CONFIG_SECONDS = 60


@dataclass(frozen=True)
class _Script:
    """The widget's script, plain and compressed, and the hash that names this version."""

    plain: bytes
    compressed: bytes
    digest: str


@require_safe
def widget_script(request: HttpRequest) -> HttpResponseBase:
    """Serve the widget's script to any page; its address never changes, so that it is asked for again after minutes."""
    path = finders.find(WIDGET_FILE)
    if path is None:
        return HttpResponse("The widget's script is missing.", status=404, content_type="text/plain; charset=utf-8")
    script = _read_script(path, Path(path).stat().st_mtime_ns)
    is_compressed = _accepts_gzip(request.headers.get("Accept-Encoding", ""))
    etag = f'"{script.digest}{"-gzip" if is_compressed else ""}"'
    response: HttpResponse
    # Whoever holds either form of this version has it: compression changes nothing in the script.
    if {"*", f'"{script.digest}"', f'"{script.digest}-gzip"'} & _etags(request.headers.get("If-None-Match", "")):
        response = HttpResponseNotModified()
    else:
        body = script.compressed if is_compressed else script.plain
        response = HttpResponse(body, content_type="text/javascript; charset=utf-8")
        if is_compressed:
            response["Content-Encoding"] = "gzip"
    response["ETag"] = etag
    response["Cache-Control"] = f"public, max-age={_SCRIPT_SECONDS}"
    response["Access-Control-Allow-Origin"] = "*"
    response["Cross-Origin-Resource-Policy"] = "cross-origin"
    patch_vary_headers(response, ("Accept-Encoding",))
    return response


@lru_cache(maxsize=2)
def _read_script(path: str, modified_ns: int) -> _Script:
    """Read and compress the script; ``modified_ns`` makes a changed file a new entry."""
    plain = Path(path).read_bytes()
    return _Script(plain, gzip.compress(plain, 9, mtime=0), hashlib.sha256(plain).hexdigest()[:32])


def _accepts_gzip(header: str) -> bool:
    """Whether an ``Accept-Encoding`` header allows gzip.

    >>> _accepts_gzip("gzip, deflate, br"), _accepts_gzip("br;q=1, gzip;q=0"), _accepts_gzip("")
    (True, False, False)
    """
    for part in header.lower().split(","):
        coding, _, weight = part.partition(";")
        if coding.strip() in {"gzip", "*"}:
            return weight.replace(" ", "") not in {"q=0", "q=0.0", "q=0.00", "q=0.000"}
    return False


def _etags(header: str) -> set[str]:
    return {etag.removeprefix("W/") for etag in parse_etags(header)}


@require_safe
def widget_config(request: HttpRequest, public_key: str) -> JsonResponse:
    """Return what the widget needs before it opens a socket: words, suggested questions, limits.

    Pages of other origins than the site's may not read it.
    """
    language = _language(request)
    site = sites.find_site(public_key)
    if site is None:
        response = JsonResponse({"error": "unknown_site"}, status=404)
    else:
        response = JsonResponse(
            {
                "name": site.name,
                "language": language,
                "strings": widget_strings(language),
                "suggestions": catalogue.suggestions("zh" if language == "zh-hans" else "en"),
                "max_chars": settings.CHAT_MAX_MESSAGE_CHARS,
            },
            json_dumps_params={"ensure_ascii": False},
        )
        response["Cache-Control"] = f"public, max-age={_CONFIG_SECONDS}"
        response["Content-Language"] = language
        origin = request.headers.get("Origin", "")
        if sites.is_origin_allowed(origin, site=site, host=request.headers.get("Host")):
            response["Access-Control-Allow-Origin"] = origin
            response["Cross-Origin-Resource-Policy"] = "cross-origin"
    patch_vary_headers(response, ("Origin",))
    return response


def _language(request: HttpRequest) -> str:
    """The language that is asked for, else the browser's; any Chinese is simplified Chinese, all else English."""
    asked = request.GET.get("language") or get_language() or "en"
    return "zh-hans" if asked.lower().startswith("zh") else "en"


@require_safe
def demo(request: HttpRequest) -> HttpResponse:
    """The page of the fictional bank, with the widget."""
    site = sites.demo_site()
    context = {"site_key": site.public_key if site is not None else "", "language": _language(request)}
    return render(request, "chat/demo.html", context)
