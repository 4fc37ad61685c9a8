"""News items and posts, each stored once per source."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _


class Item(models.Model):
    """A news item or a post, as its source published it."""

    source = models.CharField(_("source"), max_length=100)
    guid = models.CharField(_("id at the source"), max_length=255)
    title = models.CharField(_("title"), max_length=500, blank=True)
    text = models.TextField(_("text"))
    url = models.URLField(_("address"), max_length=1000, blank=True)
    language = models.CharField(_("language"), max_length=10, choices=settings.LANGUAGES)
    published_at = models.DateTimeField(_("published"), help_text=_("The time of the event, not of its arrival."))
    received_at = models.DateTimeField(
        _("received"), default=timezone.now, editable=False, help_text=_("One moment for all items of a batch.")
    )

    class Meta:
        verbose_name = _("news item")
        verbose_name_plural = _("news items")
        ordering: ClassVar = ["-published_at", "-id"]
        constraints: ClassVar = [models.UniqueConstraint(fields=["source", "guid"], name="item_once_per_source")]
        indexes: ClassVar = [models.Index(fields=["-published_at", "-id"], name="item_recent")]

    def __str__(self) -> str:
        return self.title or self.text[:80]
