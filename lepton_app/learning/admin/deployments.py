"""Deployments: which model was at work from when to when."""

from __future__ import annotations

from django.contrib import admin
from django.utils.text import Truncator
from django.utils.translation import gettext, pgettext
from django.utils.translation import gettext_lazy as _
from unfold.decorators import display

from lepton_app.learning.admin.base import EXCERPT_CHARS, VERDICT_COLOURS, ReadOnlyAdmin
from lepton_app.learning.models import Deployment


@admin.register(Deployment)
class DeploymentAdmin(ReadOnlyAdmin):
    """Which model was at work from when to when."""

    list_display = ("__str__", "state", "verdict_badge", "excerpt", "deployed_at", "ended_at", "deployed_by")
    list_filter = ("task", "verdict")
    list_select_related = ("task", "run", "deployed_by")
    fields = ("task", "run", "verdict", "reason", "deployed_by", "deployed_at", "ended_at")
    readonly_fields = fields

    @display(description=_("state"), label={"now": "success", "ended": "info"})
    def state(self, deployment: Deployment) -> tuple[str, str]:
        """Return whether the model is at work, as a badge."""
        return (
            ("now", gettext("at work")) if deployment.ended_at is None else ("ended", pgettext("deployment", "ended"))
        )

    @display(description=_("gate"), ordering="verdict", label=VERDICT_COLOURS)
    def verdict_badge(self, deployment: Deployment) -> tuple[str, str] | None:
        """Return what the gate said when it was deployed, as a badge; nothing after a roll-back."""
        return (deployment.verdict, deployment.get_verdict_display()) if deployment.verdict else None

    @display(description=_("reason"))
    def excerpt(self, deployment: Deployment) -> str:
        """Return the beginning of why it was deployed against the gate."""
        return Truncator(deployment.reason).chars(EXCERPT_CHARS) or "–"
