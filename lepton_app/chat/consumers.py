"""The customer's websocket: parses frames, calls operations, sends frames, and nothing else.

One handler runs at a time, so that nothing slow may be awaited in one: the reply is a task that the consumer owns.
Frames reach a tab in the order of their sequence numbers, each once: whatever way a message comes (as the answer to
an own frame, from the group, or read after a gap), it goes through ``_deliver`` or ``_catch_up``.
"""

from __future__ import annotations

import asyncio
import json
import logging
import uuid
from collections.abc import Mapping
from typing import Any, cast

from channels.generic.websocket import AsyncWebsocketConsumer
from django.db import InterfaceError, OperationalError
from django.utils import translation
from redis.exceptions import RedisError

from lepton_app.chat import conversations, delivery, handover, replies, sites
from lepton_app.chat.models import Conversation, Site
from lepton_app.chat.protocol import (
    HELLO_SECONDS,
    MAX_BAD_FRAMES,
    MAX_FRAME_BYTES,
    WELCOME_MESSAGES,
    CloseCode,
    ErrorCode,
    FrameError,
    Hello,
    MessageBody,
    Send,
    ServerFrame,
    StatusCode,
    error_frame,
    parse_frame,
)
from lepton_app.chat.rendering import message_body
from lepton_app.chat.threads import on_database_thread
from lepton_app.chat.tokens import TokenError

logger = logging.getLogger(__name__)

_PAGE = 100
# Pauses before a reply that could not be stored is tried again.
_RETRY_SECONDS = (1.0, 3.0, 10.0)
# How long a reply in the making may go on after the customer has left.
_FINISH_SECONDS = 2.5
_AWAY = (OperationalError, InterfaceError, RedisError, OSError)
# Refusals that a well-made client never meets; many of them end the connection.
_ABUSIVE = frozenset(
    {ErrorCode.BAD_JSON, ErrorCode.BAD_FRAME, ErrorCode.UNKNOWN_TYPE, ErrorCode.NOT_GREETED, ErrorCode.BINARY}
)


