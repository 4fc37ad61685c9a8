"""Find the conversation that a greeting means, or begin one."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from lepton_app.chat.delivery import ChatError
from lepton_app.chat.models import Conversation, Site
from lepton_app.chat.tokens import make_token, read_token


class NotYours(ChatError):
    """There is no such conversation of this visitor on this site."""

    code = "not_yours"


@dataclass(frozen=True)
class Greeted:
    """The conversation that a visitor has entered, and the token for the next time."""

    conversation: Conversation
    token: str


def greet(site: Site, *, token: str | None, conversation_id: uuid.UUID | None, language: str) -> Greeted:
    """Return the conversation to go on with.

    A conversation that is asked for must be the visitor's own. Without one, the visitor's newest open conversation
    is resumed, and where there is none, or no token, a new one begins. The token is renewed each time, so that only
    a visitor who stays away is forgotten. Raises ``TokenError`` and ``NotYours``; nothing is stored then.
    """
    visitor_id = read_token(token, site_key=site.public_key) if token is not None else None
    if conversation_id is not None:
        if visitor_id is None:
            raise NotYours
        found = Conversation.objects.filter(pk=conversation_id, site=site, visitor_id=visitor_id).first()
        if found is None:
            raise NotYours
    else:
        found = _newest_open(site, visitor_id) if visitor_id is not None else None
    visitor_id = visitor_id or uuid.uuid4()
    if found is None:
        found = Conversation.objects.create(site=site, visitor_id=visitor_id, language=language)
    elif found.language != language:
        # Not save(): the row's other fields may have moved on meanwhile.
        Conversation.objects.filter(pk=found.pk).update(language=language)
        found.language = language
    return Greeted(found, make_token(visitor_id, site_key=site.public_key))


def _newest_open(site: Site, visitor_id: uuid.UUID) -> Conversation | None:
    return (
        Conversation.objects.filter(site=site, visitor_id=visitor_id)
        .exclude(status=Conversation.Status.CLOSED)
        .order_by("-updated_at")
        .first()
    )
