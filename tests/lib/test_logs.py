"""Logs for machines: one JSON object a line, whatever is logged."""

from __future__ import annotations

import json
import logging
import sys

from lepton_app.lib.logs import JsonFormatter


def test_a_record_is_one_line_of_json_with_its_extra_fields() -> None:
    record = logging.makeLogRecord(
        {"name": "chat", "levelname": "INFO", "msg": "sent %d\n个", "args": (3,), "conversation": "abc", "odd": {1}}
    )
    line = JsonFormatter().format(record)
    assert "\n" not in line
    fields = json.loads(line)
    assert fields["message"] == "sent 3\n个"
    assert fields["conversation"] == "abc"
    assert fields["odd"] == "{1}"
    assert fields["time"].endswith("+00:00")
    assert set(fields) == {"time", "level", "logger", "message", "conversation", "odd"}


def test_an_exception_is_part_of_the_line() -> None:
    try:
        raise ValueError("broken")
    except ValueError:
        record = logging.makeLogRecord({"msg": "failed", "exc_info": sys.exc_info()})
    assert "ValueError: broken" in json.loads(JsonFormatter().format(record))["exception"]
