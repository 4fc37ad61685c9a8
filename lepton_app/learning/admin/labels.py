"""Labels, the texts that stand under them, and who said what of which text."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import Truncator
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from unfold.admin import ModelAdmin
from unfold.decorators import display

from lepton_app.learning import labelling
from lepton_app.learning.admin.base import EXCERPT_CHARS, ReadOnlyAdmin, count_of, person_of
from lepton_app.learning.labelling import Labelled
from lepton_app.learning.models import Annotation, Label, Sample


class LabelForm(forms.ModelForm):
    """Refuses a name that another label of the task has, up to capitals and white space."""

    def clean_name(self) -> str:
        """Return the name with single spaces."""
        return " ".join(self.cleaned_data["name"].split())

    def clean(self) -> dict[str, Any] | None:
        """Compare with the task's other labels."""
        cleaned = super().clean() or self.cleaned_data
        task = cleaned.get("task") or (self.instance.task if self.instance.pk else None)
        others = Label.objects.filter(task=task, name__iexact=cleaned.get("name", "")).exclude(pk=self.instance.pk)
        if task is not None and (other := others.first()) is not None:
            raise ValidationError({"name": gettext("There is the label “%(name)s” already.") % {"name": other.name}})
        return cleaned


@admin.register(Label)
class LabelAdmin(ModelAdmin):
    """The classes of a task, and how many texts stand under each."""

    form = LabelForm
    list_display = ("name", "task", "samples_there", "is_active", "created_at")
    list_filter = ("task", "is_active")
    list_select_related = ("task",)
    list_per_page = 100
    search_fields = ("name",)
    fields = ("task", "name", "is_active", "created_at")
    ordering = ("task", "name")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Label]:
        """Count samples with the rows."""
        queryset: QuerySet[Label] = super().get_queryset(request)
        return queryset.annotate(sample_count=count_of(Sample.objects.all(), "label"))

    def get_readonly_fields(self, request: HttpRequest, obj: Label | None = None) -> tuple[str, ...]:
        """Keep a label in its task: its samples belong to that task too."""
        return ("task", "created_at") if obj is not None else ("created_at",)

    @display(description=_("samples"), ordering="sample_count")
    def samples_there(self, label: Label) -> SafeString:
        """Return how many texts have the label, with a link to them."""
        address = f"{reverse('admin:learning_sample_changelist')}?label__id__exact={label.pk}"
        return format_html('<a href="{}">{}</a>', address, getattr(label, "sample_count", 0))


class LabelOfTaskFilter(admin.RelatedFieldListFilter):
    """Labels with the task's name where there are several tasks, and a way to those without one."""

    include_empty_choice = True


class SampleForm(forms.ModelForm):
    """A text with what somebody says of it: one of its task's labels, or out of scope."""

    def clean(self) -> dict[str, Any] | None:
        """Refuse what says nothing, two things, or something about another task; and a text that is there already."""
        cleaned = super().clean() or self.cleaned_data
        task = cleaned.get("task") or (self.instance.task if self.instance.pk else None)
        label, is_out_of_scope = cleaned.get("label"), cleaned.get("is_out_of_scope")
        if label is not None and is_out_of_scope:
            raise ValidationError(gettext("Choose a label or “out of scope”, not both."), code="both")
        if label is None and not is_out_of_scope:
            raise ValidationError(gettext("Choose a label or “out of scope”."), code="neither")
        if label is not None and task is not None and label.task_id != task.pk:
            raise ValidationError({"label": gettext("This label belongs to another task.")})
        text = cleaned.get("text", "")
        if len(text) > labelling.MAX_TEXT_CHARS:
            limit = {"limit": labelling.MAX_TEXT_CHARS}
            raise ValidationError({"text": gettext("At most %(limit)s characters are allowed.") % limit})
        if task is not None and text.strip() and self.instance.pk is None:
            digest = labelling.digest(text, cleaned.get("entity", ""))
            known = Sample.objects.filter(task=task, digest=digest).first()
            if known is not None:
                raise ValidationError({"text": gettext("Sample #%(number)s has this text.") % {"number": known.pk}})
        return cleaned


