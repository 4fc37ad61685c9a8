"""The form that begins a training: a method, a run to start from, and options that are to differ from the preset."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django import forms
from django.contrib.auth.models import User
from django.db.models import QuerySet
from django.urls import reverse
from django.utils.functional import Promise
from django.utils.html import format_html
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from pydantic import ValidationError as WrongOptions

from lepton_app.learning import runs
from lepton_app.learning.admin import words
from lepton_app.learning.config import METHODS, Option, configured, options
from lepton_app.learning.errors import BadConfiguration, BaseUnusable, LearningError, NothingNew
from lepton_app.learning.models import Run, Task

PREFIX = "set_"
MOST_OPTION_CHARS = 500
_MOST_BASES = 50


@dataclass(frozen=True)
class MethodCard:
    """A method to choose, with when to take it."""

    method: str
    title: str
    sentence: str
    is_chosen: bool


@dataclass(frozen=True)
class OptionRow:
    """One option: its field, its sentence, its range, and what the chosen method takes when nothing is said."""

    name: str
    field: forms.BoundField
    sentence: str
    allowed: str
    preset: str


@dataclass(frozen=True)
class OptionGroup:
    """Options that belong together, and the methods that read them."""

    title: Promise
    methods: str
    is_read: bool
    rows: list[OptionRow]


class BaseChoice(forms.ModelChoiceField):
    """Earlier runs to start from, told apart by number, method and accuracy."""

    def label_from_instance(self, obj: Any) -> str:
        """Return what stands in the list."""
        accuracy = obj.metrics.get("accuracy")
        said = f"#{obj.pk} · {obj.get_method_display()}"
        return f"{said} · {accuracy * 100:.1f} %" if isinstance(accuracy, int | float) else said


class TrainForm(forms.Form):
    """What a run is to learn with. Options that are left empty are the preset's."""

    method = forms.ChoiceField(label=_("Method"), choices=Run.Method.choices)

    def __init__(self, *args: Any, task: Task, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.task = task
        self.fields["base"] = BaseChoice(
            queryset=bases_of(task), required=False, label=_("Starts from"), empty_label=gettext("the encoder as it is")
        )
        self._options = options()
        for option in self._options:
            field = _field_of(option)
            field.widget.attrs["aria-describedby"] = f"id_{PREFIX}{option.name}_helptext"
            self.fields[PREFIX + option.name] = field

    @property
    def chosen(self) -> str:
        """The method that is chosen, the first one before anybody has."""
        said = self.data.get("method", "") if self.is_bound else str(self.initial.get("method", ""))
        return said if said in METHODS else METHODS[0]

    def cards(self) -> list[MethodCard]:
        """Return the methods, in the order in which they are offered."""
        return [
            MethodCard(method, str(Run.Method(method).label), str(words.METHODS[method]), method == self.chosen)
            for method in METHODS
        ]

    def groups(self) -> Iterator[OptionGroup]:
        """Return the options by group, with what the chosen method's preset says."""
        preset = presets()[self.chosen]
        by_name = {option.name: option for option in self._options}
        grouped = {name for _title, _methods, names in words.GROUPS for name in names}
        for place, (title, methods, names) in enumerate(words.GROUPS):
            listed = [*names, *(name for name in by_name if not place and name not in grouped)]
            rows = [
                OptionRow(
                    name=name,
                    field=self[PREFIX + name],
                    sentence=gettext(by_name[name].description),
                    allowed=by_name[name].allowed if by_name[name].allowed != "text" else "",
                    preset=preset[name],
                )
                for name in listed
                if name in by_name
            ]
            yield OptionGroup(title, " ".join(methods), self.chosen in methods, rows)

    def bases(self) -> list[tuple[int, str, str]]:
        """Return number, method and words of the runs that can be started from."""
        field = self.fields["base"]
        assert isinstance(field, BaseChoice)
        return [(run.pk, run.method, field.label_from_instance(run)) for run in field.queryset or ()]

    def changes(self) -> dict[str, str]:
        """Return the options that somebody has filled in."""
        filled = {option.name: self.cleaned_data.get(PREFIX + option.name, "") for option in self._options}
        return {name: value for name, value in filled.items() if value != ""}

    @property
    def has_changed_options(self) -> bool:
        """Whether an option is filled in or wrong, so that they are to be seen at once."""
        return self.is_bound and any(self.data.get(PREFIX + option.name) for option in self._options)

    def queue(self, *, by: User) -> Run | None:
        """Queue the run and return it; None, with the reason among the errors, when it is refused."""
        try:
            return runs.request_run(
                self.task,
                method=self.cleaned_data["method"],
                changes=self.changes(),
                base=self.cleaned_data["base"],
                requested_by=by,
            )
        except BadConfiguration as error:
            self._say_what_is_wrong(error)
        except BaseUnusable as error:
            self.add_error("base", str(error))
        except NothingNew as error:
            earlier = reverse("admin:learning_run_change", args=[error.run_id])
            shown = format_html('{} <a href="{}">{}</a>', str(error), earlier, gettext("Look at the run"))
            self.add_error(None, shown)
        except LearningError as error:
            self.add_error(None, str(error))
        return None

    def _say_what_is_wrong(self, error: BadConfiguration) -> None:
        """Put each problem to its option; what concerns several, or none that is shown, to the form."""
        cause = error.__cause__
        problems = cause.errors() if isinstance(cause, WrongOptions) else []
        for problem in problems:
            name = PREFIX + ".".join(map(str, problem["loc"]))
            message = problem["msg"].removeprefix("Value error, ")
            self.add_error(name if name in self.fields else None, message)
        if not problems:
            self.add_error(None, str(error))


def bases_of(task: Task) -> QuerySet[Run]:
    """Return the newest runs of the task that another one can start from: those that brought an encoder."""
    newest = Run.objects.filter(task=task, status=Run.Status.READY).exclude(encoder_artifact="").order_by("-pk")
    return Run.objects.filter(pk__in=newest.values("pk")[:_MOST_BASES]).order_by("-pk")


def presets() -> dict[str, dict[str, str]]:
    """Return for each method what its options are when nothing is said, as a person writes them."""
    return {
        method: {name: written(value) for name, value in configured(method, {}).model_dump().items()}
        for method in METHODS
    }


def written(value: object) -> str:
    """Return an option's value as it is typed.

    >>> written(0.0005), written(True), written("auto"), written(5)
    ('0.0005', 'true', 'auto', '5')
    """
    return value if isinstance(value, str) else json.dumps(value)


def _field_of(option: Option) -> forms.Field:
    if " | " in option.allowed:
        choices = [("", gettext("as the preset")), *((one, one) for one in option.allowed.split(" | "))]
        return forms.ChoiceField(choices=choices, required=False, label=option.name)
    field = forms.CharField(required=False, label=option.name, max_length=MOST_OPTION_CHARS)
    if option.allowed != "text":
        field.widget.attrs |= {"inputmode": "decimal", "autocomplete": "off"}
    return field
