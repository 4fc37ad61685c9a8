"""The staff's face of the chat: sites, conversations to read and answer, and messages to search."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable
from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.contrib.auth.models import AbstractUser
from django.contrib.postgres.forms import SimpleArrayField
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db import connection
from django.db.models import Exists, OuterRef, Q, QuerySet, Subquery
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.utils.functional import cached_property
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import Truncator
from django.utils.timesince import timesince
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_POST
from unfold.admin import ModelAdmin
from unfold.decorators import display

from lepton_app.chat import delivery, handover
from lepton_app.chat.models import Conversation, Message, Site, validate_origin
from lepton_app.chat.protocol import ERROR_DETAILS, ErrorCode, FrameError, clean_text
from lepton_app.chat.transcripts import route_name, transcript

ANSWER = "chat.answer_conversation"
_EXCERPT_CHARS = 90
# Beyond this many rows PostgreSQL's own estimate is shown instead of a count.
_COUNT_UP_TO = 20_000
_STATUS_COLOURS = {
    Conversation.Status.WAITING.value: "danger",
    Conversation.Status.PERSON.value: "warning",
    Conversation.Status.ASSISTANT.value: "success",
}
_AUTHOR_COLOURS = {Message.Author.CUSTOMER.value: "info", Message.Author.PERSON.value: "warning"}


class LargeTablePaginator(Paginator):
    """Counts a long table by PostgreSQL's estimate, so that the list opens at once however long it is."""

    @cached_property
    def count(self) -> int:
        """The number of rows: exact for filtered lists and short tables."""
        queryset = self.object_list
        if isinstance(queryset, QuerySet) and not queryset.query.where:
            with connection.cursor() as cursor:
                cursor.execute(
                    "SELECT reltuples::bigint FROM pg_class WHERE oid = %s::regclass", [queryset.model._meta.db_table]
                )
                estimate = int(cursor.fetchone()[0])
            if estimate > _COUNT_UP_TO:
                return estimate
        return int(super().count)


def _unbroken(text: object) -> SafeString:
    """Keep a short text on one line: the lists break words where a column is narrow."""
    return format_html('<span class="whitespace-nowrap">{}</span>', text)


class SiteForm(forms.ModelForm):
    """Says what is wrong with an origin: an array's form field leaves out what its model's validators say."""

    class Meta:
        model = Site
        fields = ("name", "allowed_origins", "is_active")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        origins = self.fields.get("allowed_origins")
        if isinstance(origins, SimpleArrayField):
            origins.base_field.validators = [*origins.base_field.validators, validate_origin]


@admin.register(Site)
class SiteAdmin(ModelAdmin):
    """Web sites that carry the widget."""

    form = SiteForm
    list_display = ("name", "public_key", "origins", "is_active", "created_at")
    list_filter = ("is_active",)
    search_fields = ("name", "public_key")
    readonly_fields = ("public_key", "snippet", "created_at")
    fields = ("name", "allowed_origins", "is_active", "public_key", "snippet", "created_at")

    @display(description=_("allowed origins"))
    def origins(self, site: Site) -> str:
        """The origins in one line."""
        return ", ".join(site.allowed_origins)

    @display(description=_("snippet"))
    def snippet(self, site: Site) -> SafeString | str:
        """What the site's pages carry."""
        if not site.pk:
            return gettext("Shown once the site is saved.")
        return format_html(
            "<code>{}</code>", f'<script async src="https://…/widget.js" data-site="{site.public_key}"></script>'
        )