class ChatConsumer(AsyncWebsocketConsumer):
    """One open tab of one customer."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._site: Site | None = None
        self._conversation_id: uuid.UUID | None = None
        self._language = "en"
        self._status: str = ""
        self._status_sequence = 0
        self._sent_sequence = 0
        self._bad_frames = 0
        self._is_closed = False
        self._sending = asyncio.Lock()
        self._hello_timer: asyncio.Task[None] | None = None
        self._reply_task: asyncio.Task[None] | None = None
        self._has_questions = False

    # --- connection ---------------------------------------------------------------------------------------------------

    async def connect(self) -> None:
        """Accept the socket, and close it again when the site or the page may not chat.

        A handshake that is refused shows in browsers as a failed connection without a reason; a close code says why.
        """
        await self.accept()
        try:
            site = await on_database_thread(sites.find_site)(self.scope["url_route"]["kwargs"]["public_key"])
        except _AWAY:
            logger.exception("site not read")
            await self._refuse(ErrorCode.UNAVAILABLE)
            await self._end(CloseCode.TRY_LATER)
            return
        origin, host = _header(self.scope, b"origin"), _header(self.scope, b"host")
        if site is None or not sites.is_origin_allowed(origin, site=site, host=host):
            await self._end(CloseCode.REFUSED)
            return
        self._site = site
        self._hello_timer = asyncio.create_task(self._close_without_hello())

    async def _close_without_hello(self) -> None:
        await asyncio.sleep(HELLO_SECONDS)
        await self._end(CloseCode.ABUSE)

    async def disconnect(self, code: int) -> None:
        """Leave the group, and let a reply in the making be stored: the customer will find it on the way back."""
        self._is_closed = True
        if self._hello_timer is not None:
            self._hello_timer.cancel()
        if self._conversation_id is not None:
            try:
                await self.channel_layer.group_discard(delivery.group_of(self._conversation_id), self.channel_name)
            except _AWAY:
                logger.warning("group not left", exc_info=True)
        if self._reply_task is not None and not self._reply_task.done():
            await asyncio.wait({self._reply_task}, timeout=_FINISH_SECONDS)
            self._reply_task.cancel()

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Take one frame; whatever is wrong with it or with us is answered by a code."""
        if self._is_closed:
            return
        client_id: uuid.UUID | None = None
        try:
            if len(bytes_data or (text_data or "").encode(errors="replace")) > MAX_FRAME_BYTES:
                await self._refuse(ErrorCode.TOO_LONG)
                await self._end(CloseCode.TOO_LARGE)
                return
            if text_data is None:
                raise FrameError(ErrorCode.BINARY)
            frame = parse_frame(text_data)
            if frame["type"] == "hello":
                await self._hello(frame)
            elif self._conversation_id is None:
                raise FrameError(ErrorCode.NOT_GREETED)
            elif frame["type"] == "send":
                client_id = frame["client_id"]
                await self._send_message(self._conversation_id, frame)
            else:
                await self._ask_for_person(self._conversation_id)
        except FrameError as error:
            await self._refuse(error.code, client_id=error.client_id)
        except delivery.ClientIdTaken:
            await self._refuse(ErrorCode.BAD_FRAME, client_id=client_id)
        except (delivery.ConversationClosed, Conversation.DoesNotExist):
            # A conversation that was deleted meanwhile is closed for good.
            await self._refuse(ErrorCode.CLOSED, client_id=client_id)
        except _AWAY:
            logger.exception("frame not handled: a service is away")
            await self._refuse(ErrorCode.UNAVAILABLE, client_id=client_id)
            if self._conversation_id is None:
                await self._end(CloseCode.TRY_LATER)
        except Exception:
            logger.exception("frame not handled")
            await self._refuse(ErrorCode.INTERNAL, client_id=client_id)

    # --- frames of the client -----------------------------------------------------------------------------------------

    async def _hello(self, frame: Hello) -> None:
        if self._conversation_id is not None or self._site is None:
            raise FrameError(ErrorCode.BAD_FRAME)
        self._language = frame["language"]
        try:
            greeted = await on_database_thread(conversations.greet)(
                self._site,
                token=frame.get("token"),
                conversation_id=frame.get("conversation"),
                language=frame["language"],
            )
        except TokenError:
            await self._end(CloseCode.TOKEN)
            return
        except conversations.NotYours:
            await self._end(CloseCode.NOT_YOURS)
            return
        conversation_id = greeted.conversation.pk
        # Listen first, read then: a message in between comes twice and is sent once.
        await self.channel_layer.group_add(delivery.group_of(conversation_id), self.channel_name)
        conversation, bodies, is_unanswered = await on_database_thread(_enter)(
            conversation_id, frame.get("after", 0), WELCOME_MESSAGES + 1
        )
        if self._hello_timer is not None:
            self._hello_timer.cancel()
        has_more = len(bodies) > WELCOME_MESSAGES
        bodies = bodies[:WELCOME_MESSAGES]
        self._sent_sequence = bodies[-1]["sequence"] if bodies else conversation.last_sequence
        self._status, self._status_sequence = conversation.status, conversation.last_sequence
        self._conversation_id = conversation_id
        await self._send_frame(
            {
                "type": "welcome",
                "token": greeted.token,
                "conversation": str(conversation_id),
                "status": cast(StatusCode, conversation.status),
                "language": frame["language"],
                "messages": bodies,
                "last_sequence": max(conversation.last_sequence, self._sent_sequence),
                "more": has_more,
            }
        )
        if has_more:
            await self._catch_up()
        # Only what was left behind: a question that comes from now on is answered by the tab that it comes from.
        if is_unanswered:
            self._answer_soon()

    async def _send_message(self, conversation_id: uuid.UUID, frame: Send) -> None:
        stored = await on_database_thread(delivery.store_customer_message)(
            conversation_id, client_id=frame["client_id"], text=frame["text"]
        )
        body = message_body(stored.message)
        if stored.is_new:
            await self._deliver(body)
        else:
            # The sender has not seen the acknowledgement; everybody has seen the message.
            await self._send_frame({"type": "message", "message": body})
        self._answer_soon()

    async def _ask_for_person(self, conversation_id: uuid.UUID) -> None:
        await on_database_thread(handover.ask_for_person)(conversation_id, reason="customer")
        await self._catch_up()

    # --- events of the group ------------------------------------------------------------------------------------------

    async def chat_message(self, event: Mapping[str, Any]) -> None:
        """A message was stored."""
        try:
            await self._deliver(event["message"])
        except _AWAY:
            logger.exception("gap not filled; the next message fills it")

    async def chat_status(self, event: Mapping[str, Any]) -> None:
        """Somebody else answers from now on; ``sequence`` orders events that overtake each other."""
        await self._show_status(event["status"], sequence=event["sequence"])

    async def chat_typing(self, event: Mapping[str, Any]) -> None:
        """The assistant works on a reply to another tab."""
        if event["sender"] != self.channel_name:
            await self._send_frame({"type": "typing", "on": event["on"]})

    # --- sending ------------------------------------------------------------------------------------------------------

    async def _deliver(self, body: MessageBody) -> None:
        """Send a message unless it was sent; when others before it are missing, send those first."""
        async with self._sending:
            if body["sequence"] == self._sent_sequence + 1:
                self._sent_sequence = body["sequence"]
                await self._send_frame({"type": "message", "message": body})
                return
        if body["sequence"] > self._sent_sequence:
            await self._catch_up()

    async def _catch_up(self) -> None:
        """Send everything that is stored and was not sent, and who answers now."""
        if self._conversation_id is None:
            return
        async with self._sending:
            count = _PAGE
            while count == _PAGE:
                conversation, bodies = await on_database_thread(_read)(
                    self._conversation_id, self._sent_sequence, _PAGE
                )
                count = len(bodies)
                for body in bodies:
                    self._sent_sequence = body["sequence"]
                    await self._send_frame({"type": "message", "message": body})
        await self._show_status(conversation.status, sequence=conversation.last_sequence)

    async def _show_status(self, status: str, *, sequence: int) -> None:
        if sequence < self._status_sequence:
            return
        self._status_sequence = sequence
        if status != self._status:
            self._status = status
            await self._send_frame({"type": "status", "status": cast(StatusCode, status)})

    async def _show_typing(self, *, on: bool) -> None:
        await self._send_frame({"type": "typing", "on": on})
        if self._conversation_id is None:
            return
        event = {"type": "chat.typing", "on": on, "sender": self.channel_name}
        try:
            await self.channel_layer.group_send(delivery.group_of(self._conversation_id), event)
        except _AWAY:
            logger.warning("typing not shown to other tabs", exc_info=True)

    async def _refuse(self, code: ErrorCode, *, client_id: uuid.UUID | None = None) -> None:
        with translation.override(self._language):
            frame = error_frame(code, client_id=client_id)
        await self._send_frame(frame)
        if code in _ABUSIVE:
            self._bad_frames += 1
            if self._bad_frames >= MAX_BAD_FRAMES:
                await self._end(CloseCode.ABUSE)

    async def _send_frame(self, frame: ServerFrame) -> None:
        if self._is_closed:
            return
        try:
            await self.send(text_data=json.dumps(frame, ensure_ascii=False))
        except (OSError, RuntimeError):
            # The client has gone, and its disconnect event is still on the way.
            self._is_closed = True

    async def _end(self, code: CloseCode) -> None:
        if not self._is_closed:
            self._is_closed = True
            await self.close(code=int(code))

    # --- replying -----------------------------------------------------------------------------------------------------

    def _answer_soon(self) -> None:
        """Have the assistant answer what is unanswered, in a task: handlers must not wait for it."""
        self._has_questions = True
        if self._reply_task is None or self._reply_task.done():
            self._reply_task = asyncio.create_task(self._answer())

    async def _answer(self) -> None:
        failures = 0
        while self._has_questions:
            self._has_questions = False
            try:
                await self._answer_all()
            except Exception:
                # What models raise is dealt with in ``replies``; here it is the database. The question stays
                # unanswered, so that nothing is lost when this ends.
                logger.exception("reply not stored")
                if failures == len(_RETRY_SECONDS) or self._is_closed:
                    await self._refuse(ErrorCode.UNAVAILABLE)
                    return
                await asyncio.sleep(_RETRY_SECONDS[failures])
                failures += 1
                self._has_questions = True

    async def _answer_all(self) -> None:
        if self._conversation_id is None:
            return
        while (question := await on_database_thread(delivery.next_unanswered)(self._conversation_id)) is not None:
            await self._show_typing(on=True)
            try:
                stored = await replies.reply_to(question)
                await self._catch_up()
            finally:
                await self._show_typing(on=False)
            if stored is None:
                return


class UnknownSocket(AsyncWebsocketConsumer):
    """Any other path: the socket is closed with a code, instead of an error in the log."""

    async def connect(self) -> None:
        """Accept and close."""
        await self.accept()
        await self.close(code=int(CloseCode.NOT_YOURS))


def _read(conversation_id: uuid.UUID, after: int, limit: int) -> tuple[Conversation, list[MessageBody]]:
    """Return the conversation as it is now and the messages after a number, rendered."""
    conversation = Conversation.objects.get(pk=conversation_id)
    messages = delivery.messages_after(conversation_id, after, limit=limit)
    return conversation, [message_body(message) for message in messages]


def _enter(conversation_id: uuid.UUID, after: int, limit: int) -> tuple[Conversation, list[MessageBody], bool]:
    """Return what `_read` returns, and whether a question waits for the assistant."""
    is_unanswered = delivery.next_unanswered(conversation_id) is not None
    return *_read(conversation_id, after, limit), is_unanswered


def _header(scope: Mapping[str, Any], name: bytes) -> str | None:
    """Return a request header as text; None when it is missing or was sent more than once."""
    found = [value for key, value in scope.get("headers", []) if key == name]
    return found[0].decode("latin-1") if len(found) == 1 else None
