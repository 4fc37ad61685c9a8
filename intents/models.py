"""An intent: what a customer may want, and what is replied."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.utils.translation import gettext_lazy as _


class Intent(models.Model):
    """One entry of the catalogue. Its class in the learning engine is ``label``; renaming keeps the samples."""

    label = models.OneToOneField(
        "learning.Label", on_delete=models.PROTECT, related_name="intent", verbose_name=_("label")
    )
    title_en = models.CharField(_("title (English)"), max_length=100)
    title_zh = models.CharField(_("title (Chinese)"), max_length=100)
    description_en = models.TextField(
        _("description (English)"), blank=True, help_text=_("What belongs here and what does not, for those who label.")
    )
    description_zh = models.TextField(_("description (Chinese)"), blank=True)
    question_en = models.CharField(
        _("question (English)"),
        max_length=200,
        help_text=_("A short question that stands for the intent, in suggestions and in “did you mean”."),
    )
    question_zh = models.CharField(_("question (Chinese)"), max_length=200)
    reply_en = models.TextField(_("reply (English)"), help_text=_("Markdown. HTML is shown as text."))
    reply_zh = models.TextField(_("reply (Chinese)"))
    is_suggested = models.BooleanField(
        _("suggested"), default=False, help_text=_("Offered as a suggested question when the chat opens.")
    )
    hands_over = models.BooleanField(
        _("hands over"), default=False, help_text=_("After the reply the conversation waits for a person.")
    )
    is_active = models.BooleanField(
        _("active"), default=True, help_text=_("An intent that is not active is not replied to.")
    )
    created_at = models.DateTimeField(_("created"), auto_now_add=True)
    updated_at = models.DateTimeField(_("updated"), auto_now=True)

    class Meta:
        verbose_name = _("intent")
        verbose_name_plural = _("intents")
        ordering: ClassVar = ["label__name"]

    def __str__(self) -> str:
        return self.title_en
