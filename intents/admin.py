"""The staff's face of the intent catalogue: what customers may want, and what is replied."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.core.validators import RegexValidator
from django.db import transaction
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from unfold.admin import ModelAdmin
from unfold.decorators import display
from unfold.widgets import UnfoldAdminTextInputWidget

from intents import catalogue
from intents.classifier import TASK
from intents.models import Intent
from lepton_app.learning.models import Label, Task

# Fewer texts than this in a language teach a classifier little.
ENOUGH_TEXTS = 25


class IntentForm(forms.ModelForm):
    """An intent with its name, which is the name of its label in the learning engine."""

    name = forms.CharField(
        label=_("name"),
        max_length=100,
        validators=[
            RegexValidator(r"^[a-z][a-z0-9_]*$", _("Lower-case letters, digits and underscores, letter first."))
        ],
        widget=UnfoldAdminTextInputWidget,
        help_text=_("As models and logs name it, for example card_lost. Labelled texts follow when it is renamed."),
    )

    class Meta:
        model = Intent
        exclude = ("label",)  # noqa: DJ006 - every field but the one that the name stands for

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk is not None and "name" in self.fields:
            self.fields["name"].initial = self.instance.label.name

    def clean_name(self) -> str:
        """Refuse a name that another label of the task has."""
        name: str = self.cleaned_data["name"]
        taken = Label.objects.filter(task__name=TASK, name=name, intent__isnull=False)
        if self.instance.pk is not None:
            taken = Label.objects.filter(task__name=TASK, name=name).exclude(pk=self.instance.label_id)
        if taken.exists():
            raise forms.ValidationError(_("Another intent has this name already."), code="taken")
        return name


@admin.register(Intent)
class IntentAdmin(ModelAdmin):
    """Intents with their replies, and how many labelled texts each has."""

    form = IntentForm
    list_display = ("name", "title_en", "title_zh", "texts", "is_suggested", "is_active")
    list_display_links = ("name", "title_en", "title_zh")
    list_filter = ("is_active", "is_suggested", "hands_over")
    list_select_related = ("label",)
    search_fields = ("label__name", "title_en", "title_zh", "reply_en", "reply_zh")
    search_help_text = _("Name, title or reply")
    list_per_page = 50
    readonly_fields = ("created_at", "updated_at")
    warn_unsaved_form = True
    fieldsets = (
        (None, {"fields": ("name", "is_active", "is_suggested", "hands_over")}),
        (_("English"), {"fields": ("title_en", "question_en", "reply_en", "description_en"), "classes": ("tab",)}),
        (_("Chinese"), {"fields": ("title_zh", "question_zh", "reply_zh", "description_zh"), "classes": ("tab",)}),
        (_("History"), {"fields": (("created_at", "updated_at"),), "classes": ("tab",)}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Intent]:
        """Count the labelled texts with the rows."""
        samples = "label__samples"
        return (
            super()
            .get_queryset(request)
            .annotate(
                english_texts=Count(samples, filter=Q(label__samples__language="en")),
                chinese_texts=Count(samples, filter=Q(label__samples__language="zh-hans")),
            )
        )

    @display(description=_("name"), ordering="label__name")
    def name(self, intent: Intent) -> str:
        """Return the label's name."""
        return intent.label.name

    @display(description=_("texts (English / Chinese)"), label={"few": "warning", "enough": "success"})
    def texts(self, intent: Intent) -> tuple[str, str]:
        """Return the labelled texts per language, marked where they are few."""
        english, chinese = getattr(intent, "english_texts", 0), getattr(intent, "chinese_texts", 0)
        return "enough" if min(english, chinese) >= ENOUGH_TEXTS else "few", f"{english} / {chinese}"

    @transaction.atomic
    def save_model(self, request: HttpRequest, obj: Intent, form: IntentForm, change: bool) -> None:
        """Save the intent and its label together; the next reply reads the catalogue anew."""
        name = form.cleaned_data["name"]
        if obj.label_id is None:
            task, _made = Task.objects.get_or_create(name=TASK, defaults={"title": "Intent"})
            obj.label, _made = Label.objects.get_or_create(task=task, name=name)
        elif obj.label.name != name:
            obj.label.name = name
            obj.label.save(update_fields=["name"])
        super().save_model(request, obj, form, change)
        transaction.on_commit(catalogue.forget)
