"""Client frames: what is taken, and that whatever else comes is refused by a code and never by a crash."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lepton_app.chat.protocol import ERROR_DETAILS, ErrorCode, FrameError, error_frame, parse_frame

CLIENT_ID = "6f2b0f5e-5b0e-4c35-9a0e-0d2f5a1c7b11"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def test_a_message_is_stripped_and_its_id_read() -> None:
    frame = parse_frame(json.dumps({"type": "send", "client_id": CLIENT_ID.upper(), "text": " 你好 👋🏽\n"}))
    assert frame == {"type": "send", "client_id": uuid.UUID(CLIENT_ID), "text": "你好 👋🏽"}


def test_a_greeting_may_leave_out_or_null_what_it_does_not_have() -> None:
    bare = {"type": "hello", "language": "zh-hans"}
    assert parse_frame(json.dumps(bare)) == bare
    assert parse_frame(json.dumps({**bare, "token": None, "conversation": None, "after": None})) == bare


def test_the_limit_counts_characters_after_stripping() -> None:
    text = "界" * 4000
    frame = parse_frame(json.dumps({"type": "send", "client_id": CLIENT_ID, "text": f"  {text}  "}))
    assert frame["type"] == "send"
    assert frame["text"] == text


@pytest.mark.parametrize(
    "value", [CLIENT_ID.replace("-", ""), f"{{{CLIENT_ID}}}", f"urn:uuid:{CLIENT_ID}", f" {CLIENT_ID}"]
)
def test_an_id_has_one_spelling(value: str) -> None:
    with pytest.raises(FrameError) as caught:
        parse_frame(json.dumps({"type": "send", "client_id": value, "text": "x"}))
    assert caught.value.code is ErrorCode.BAD_FRAME


def test_every_code_has_a_detail() -> None:
    assert set(ERROR_DETAILS) == set(ErrorCode)
    assert error_frame(ErrorCode.EMPTY, client_id=uuid.UUID(CLIENT_ID)) == {
        "type": "error",
        "code": "empty",
        "detail": "This message is empty.",
        "client_id": CLIENT_ID,
    }


@settings(deadline=None)  # other workers may hold the processor
@given(st.text())
def test_any_text_is_refused_by_a_code(text: str) -> None:
    with pytest.raises(FrameError):
        parse_frame(text)


@settings(deadline=None)  # other workers may hold the processor
@given(
    st.sampled_from(["hello", "send", "handover"]),
    st.dictionaries(st.sampled_from(["token", "conversation", "after", "language", "client_id", "text", "more"]), JSON),
)
def test_any_fields_are_taken_or_refused_by_a_code(kind: str, fields: dict[str, Any]) -> None:
    code = None
    try:
        frame = parse_frame(json.dumps({**fields, "type": kind}))
    except FrameError as error:
        code = error.code
    else:
        assert frame["type"] == kind
        assert "more" not in fields
    assert code in {None, ErrorCode.BAD_FRAME, ErrorCode.EMPTY, ErrorCode.TOO_LONG}