@admin.register(Conversation)
class ConversationAdmin(ModelAdmin):
    """Conversations: read, take over, answer, give back, close."""

    list_display = ("excerpt", "shown_status", "waiting", "shown_site", "language", "shown_assignee", "updated_at")
    list_display_links = ("excerpt",)
    list_filter = ("status", "site", "language", ("assignee", admin.RelatedOnlyFieldListFilter), "updated_at")
    list_select_related = ("site", "assignee")
    list_per_page = 50
    search_fields = ("messages__text",)
    search_help_text = _("Words of a message")
    show_full_result_count = False
    ordering = ("-updated_at",)
    change_template = "admin/chat/conversation/transcript.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Conversation]:
        """Conversations in which something was said, with their last message, in one query."""
        last = Message.objects.filter(conversation=OuterRef("pk"), sequence=OuterRef("last_sequence"))
        queryset: QuerySet[Conversation] = super().get_queryset(request)
        return queryset.filter(last_sequence__gt=0).annotate(last_text=Subquery(last.values("text")[:1]))

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Conversation], search_term: str
    ) -> tuple[QuerySet[Conversation], bool]:
        """Find every word in the messages, without a join that would multiply rows; or the conversation by its id."""
        condition = Q()
        for word in search_term.split():
            said = Message.objects.filter(conversation=OuterRef("pk"), text__icontains=word)
            condition &= Q(Exists(said))
        with contextlib.suppress(ValueError):
            condition |= Q(pk=uuid.UUID(search_term.strip()))
        return queryset.filter(condition), False

    @display(description=_("text"), ordering="updated_at")
    def excerpt(self, conversation: Conversation) -> str:
        """The beginning of the last message."""
        return Truncator(getattr(conversation, "last_text", None) or "").chars(_EXCERPT_CHARS)

    @display(description=_("status"), ordering="status", label=_STATUS_COLOURS)
    def shown_status(self, conversation: Conversation) -> tuple[str, str]:
        """The status, which decides the colour, and its name."""
        return conversation.status, conversation.get_status_display()

    @display(description=_("waiting"), ordering="waiting_since", empty_value="")
    def waiting(self, conversation: Conversation) -> SafeString | None:
        """For how long the customer has waited for a person."""
        since = conversation.waiting_since
        return _unbroken(timesince(since, timezone.now(), depth=1)) if since is not None else None

    @display(description=_("site"), ordering="site__name")
    def shown_site(self, conversation: Conversation) -> SafeString:
        """The site's name."""
        return _unbroken(conversation.site)

    @display(description=_("assignee"), ordering="assignee__username", empty_value="")
    def shown_assignee(self, conversation: Conversation) -> SafeString | None:
        """Who answers."""
        return _unbroken(conversation.assignee) if conversation.assignee is not None else None

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Conversations begin in the widget alone."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Conversation | None = None) -> bool:
        """There is no form: every change is one of the steps, each with a permission of its own."""
        return False

    # --- one conversation ---------------------------------------------------------------------------------------------

    def get_urls(self) -> list[URLPattern]:
        """Add the address of the steps."""
        step = path(
            "<uuid:conversation_id>/step/<slug:step>/",
            self.admin_site.admin_view(self.step_view),
            name="chat_conversation_step",
        )
        return [step, *super().get_urls()]

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Show the transcript in place of a form."""
        return self._show(request, self._conversation(request, object_id), extra_context)

    def _conversation(self, request: HttpRequest, object_id: object) -> Conversation:
        try:
            conversation = Conversation.objects.select_related("site", "assignee").get(pk=uuid.UUID(str(object_id)))
        except (ValueError, Conversation.DoesNotExist):
            raise Http404 from None
        if not self.has_view_permission(request, conversation):
            raise PermissionDenied
        return conversation

    def _show(
        self, request: HttpRequest, conversation: Conversation, extra_context: dict[str, Any] | None = None, **more: Any
    ) -> TemplateResponse:
        context = {
            **self.admin_site.each_context(request),
            "title": gettext("Conversation"),
            "subtitle": str(conversation),
            "opts": self.opts,
            "original": conversation,
            "object_id": str(conversation.pk),
            "conversation": conversation,
            "entries": transcript(conversation),
            "status_colour": _STATUS_COLOURS.get(conversation.status, "info"),
            "can_answer": request.user.has_perm(ANSWER),
            "is_open": conversation.status != Conversation.Status.CLOSED,
            "is_mine": (conversation.status, conversation.assignee_id) == (Conversation.Status.PERSON, request.user.pk),
            "client_id": uuid.uuid4(),
            **more,
            **(extra_context or {}),
        }
        return TemplateResponse(request, self.change_template, context)

    @method_decorator(require_POST)
    def step_view(self, request: HttpRequest, conversation_id: uuid.UUID, step: str) -> HttpResponse:
        """Make one step with a conversation: reply, take over, give back, close."""
        conversation = self._conversation(request, conversation_id)
        if not request.user.has_perm(ANSWER):
            raise PermissionDenied
        make_step = _STEPS.get(step)
        if make_step is None:
            raise Http404
        assert isinstance(request.user, AbstractUser)  # admin_view lets nobody else in
        try:
            done = make_step(conversation_id, request.user, request)
        except FrameError as error:
            # What was typed is not lost.
            text = request.POST.get("text", "")
            return self._show(request, conversation, error=ERROR_DETAILS[error.code], text=text)
        except handover.TakenByAnother as error:
            messages.error(request, gettext("%(name)s answers this conversation.") % {"name": error.assignee})
        except delivery.ConversationClosed:
            messages.error(request, gettext("The conversation is closed."))
        else:
            messages.success(request, done)
            if step != "reply":
                self.log_change(request, conversation, done)
        return HttpResponseRedirect(reverse("admin:chat_conversation_change", args=[conversation_id]))


def _reply(conversation_id: uuid.UUID, staff: AbstractUser, request: HttpRequest) -> str:
    try:
        client_id = uuid.UUID(request.POST.get("client_id", ""))
    except ValueError:
        raise FrameError(ErrorCode.BAD_FRAME) from None
    text = clean_text(request.POST.get("text", "").replace("\r\n", "\n"))
    handover.reply(conversation_id, staff=staff, text=text, client_id=client_id)
    return gettext("Your reply was sent.")


def _take_over(conversation_id: uuid.UUID, staff: AbstractUser, request: HttpRequest) -> str:
    handover.take_over(conversation_id, staff=staff)
    return gettext("You answer this conversation now.")


def _give_back(conversation_id: uuid.UUID, staff: AbstractUser, request: HttpRequest) -> str:
    handover.give_back(conversation_id, staff=staff)
    return gettext("The assistant answers this conversation again.")


def _close(conversation_id: uuid.UUID, staff: AbstractUser, request: HttpRequest) -> str:
    handover.close(conversation_id, staff=staff)
    return gettext("The conversation was closed.")


_STEPS: dict[str, Callable[[uuid.UUID, AbstractUser, HttpRequest], str]] = {
    "reply": _reply,
    "take-over": _take_over,
    "give-back": _give_back,
    "close": _close,
}


class RouteFilter(admin.SimpleListFilter):
    """What the assistant did."""

    title = _("route")
    parameter_name = "route"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """The routes of ``replies``."""
        return [(route, route_name(route)) for route in ("intent", "answer", "clarify", "refusal", "unavailable")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Message]) -> QuerySet[Message]:
        """Messages of the chosen route."""
        return queryset.filter(lineage__route=self.value()) if self.value() else queryset


@admin.register(Message)
class MessageAdmin(ModelAdmin):
    """Every message, to search and to read; nobody changes what was said."""

    list_display = ("excerpt", "shown_author", "route", "conversation_link", "created_at")
    list_display_links = ("excerpt",)
    list_filter = ("author", RouteFilter, "conversation__site", "conversation__language", "created_at")
    list_select_related = ("conversation",)
    list_per_page = 50
    search_fields = ("text",)
    show_full_result_count = False
    paginator = LargeTablePaginator
    ordering = ("-created_at",)
    fields: ClassVar = [
        *("conversation_link", "sequence", "author", "staff", "text", "attachments", "lineage"),
        *("in_reply_to", "client_id", "created_at"),
    ]
    readonly_fields: ClassVar = fields

    @display(description=_("text"))
    def excerpt(self, message: Message) -> str:
        """The beginning of the text."""
        return Truncator(message.text).chars(_EXCERPT_CHARS)

    @display(description=_("author"), ordering="author", label=_AUTHOR_COLOURS)
    def shown_author(self, message: Message) -> tuple[str, str]:
        """The author, who decides the colour, and the author's name."""
        return message.author, message.get_author_display()

    @display(description=_("route"), empty_value="")
    def route(self, message: Message) -> str | None:
        """What the assistant did."""
        route = message.lineage.get("route")
        return route_name(str(route)) if route else None

    @display(description=_("conversation"))
    def conversation_link(self, message: Message) -> SafeString:
        """A link to the transcript."""
        address = reverse("admin:chat_conversation_change", args=[message.conversation_id])
        return format_html('<a href="{}">{}</a>', address, message.conversation)

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Messages come from customers, the assistant and the transcript's page."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Message | None = None) -> bool:
        """What was said was said."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Message | None = None) -> bool:
        """A single message cannot go, or the numbers would have a gap; a conversation can."""
        return False
