"""Shadows: candidates that ran beside the model at work, and the texts on which the two differ."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import F, FloatField, QuerySet
from django.db.models.functions import Cast, NullIf
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import Truncator
from django.utils.translation import gettext, pgettext
from django.utils.translation import gettext_lazy as _
from unfold.decorators import display

from lepton_app.learning.admin.base import EXCERPT_CHARS, ReadOnlyAdmin
from lepton_app.learning.models import Disagreement, Shadow

_MOST_SHADOWS = 50


@admin.register(Shadow)
class ShadowAdmin(ReadOnlyAdmin):
    """Which candidate ran beside the model at work, and how often both said the same."""

    list_display = (
        *("candidate", "task", "state", "agreement", "compared", "differing", "dropped"),
        *("started_by", "started_at", "ended_at"),
    )
    list_display_links = ("candidate",)
    list_filter = ("task",)
    list_select_related = ("task", "run", "started_by")
    fields = (
        *("task", "run_link", "agreement", "compared", "differing", "dropped"),
        *("started_by", "started_at", "ended_at"),
    )
    readonly_fields = fields

    def get_queryset(self, request: HttpRequest) -> QuerySet[Shadow]:
        """Compute the share of agreement with the rows, for the list to be sorted by it."""
        queryset: QuerySet[Shadow] = super().get_queryset(request)
        all_texts = NullIf(Cast(F("agreed") + F("disagreed"), FloatField()), 0.0)
        return queryset.annotate(share=F("agreed") / all_texts)

    @display(description=_("candidate"), ordering="run_id")
    def candidate(self, shadow: Shadow) -> str:
        """Return the run's number."""
        return f"#{shadow.run_id}"

    @display(description=_("candidate"))
    def run_link(self, shadow: Shadow) -> SafeString:
        """Return the run with a link to it."""
        return format_html(
            '<a href="{}">#{}</a> · {}',
            reverse("admin:learning_run_change", args=[shadow.run_id]),
            shadow.run_id,
            shadow.run.get_method_display(),
        )

    @display(description=_("state"), label={"now": "success", "ended": "info"})
    def state(self, shadow: Shadow) -> tuple[str, str]:
        """Return whether it runs now, as a badge."""
        return (
            ("now", pgettext("shadow", "runs")) if shadow.ended_at is None else ("ended", pgettext("shadow", "ended"))
        )

    @display(description=_("agreement"), ordering="share")
    def agreement(self, shadow: Shadow) -> str:
        """Return the share of live texts of which both said the same."""
        share = getattr(shadow, "share", None)
        return "–" if share is None else f"{share * 100:.1f} %"

    @display(description=_("texts compared"))
    def compared(self, shadow: Shadow) -> str:
        """Return how many live texts both were asked."""
        return f"{shadow.agreed + shadow.disagreed:,}"

    @display(description=_("disagreements"), ordering="disagreed")
    def differing(self, shadow: Shadow) -> SafeString | str:
        """Return of how many texts they said something else, with a link to them."""
        if not shadow.disagreed:
            return "0"
        address = f"{reverse('admin:learning_disagreement_changelist')}?shadow__id__exact={shadow.pk}"
        return format_html('<a href="{}">{}</a>', address, f"{shadow.disagreed:,}")


class ShadowFilter(admin.RelatedFieldListFilter):
    """The newest shadows that differed from the model at work, read with their tasks in one query."""

    def field_choices(self, field: Any, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        """Return number and name of each."""
        found = Shadow.objects.filter(disagreed__gt=0).select_related("task").order_by("-pk")[:_MOST_SHADOWS]
        return [(str(shadow.pk), str(shadow)) for shadow in found]


@admin.register(Disagreement)
class DisagreementAdmin(ReadOnlyAdmin):
    """Live texts, personal data masked, of which the candidate said something else than the model at work."""

    list_display = ("excerpt", "deployed_says", "candidate_says", "shadow", "created_at")
    list_filter = (
        ("shadow", ShadowFilter),
        ("deployed_label", admin.AllValuesFieldListFilter),
        ("candidate_label", admin.AllValuesFieldListFilter),
    )
    list_select_related = ("shadow__task",)
    list_per_page = 50
    search_fields = ("text",)
    show_full_result_count = False
    fields = ("text", "deployed_says", "candidate_says", "deployed_link", "shadow_link", "created_at")
    readonly_fields = fields

    @display(description=_("text"), ordering="text")
    def excerpt(self, disagreement: Disagreement) -> str:
        """Return the beginning of the text."""
        return Truncator(disagreement.text).chars(EXCERPT_CHARS)

    @display(description=_("at work says"), ordering="deployed_label")
    def deployed_says(self, disagreement: Disagreement) -> str:
        """Return what the model at work said, and how surely."""
        return _said(disagreement.deployed_label, disagreement.deployed_confidence)

    @display(description=_("candidate says"), ordering="candidate_label")
    def candidate_says(self, disagreement: Disagreement) -> str:
        """Return what the candidate said, and how surely."""
        return _said(disagreement.candidate_label, disagreement.candidate_confidence)

    @display(description=_("deployed run"))
    def deployed_link(self, disagreement: Disagreement) -> SafeString:
        """Return the run at work then, with a link to it."""
        number = disagreement.deployed_run_id
        return format_html('<a href="{}">#{}</a>', reverse("admin:learning_run_change", args=[number]), number)

    @display(description=_("shadow"))
    def shadow_link(self, disagreement: Disagreement) -> SafeString:
        """Return the shadow with a link to it."""
        address = reverse("admin:learning_shadow_change", args=[disagreement.shadow_id])
        return format_html('<a href="{}">{}</a>', address, disagreement.shadow)


def _said(label: str, confidence: float) -> str:
    return f"{label or gettext('(out of scope)')} · {confidence * 100:.1f}\u00a0%"