@admin.register(Sample)
class SampleAdmin(ModelAdmin):
    """Texts with the label that stands. Saving adds an annotation; what was said before is kept."""

    form = SampleForm
    list_display = ("excerpt", "said", "entity", "side", "disputed", "language", "task", "created_at")
    list_filter = ("task", "language", "is_disputed", "split", "is_out_of_scope", ("label", LabelOfTaskFilter))
    list_select_related = ("task", "label")
    list_per_page = 50
    search_fields = ("text", "entity", "label__name")
    search_help_text = _("Words of the text, what it is about, or a label's name")
    show_full_result_count = False
    autocomplete_fields = ("label",)
    fields = ("task", "text", "entity", "label", "is_out_of_scope", "is_disputed", "side", "language", "created_at")

    def get_readonly_fields(self, request: HttpRequest, obj: Sample | None = None) -> tuple[str, ...]:
        """Keep the text, what it is about and its task: another text is another sample."""
        known = ("is_disputed", "side", "language", "created_at")
        return ("task", "text", "entity", *known) if obj is not None else known

    @display(description=_("text"), ordering="text")
    def excerpt(self, sample: Sample) -> str:
        """Return the beginning of the text."""
        return Truncator(sample.text).chars(EXCERPT_CHARS)

    @display(description=_("label"), ordering="label__name")
    def said(self, sample: Sample) -> str:
        """Return the label that stands."""
        if sample.label is not None:
            return sample.label.name
        return gettext("(out of scope)") if sample.is_out_of_scope else "–"

    @display(description=_("side"), ordering="split")
    def side(self, sample: Sample) -> str:
        """Return what the text is used for, once a training has met it."""
        return sample.get_split_display() if sample.split else "–"

    @display(description=_("disputed"), ordering="is_disputed", label={"yes": "warning"})
    def disputed(self, sample: Sample) -> tuple[str, str] | None:
        """Mark texts whose labels contradict each other."""
        return ("yes", gettext("disputed")) if sample.is_disputed else None

    def save_model(self, request: HttpRequest, obj: Sample, form: forms.ModelForm, change: bool) -> None:
        """Add an annotation of this person; it is what sets the sample's label."""
        # Saving a disputed one as it is decides the dispute.
        if change and not form.changed_data and not obj.is_disputed:
            return
        label = obj.label.name if obj.label is not None else None
        labelling.annotate(
            obj.task,
            [Labelled(obj.text, label, obj.entity)],
            source=Annotation.Source.STAFF,
            annotator=person_of(request),
        )
        stored = Sample.objects.get(task=obj.task, digest=labelling.digest(obj.text, obj.entity))
        obj.pk, obj._state.adding = stored.pk, False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Nobody deletes what somebody has annotated: what is not to be learnt is out of scope."""
        return False


@admin.register(Annotation)
class AnnotationAdmin(ReadOnlyAdmin):
    """Who said what of which text, and when."""

    list_display = ("excerpt", "said", "source", "annotator", "created_at")
    list_filter = ("sample__task", "source", "is_out_of_scope", "created_at")
    list_select_related = ("sample", "label", "annotator")
    list_per_page = 50
    search_fields = ("sample__text", "label__name")
    show_full_result_count = False
    fields = ("sample_link", "said", "source", "annotator", "created_at")
    readonly_fields = fields

    @display(description=_("text"))
    def excerpt(self, annotation: Annotation) -> str:
        """Return the beginning of the text."""
        return Truncator(annotation.sample.text).chars(EXCERPT_CHARS)

    @display(description=_("said"), ordering="label__name")
    def said(self, annotation: Annotation) -> str:
        """Return what was said."""
        return annotation.label.name if annotation.label is not None else gettext("(out of scope)")

    @display(description=_("sample"))
    def sample_link(self, annotation: Annotation) -> SafeString:
        """Return the text with a link to its sample."""
        address = reverse("admin:learning_sample_change", args=[annotation.sample_id])
        return format_html('<a href="{}">{}</a>', address, annotation.sample.text)
