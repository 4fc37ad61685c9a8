"""Sites, conversations and their messages, numbered so that nothing is lost and nothing comes twice."""

from __future__ import annotations

import secrets
import uuid
from typing import ClassVar
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _


def new_public_key() -> str:
    """Return a random public key of a site: 16 URL-safe characters, no secret."""
    return secrets.token_urlsafe(12)


def validate_origin(value: str) -> None:
    """Accept ``scheme://host[:port]`` alone, as browsers send it in the ``Origin`` header."""
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname or value != f"{parts.scheme}://{parts.netloc}":
        raise ValidationError(_("Write an origin such as https://www.example.com, without a path."), code="origin")


class Site(models.Model):
    """A web site that carries the widget: its public key, and the origins from which sockets are accepted."""

    name = models.CharField(_("name"), max_length=100, unique=True)
    public_key = models.CharField(
        _("public key"),
        max_length=32,
        unique=True,
        default=new_public_key,
        editable=False,
        help_text=_("Written into the widget's snippet. It names the site and is no secret."),
    )
    allowed_origins = ArrayField(
        models.CharField(max_length=255, validators=[validate_origin]),
        verbose_name=_("allowed origins"),
        default=list,
        blank=True,
        help_text=_(
            "Pages that may open the chat, separated by commas, for example https://www.example.com. "
            "Pages of this installation's own hosts may always."
        ),
    )
    is_active = models.BooleanField(
        _("active"), default=True, help_text=_("A site that is not active accepts no chats.")
    )
    created_at = models.DateTimeField(_("created"), auto_now_add=True)

    class Meta:
        verbose_name = _("site")
        verbose_name_plural = _("sites")
        ordering: ClassVar = ["name"]

    def __str__(self) -> str:
        return self.name


class Conversation(models.Model):
    """One visitor's talk with the company, on one site."""

    class Status(models.TextChoices):
        """Who is to speak next: the assistant, nobody yet, a person; or the talk has ended."""

        ASSISTANT = "assistant", _("Assistant")
        WAITING = "waiting", _("Waiting for a person")
        PERSON = "person", _("With a person")
        CLOSED = "closed", _("Closed")

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    site = models.ForeignKey(Site, on_delete=models.PROTECT, related_name="conversations", verbose_name=_("site"))
    visitor_id = models.UUIDField(_("visitor"), db_index=True, help_text=_("Stands in the visitor's signed token."))
    language = models.CharField(_("language"), max_length=10, choices=settings.LANGUAGES, default="en")
    status = models.CharField(_("status"), max_length=12, choices=Status.choices, default=Status.ASSISTANT)
    assignee = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("assignee"),
    )
    last_sequence = models.PositiveIntegerField(_("last sequence number"), default=0, editable=False)
    created_at = models.DateTimeField(_("created"), auto_now_add=True)
    updated_at = models.DateTimeField(_("last message"), auto_now=True)
    waiting_since = models.DateTimeField(_("waiting since"), null=True, blank=True, editable=False)

    class Meta:
        verbose_name = _("conversation")
        verbose_name_plural = _("conversations")
        ordering: ClassVar = ["-updated_at"]
        permissions: ClassVar = [("answer_conversation", _("Can answer customers"))]
        indexes: ClassVar = [
            models.Index(fields=["-updated_at"], name="conversation_recent"),
            models.Index(fields=["waiting_since"], name="conversation_waiting", condition=Q(status="waiting")),
            models.Index(fields=["site", "visitor_id", "-updated_at"], name="conversation_of_visitor"),
        ]

    def __str__(self) -> str:
        return f"{self.get_status_display()} · {str(self.id)[:8]}"


class Message(models.Model):
    """One message of a conversation; ``sequence`` counts from 1 without a gap."""

    class Author(models.TextChoices):
        """Who wrote the message."""

        CUSTOMER = "customer", _("Customer")
        ASSISTANT = "assistant", _("Assistant")
        PERSON = "person", _("Person")
        SYSTEM = "system", _("System")

    conversation = models.ForeignKey(
        Conversation, on_delete=models.CASCADE, related_name="messages", verbose_name=_("conversation")
    )
    sequence = models.PositiveIntegerField(_("sequence number"))
    author = models.CharField(_("author"), max_length=10, choices=Author.choices)
    staff = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("staff member"),
    )
    client_id = models.UUIDField(
        _("client id"),
        null=True,
        blank=True,
        help_text=_("Made by the sender, so that a message that is sent again is stored once."),
    )
    in_reply_to = models.OneToOneField(
        "self",
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        related_name="reply",
        verbose_name=_("in reply to"),
        help_text=_("The customer's message that the assistant answers; each is answered once."),
    )
    text = models.TextField(_("text"))
    attachments = models.JSONField(
        _("attachments"),
        default=dict,
        blank=True,
        help_text=_("What the widget shows beside the text: citations, choices, articles that are near."),
    )
    lineage = models.JSONField(
        _("lineage"),
        default=dict,
        blank=True,
        help_text=_("Why the assistant said this: model and index version, scores, thresholds."),
    )
    created_at = models.DateTimeField(_("created"), auto_now_add=True)

    class Meta:
        verbose_name = _("message")
        verbose_name_plural = _("messages")
        ordering: ClassVar = ["conversation", "sequence"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["conversation", "sequence"], name="message_sequence_once"),
            models.UniqueConstraint(
                fields=["conversation", "client_id"],
                name="message_client_id_once",
                condition=Q(client_id__isnull=False),
            ),
        ]
        indexes: ClassVar = [models.Index(fields=["-created_at"], name="message_recent")]

    def __str__(self) -> str:
        return f"{self.get_author_display()}: {self.text[:60]}"
