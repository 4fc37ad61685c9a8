"""The frames of the chat's websocket: what a client may send, what it gets, and the codes of refusals.

Frames are JSON objects in text messages of at most ``MAX_FRAME_BYTES``. The first frame is ``hello``, within
``HELLO_SECONDS``. A client frame is parsed strictly: unknown keys, wrong types, and texts that cannot be stored are
refused with an error frame, and after ``MAX_BAD_FRAMES`` of those the socket is closed.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Mapping
from enum import IntEnum, StrEnum
from typing import Any, Literal, NotRequired, TypedDict

from django.conf import settings
from django.utils.translation import gettext_lazy as _

from lepton_app.chat.tokens import MAX_TOKEN_CHARS

MAX_FRAME_BYTES = 65_536
MAX_BAD_FRAMES = 10
HELLO_SECONDS = 10.0
# Messages in the welcome frame; what is beyond follows as message frames of their own.
WELCOME_MESSAGES = 200
_MAX_SEQUENCE = 2**31 - 1
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)

LanguageCode = Literal["en", "zh-hans"]
StatusCode = Literal["assistant", "waiting", "person", "closed"]
AuthorCode = Literal["customer", "assistant", "person", "system"]


class ErrorCode(StrEnum):
    """Why a frame was refused. Codes are stable: clients decide by them, people read the detail."""

    BAD_JSON = "bad_json"
    BAD_FRAME = "bad_frame"
    UNKNOWN_TYPE = "unknown_type"
    NOT_GREETED = "not_greeted"
    TOO_LONG = "too_long"
    EMPTY = "empty"
    BINARY = "binary"
    CLOSED = "closed"
    UNAVAILABLE = "unavailable"
    INTERNAL = "internal"


class CloseCode(IntEnum):
    """Why the server closed the socket."""

    TOO_LARGE = 1009
    TRY_LATER = 1013
    ABUSE = 4400
    TOKEN = 4401
    REFUSED = 4403
    NOT_YOURS = 4404


ERROR_DETAILS: Mapping[ErrorCode, Any] = {
    ErrorCode.BAD_JSON: _("This is not valid JSON."),
    ErrorCode.BAD_FRAME: _("This message is not built as agreed."),
    ErrorCode.UNKNOWN_TYPE: _("There is no message of this type."),
    ErrorCode.NOT_GREETED: _("The first message must be a greeting."),
    ErrorCode.TOO_LONG: _("This message is too long."),
    ErrorCode.EMPTY: _("This message is empty."),
    ErrorCode.BINARY: _("Only text can be sent here."),
    ErrorCode.CLOSED: _("This conversation is closed. Please start a new one."),
    ErrorCode.UNAVAILABLE: _("The service is not available at the moment. Please try again shortly."),
    ErrorCode.INTERNAL: _("Something went wrong on our side. Please try again."),
}


class Hello(TypedDict):
    """The first frame: who comes back, to which conversation, and the last message it has seen."""

    type: Literal["hello"]
    token: NotRequired[str]
    conversation: NotRequired[uuid.UUID]
    after: NotRequired[int]
    language: LanguageCode


class Send(TypedDict):
    """A message of the customer; ``text`` is stripped, and the same ``client_id`` is stored once."""

    type: Literal["send"]
    client_id: uuid.UUID
    text: str


class Handover(TypedDict):
    """The customer asks for a person."""

    type: Literal["handover"]


ClientFrame = Hello | Send | Handover


class CitedSentence(TypedDict):
    """A sentence of an answer and the number of the citation that it comes from."""

    text: str
    citation: int


class Citation(TypedDict):
    """Where a sentence comes from; ``url`` gives the passage with the span to highlight."""

    number: int
    title: str
    section: str
    quote: str
    url: str


class Choice(TypedDict):
    """One meaning of a "did you mean": the label of its button, and the message that choosing it sends."""

    label: str
    text: str


class NearArticle(TypedDict):
    """An article that may help although it does not answer."""

    title: str
    url: str


class Attachments(TypedDict, total=False):
    """What the widget shows beside a message's text."""

    sentences: list[CitedSentence]
    citations: list[Citation]
    choices: list[Choice]
    near: list[NearArticle]
    offer_person: bool


class MessageBody(TypedDict):
    """One message as every client gets it."""

    sequence: int
    author: AuthorCode
    text: str
    html: str
    client_id: str | None
    created_at: str
    attachments: Attachments


class Welcome(TypedDict):
    """The answer to ``hello``. When ``more`` is true, later messages follow at once as ``message`` frames."""

    type: Literal["welcome"]
    token: str
    conversation: str
    status: StatusCode
    language: LanguageCode
    messages: list[MessageBody]
    last_sequence: int
    more: bool


class MessageFrame(TypedDict):
    """A message; to its sender also the acknowledgement."""

    type: Literal["message"]
    message: MessageBody


