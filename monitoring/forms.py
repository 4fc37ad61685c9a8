"""What the dashboard can be asked for: the same form reads the page's address and the socket's."""

from __future__ import annotations

from typing import Any

from django import forms
from django.conf import settings
from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _

from monitoring.dashboard import Cursor, Filters

MAX_SEARCH_CHARS = 200


class FilterForm(forms.Form):
    """Source, language and words to look for, all optional; ``before`` continues a list where a page ended."""

    q = forms.CharField(label=_("Search"), max_length=MAX_SEARCH_CHARS, required=False)
    source = forms.CharField(label=_("Source"), max_length=100, required=False)
    language = forms.ChoiceField(
        label=_("Language"), choices=[("", _("All languages")), *settings.LANGUAGES], required=False
    )
    before = forms.CharField(max_length=40, required=False)

    def clean_before(self) -> Cursor | None:
        """Return the place to continue from, or None for the newest items."""
        text = self.cleaned_data["before"]
        if not text:
            return None
        try:
            return Cursor.parse(text)
        except ValueError:
            raise ValidationError(_("This page of the list does not exist."), code="before") from None

    @property
    def filters(self) -> Filters:
        """The filters of a valid form."""
        cleaned: dict[str, Any] = self.cleaned_data
        return Filters(source=cleaned["source"], language=cleaned["language"], words=tuple(cleaned["q"].split()))
