"""Store each message once, give it the next number of its conversation, and tell every open tab after the commit.

The conversation's row is the lock: whoever appends holds it until the commit, so that numbers have no gap and
messages become visible in the order of their numbers. What goes over the channel layer is a courtesy; a client that
missed it asks for everything after the last number it has seen.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.utils import timezone

from lepton_app.chat.models import Conversation, Message
from lepton_app.chat.rendering import message_body
from lepton_app.lib.live import publish_on_commit


class ChatError(Exception):
    """An operation on a conversation is refused; nothing has changed."""

    code = "chat"


class ConversationClosed(ChatError):
    """The conversation has ended; nothing is added to it."""

    code = "closed"


class ClientIdTaken(ChatError):
    """Somebody else in the conversation has used this client id."""

    code = "client_id_taken"


@dataclass(frozen=True)
class Stored:
    """A message that is stored, and whether this call has stored it."""

    message: Message
    is_new: bool


def group_of(conversation_id: uuid.UUID) -> str:
    """Return the channel group in which everybody listens who has the conversation open."""
    return f"chat.{conversation_id.hex}"


def lock(conversation_id: uuid.UUID) -> Conversation:
    """Return the conversation locked until the end of the transaction; raise ``Conversation.DoesNotExist``."""
    return Conversation.objects.select_for_update(no_key=True).get(pk=conversation_id)


def append(
    conversation: Conversation,
    *,
    author: Message.Author,
    text: str,
    staff_id: int | None = None,
    client_id: uuid.UUID | None = None,
    in_reply_to_id: int | None = None,
    attachments: Mapping[str, Any] | None = None,
    lineage: Mapping[str, Any] | None = None,
) -> Message:
    """Add a message to a conversation that the caller has locked, and publish it on commit.

    Changed fields of ``conversation`` are saved with its new number.
    """
    conversation.last_sequence += 1
    conversation.updated_at = timezone.now()
    conversation.save()
    message = Message.objects.create(
        conversation=conversation,
        sequence=conversation.last_sequence,
        author=author,
        text=text,
        staff_id=staff_id,
        client_id=client_id,
        in_reply_to_id=in_reply_to_id,
        attachments=dict(attachments or {}),
        lineage=dict(lineage or {}),
    )
    publish_on_commit(group_of(conversation.pk), {"type": "chat.message", "message": message_body(message)})
    return message


@transaction.atomic
def store_customer_message(conversation_id: uuid.UUID, *, client_id: uuid.UUID, text: str) -> Stored:
    """Store what the customer says; the same ``client_id`` again returns the row that is there, whatever its text.

    Raises ``ConversationClosed`` for a new message of a closed conversation, ``ClientIdTaken`` when the id belongs
    to somebody else's message.
    """
    conversation = lock(conversation_id)
    known = conversation.messages.filter(client_id=client_id).first()
    if known is not None:
        if known.author != Message.Author.CUSTOMER:
            raise ClientIdTaken
        return Stored(known, is_new=False)
    if conversation.status == Conversation.Status.CLOSED:
        raise ConversationClosed
    return Stored(append(conversation, author=Message.Author.CUSTOMER, text=text, client_id=client_id), is_new=True)


@transaction.atomic
def store_reply(
    question: Message, *, text: str, attachments: Mapping[str, Any], lineage: Mapping[str, Any]
) -> Stored | None:
    """Store the assistant's reply to a customer's message, once.

    Returns None when nobody waits for it any more: a person has spoken since, or is about to.
    """
    conversation = lock(question.conversation_id)
    known = conversation.messages.filter(in_reply_to=question).first()
    if known is not None:
        return Stored(known, is_new=False)
    if not is_answerable(conversation, question):
        return None
    reply = append(
        conversation,
        author=Message.Author.ASSISTANT,
        text=text,
        in_reply_to_id=question.pk,
        attachments=attachments,
        lineage=lineage,
    )
    return Stored(reply, is_new=True)


def is_answerable(conversation: Conversation, question: Message) -> bool:
    """Whether the assistant may answer: it is its turn, and nobody else has spoken since the question."""
    if conversation.status != Conversation.Status.ASSISTANT:
        return False
    return not conversation.messages.filter(
        sequence__gt=question.sequence, author__in=(Message.Author.PERSON, Message.Author.SYSTEM)
    ).exists()


def next_unanswered(conversation_id: uuid.UUID) -> Message | None:
    """Return the oldest message that the assistant still has to answer, with its conversation; None when all is said.

    The row is the job: a reply that was lost with its process is found here again.
    """
    conversation = Conversation.objects.get(pk=conversation_id)
    if conversation.status != Conversation.Status.ASSISTANT:
        return None
    others = conversation.messages.filter(author__in=(Message.Author.PERSON, Message.Author.SYSTEM))
    last_of_others = others.order_by("-sequence").values_list("sequence", flat=True).first() or 0
    question = (
        conversation.messages.filter(author=Message.Author.CUSTOMER, reply__isnull=True, sequence__gt=last_of_others)
        .order_by("sequence")
        .first()
    )
    if question is not None:
        question.conversation = conversation
    return question


def messages_after(conversation_id: uuid.UUID, sequence: int, *, limit: int) -> list[Message]:
    """Return at most ``limit`` messages numbered above ``sequence``, in order."""
    found = Message.objects.filter(conversation_id=conversation_id, sequence__gt=sequence)
    return list(found.order_by("sequence")[:limit])
