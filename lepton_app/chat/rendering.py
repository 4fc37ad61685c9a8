"""A stored message as clients get it: its text, and the same as HTML that is safe to insert into a page."""

from __future__ import annotations

from typing import cast

from django.utils.html import escape

from lepton_app.chat.models import Message
from lepton_app.chat.protocol import Attachments, AuthorCode, MessageBody
from retrieval.markdown import render_html


def message_body(message: Message) -> MessageBody:
    """Return the message as it goes over the wire.

    The client id of others than the customer stays with the server: it is nobody's business but the sender's.
    """
    is_own = message.author == Message.Author.CUSTOMER
    return {
        "sequence": message.sequence,
        "author": cast(AuthorCode, message.author),
        "text": message.text,
        "html": message_html(message),
        "client_id": str(message.client_id) if is_own and message.client_id else None,
        "created_at": message.created_at.isoformat(),
        "attachments": cast(Attachments, message.attachments),
    }


def message_html(message: Message) -> str:
    """Return sanitised HTML of a message.

    An intent's reply is Markdown and is rendered and sanitised. The sentences of an answer are words of an article
    without their Markdown, and what a customer or a colleague typed is plain text: those are escaped.
    """
    if message.author == Message.Author.ASSISTANT and not message.attachments.get("sentences"):
        return render_html(message.text)
    return plain_html(message.text)


def plain_html(text: str) -> str:
    r"""Return plain text as HTML: an empty line ends a paragraph, a line end is a break.

    >>> plain_html("1 < 2\n\n<b>so</b>\nthere")
    '<p>1 &lt; 2</p><p>&lt;b&gt;so&lt;/b&gt;<br>there</p>'
    """
    lines = text.replace("\r\n", "\n").replace("\r", "\n")
    paragraphs = [part.strip("\n") for part in lines.split("\n\n")]
    return "".join(f"<p>{escape(part).replace(chr(10), '<br>')}</p>" for part in paragraphs if part)
