"""The dashboard's page."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from django.contrib.auth.decorators import login_required, permission_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.translation import get_language
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from monitoring import charts, dashboard
from monitoring.forms import FilterForm


@never_cache
@require_safe
@login_required
@permission_required("monitoring.view_item", raise_exception=True)
def show(request: HttpRequest) -> HttpResponse:
    """Show the newest items and the last 24 hours; 400 with the reason for an address that asks for nonsense."""
    form = FilterForm(request.GET)
    context: dict[str, Any] = {"form": form, "sources": dashboard.sources(), "texts": _texts(), "locale": _locale()}
    if not form.is_valid():
        return render(request, "monitoring/dashboard.html", context, status=400)
    filters, before = form.filters, form.cleaned_data["before"]
    page = dashboard.page(filters, before=before)
    hours = dashboard.count_hours(dashboard.chart_hours(timezone.now()), filters)
    query = {name: form.cleaned_data[name] for name in ("q", "source", "language") if form.cleaned_data[name]}
    context |= {
        "items": [item | {"time": datetime.fromisoformat(item["published_at"])} for item in page.items],
        "older": f"?{urlencode(query | {'before': str(page.older)})}" if page.older else "",
        "newest": f"?{urlencode(query)}",
        "query": query,
        "is_first_page": before is None,
        "chart": charts.draw(hours),
        "hours": [datetime.fromisoformat(hour["hour"]) for hour in hours],
        "state": {
            "socket": f"/ws/monitoring/?{urlencode(query)}",
            "live": before is None,
            "limit": dashboard.PAGE_ITEMS,
            "more": page.older is not None,
        },
    }
    return render(request, "monitoring/dashboard.html", context)


def _locale() -> str:
    """Return the BCP 47 name of the page's language, for ``lang`` and for the browser's own formats."""
    return "zh-Hans" if get_language() == "zh-hans" else "en"


def _texts() -> dict[str, str]:
    """Return what the page's script says."""
    return {
        "connecting": _("Connecting…"),
        "live": _("Live"),
        "paused": _("Paused"),
        "offline": _("Connection lost, trying again…"),
        "refused": _("You are signed out or may not see this. Reload the page to sign in."),
        "pause": _("Pause"),
        "resume": _("Resume"),
        "hour": _("{time}: {count} items"),
        "summary": _("{total} items in the last 24 hours, most in the hour from {time}: {count}"),
        "nothing": _("No items in the last 24 hours"),
        "announce": _("{count} new items"),
        "open": _("Open"),
    }
