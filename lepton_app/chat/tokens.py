"""The signed, expiring token by which a visitor is known again: it names the visitor and the site, nothing else.

A token is salted for this purpose, so that no other signature of this installation passes for one, and it is valid
on the site it was made for alone. Whoever holds it reads the visitor's conversations, like a session cookie.
"""

from __future__ import annotations

import uuid
from datetime import timedelta

from django.conf import settings
from django.core import signing

_SALT = "lepton.chat.visitor"
# A signed token of ours has about 130 characters; anything much longer is not looked at.
MAX_TOKEN_CHARS = 512


class TokenError(Exception):
    """The token is not one that this site accepts."""

    code = "token"


class TokenInvalid(TokenError):
    """The token was forged, cut, or made for another site or purpose."""

    code = "token_invalid"


class TokenExpired(TokenError):
    """The token was good and is too old."""

    code = "token_expired"


def make_token(visitor_id: uuid.UUID, *, site_key: str) -> str:
    """Return a token for this visitor of the site with this public key, valid for ``CHAT_TOKEN_DAYS`` from now."""
    return signing.dumps({"visitor": visitor_id.hex, "site": site_key}, salt=_SALT)


def read_token(token: str, *, site_key: str) -> uuid.UUID:
    """Return the visitor that the token names; raise ``TokenExpired`` or ``TokenInvalid``."""
    if len(token) > MAX_TOKEN_CHARS:
        raise TokenInvalid("too long")
    try:
        content = signing.loads(token, salt=_SALT, max_age=timedelta(days=settings.CHAT_TOKEN_DAYS))
        visitor_id, site = uuid.UUID(hex=content["visitor"]), content["site"]
    except signing.SignatureExpired as error:
        raise TokenExpired("expired") from error
    except (signing.BadSignature, ValueError, KeyError, TypeError, AttributeError) as error:
        raise TokenInvalid("not a token of ours") from error
    if site != site_key:
        raise TokenInvalid("made for another site")
    return visitor_id
