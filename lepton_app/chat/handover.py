"""From the assistant to a person and back: each step once, told to the customer, and shown in every tab.

```
assistant --ask_for_person--> waiting --take_over--> person --give_back--> assistant
    any of them --close--> closed
```

A step that has been made already does nothing. Each step is a system message in the customer's language, so that it
has a number, is never missed, and stands in the transcript.
"""

from __future__ import annotations

import uuid
from typing import Any

from django.contrib.auth.models import AbstractBaseUser
from django.db import transaction
from django.utils import timezone, translation
from django.utils.translation import gettext

from lepton_app.chat.delivery import ChatError, ConversationClosed, Stored, append, group_of, lock
from lepton_app.chat.models import Conversation, Message
from lepton_app.lib.live import publish_on_commit

Status = Conversation.Status


class TakenByAnother(ChatError):
    """Another colleague answers this conversation."""

    code = "taken"

    def __init__(self, assignee: object) -> None:
        super().__init__(str(assignee))
        self.assignee = assignee


@transaction.atomic
def ask_for_person(conversation_id: uuid.UUID, *, reason: str) -> Conversation:
    """Let the conversation wait for a person; ``reason`` is a code that is kept (``customer``, ``intent``, …).

    Raises ``ConversationClosed``.
    """
    conversation = _open(conversation_id)
    if conversation.status == Status.ASSISTANT:
        conversation.waiting_since = timezone.now()
        with translation.override(conversation.language):
            text = gettext("I have asked a colleague to join. You can go on writing; a person will answer here.")
        _move(conversation, Status.WAITING, text=text, event="ask_for_person", reason=reason)
    return conversation


@transaction.atomic
def take_over(conversation_id: uuid.UUID, *, staff: AbstractBaseUser) -> Conversation:
    """Let ``staff`` answer from now on; the assistant is silent.

    Raises ``ConversationClosed``, and ``TakenByAnother`` while another colleague answers.
    """
    conversation = _open(conversation_id)
    if conversation.status == Status.PERSON and conversation.assignee_id is not None:
        if conversation.assignee_id != staff.pk:
            raise TakenByAnother(conversation.assignee)
        return conversation
    conversation.assignee_id = staff.pk
    conversation.waiting_since = None
    with translation.override(conversation.language):
        name = display_name(staff)
        text = gettext("%(name)s has joined and will answer from here on.") % {"name": name}
    _move(conversation, Status.PERSON, text=text, event="take_over", staff_id=staff.pk)
    return conversation


@transaction.atomic
def give_back(conversation_id: uuid.UUID, *, staff: AbstractBaseUser) -> Conversation:
    """Let the assistant answer again from the next message on. Raises ``ConversationClosed``."""
    conversation = _open(conversation_id)
    if conversation.status == Status.ASSISTANT:
        return conversation
    conversation.assignee_id = None
    conversation.waiting_since = None
    with translation.override(conversation.language):
        text = gettext("The assistant is back and will answer your next questions.")
    _move(conversation, Status.ASSISTANT, text=text, event="give_back", staff_id=staff.pk)
    return conversation


@transaction.atomic
def reply(conversation_id: uuid.UUID, *, staff: AbstractBaseUser, text: str, client_id: uuid.UUID) -> Stored:
    """Store what a colleague writes, once per ``client_id``; whoever writes takes the conversation over.

    Raises ``ConversationClosed`` and ``TakenByAnother``.
    """
    known = lock(conversation_id).messages.filter(client_id=client_id, staff_id=staff.pk).first()
    if known is not None:
        return Stored(known, is_new=False)
    conversation = take_over(conversation_id, staff=staff)
    message = append(conversation, author=Message.Author.PERSON, text=text, staff_id=staff.pk, client_id=client_id)
    return Stored(message, is_new=True)


@transaction.atomic
def close(conversation_id: uuid.UUID, *, staff: AbstractBaseUser) -> Conversation:
    """End the conversation; nothing can be added to it any more."""
    conversation = lock(conversation_id)
    if conversation.status != Status.CLOSED:
        conversation.waiting_since = None
        with translation.override(conversation.language):
            text = gettext("This conversation has been closed. Thank you for writing to us.")
        _move(conversation, Status.CLOSED, text=text, event="close", staff_id=staff.pk)
    return conversation


def display_name(staff: AbstractBaseUser) -> str:
    """Return the name that customers see: the first name, or a plain word; never the name used to log in."""
    return str(getattr(staff, "first_name", "")).strip() or gettext("A colleague")


def _open(conversation_id: uuid.UUID) -> Conversation:
    conversation = lock(conversation_id)
    if conversation.status == Status.CLOSED:
        raise ConversationClosed
    return conversation


def _move(
    conversation: Conversation, status: Conversation.Status, *, text: str, staff_id: int | None = None, **lineage: Any
) -> None:
    conversation.status = status
    message = append(conversation, author=Message.Author.SYSTEM, text=text, staff_id=staff_id, lineage=lineage)
    publish_on_commit(
        group_of(conversation.pk), {"type": "chat.status", "status": status.value, "sequence": message.sequence}
    )
