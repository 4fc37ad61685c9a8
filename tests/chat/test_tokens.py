"""A token is good on its site, for its time, as it was made, and in no other case."""

from __future__ import annotations

import uuid

import pytest
from django.core import signing
from django.test import override_settings
from hypothesis import given, settings
from hypothesis import strategies as st

from lepton_app.chat.tokens import TokenError, TokenExpired, TokenInvalid, make_token, read_token

VISITOR = uuid.UUID(int=7)


def test_a_token_names_its_visitor() -> None:
    assert read_token(make_token(VISITOR, site_key="shop"), site_key="shop") == VISITOR


def test_a_token_of_another_site_is_refused() -> None:
    with pytest.raises(TokenInvalid):
        read_token(make_token(VISITOR, site_key="shop"), site_key="other")


def test_a_token_ends_with_its_days() -> None:
    token = make_token(VISITOR, site_key="shop")
    with override_settings(CHAT_TOKEN_DAYS=-1), pytest.raises(TokenExpired):
        read_token(token, site_key="shop")


@pytest.mark.parametrize(
    "content", [{}, [], "x", {"visitor": "x", "site": "shop"}, {"visitor": 7, "site": "shop"}, {"visitor": VISITOR.hex}]
)
def test_a_signature_over_something_else_is_refused(content: object) -> None:
    with pytest.raises(TokenInvalid):
        read_token(signing.dumps(content, salt="lepton.chat.visitor"), site_key="shop")


def test_a_signature_for_another_purpose_is_refused() -> None:
    content = {"visitor": VISITOR.hex, "site": "shop"}
    with pytest.raises(TokenInvalid):
        read_token(signing.dumps(content, salt="something.else"), site_key="shop")


@settings(deadline=None)  # other workers may hold the processor
@given(st.text(max_size=600))
def test_any_text_is_refused_by_a_token_error(text: str) -> None:
    with pytest.raises(TokenError):
        read_token(text, site_key="shop")