class TypingFrame(TypedDict):
    """Whether the assistant works on a reply."""

    type: Literal["typing"]
    on: bool


class StatusFrame(TypedDict):
    """Who answers now."""

    type: Literal["status"]
    status: StatusCode


class ErrorFrame(TypedDict):
    """A refusal; nothing was stored."""

    type: Literal["error"]
    code: str
    detail: str
    client_id: NotRequired[str]


ServerFrame = Welcome | MessageFrame | TypingFrame | StatusFrame | ErrorFrame


class FrameError(Exception):
    """A client frame is refused; ``client_id`` tells the client which of its messages is meant."""

    def __init__(self, code: ErrorCode, *, client_id: uuid.UUID | None = None) -> None:
        super().__init__(code.value)
        self.code = code
        self.client_id = client_id


def error_frame(code: ErrorCode, *, client_id: uuid.UUID | None = None) -> ErrorFrame:
    """Return the error frame of a code, with its detail in the language that is active."""
    frame: ErrorFrame = {"type": "error", "code": code.value, "detail": str(ERROR_DETAILS[code])}
    if client_id is not None:
        frame["client_id"] = str(client_id)
    return frame


def parse_frame(text: str) -> ClientFrame:
    """Return the client's frame with its values checked and converted; raise ``FrameError``.

    >>> parse_frame('{"type": "handover"}')
    {'type': 'handover'}
    >>> parse_frame('{"type": "handover", "to": "anna"}')
    Traceback (most recent call last):
        ...
    lepton_app.chat.protocol.FrameError: bad_frame
    """
    try:
        frame = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise FrameError(ErrorCode.BAD_JSON) from error
    if not isinstance(frame, dict):
        raise FrameError(ErrorCode.BAD_FRAME)
    kind = frame.pop("type", None)
    if not isinstance(kind, str):
        raise FrameError(ErrorCode.BAD_FRAME)
    parser = _PARSERS.get(kind)
    if parser is None:
        raise FrameError(ErrorCode.UNKNOWN_TYPE)
    return parser(frame)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _parse_hello(frame: dict[str, Any]) -> Hello:
    _allow(frame, required={"language"}, optional={"token", "conversation", "after"})
    if frame["language"] not in ("en", "zh-hans"):
        raise FrameError(ErrorCode.BAD_FRAME)
    hello: Hello = {"type": "hello", "language": frame["language"]}
    # None is what a client without one may send as well.
    token, conversation, after = frame.get("token"), frame.get("conversation"), frame.get("after")
    if token is not None:
        if not isinstance(token, str) or len(token) > MAX_TOKEN_CHARS or not token.isascii():
            raise FrameError(ErrorCode.BAD_FRAME)
        hello["token"] = token
    if conversation is not None:
        hello["conversation"] = _uuid(conversation)
    if after is not None:
        if not isinstance(after, int) or isinstance(after, bool) or not 0 <= after <= _MAX_SEQUENCE:
            raise FrameError(ErrorCode.BAD_FRAME)
        hello["after"] = after
    return hello


def _parse_send(frame: dict[str, Any]) -> Send:
    client_id = _uuid(frame.get("client_id"))
    try:
        _allow(frame, required={"client_id", "text"})
        return {"type": "send", "client_id": client_id, "text": clean_text(frame["text"])}
    except FrameError as error:
        raise FrameError(error.code, client_id=client_id) from error


def _parse_handover(frame: dict[str, Any]) -> Handover:
    _allow(frame)
    return {"type": "handover"}


_PARSERS: Mapping[str, Callable[[dict[str, Any]], ClientFrame]] = {
    "hello": _parse_hello,
    "send": _parse_send,
    "handover": _parse_handover,
}


def clean_text(text: object) -> str:
    """Return the text of a message without surrounding white space; raise ``FrameError`` when it cannot be one.

    Refused are NUL and lone surrogates, which PostgreSQL cannot store, the empty text, and more than
    ``CHAT_MAX_MESSAGE_CHARS`` characters.
    """
    if not isinstance(text, str) or "\x00" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise FrameError(ErrorCode.BAD_FRAME)
    stripped = text.strip()
    if not stripped:
        raise FrameError(ErrorCode.EMPTY)
    if len(stripped) > settings.CHAT_MAX_MESSAGE_CHARS:
        raise FrameError(ErrorCode.TOO_LONG)
    return stripped


def _allow(
    frame: dict[str, Any], *, required: frozenset[str] | set[str] = frozenset(), optional: set[str] | None = None
) -> None:
    if not required <= frame.keys() <= required | (optional or set()):
        raise FrameError(ErrorCode.BAD_FRAME)


def _uuid(value: object) -> uuid.UUID:
    if not isinstance(value, str) or not _UUID.fullmatch(value):
        raise FrameError(ErrorCode.BAD_FRAME)
    return uuid.UUID(value)
