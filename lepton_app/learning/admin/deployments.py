"""Deployments: which model was at work from when to when."""

from __future__ import annotations

from django.contrib import admin
from django.utils.translation import gettext, pgettext
from django.utils.translation import gettext_lazy as _
from unfold.decorators import display

from lepton_app.learning.admin.base import (
    ReadOnlyAdmin,
)
from lepton_app.learning.models import Deployment


@admin.register(Deployment)
class DeploymentAdmin(ReadOnlyAdmin):
    """Which model was at work from when to when."""

    list_display = ("__str__", "state", "deployed_at", "ended_at", "deployed_by")
    list_filter = ("task",)
    list_select_related = ("task", "run", "deployed_by")
    fields = ("task", "run", "deployed_by", "deployed_at", "ended_at")
    readonly_fields = fields

    @display(description=_("state"), label={"now": "success", "ended": "info"})
    def state(self, deployment: Deployment) -> tuple[str, str]:
        """Return whether the model is at work, as a badge."""
        return (
            ("now", gettext("at work")) if deployment.ended_at is None else ("ended", pgettext("deployment", "ended"))
        )
