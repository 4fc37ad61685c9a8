"""The supervisor's configuration: every process, quoted, and no way in from outside."""

from __future__ import annotations

import configparser
import shlex
import sys

from lepton_app.processes import Process, last_log_line, processes, supervisor_configuration


def test_every_process_is_supervised_and_nothing_listens() -> None:
    parser = configparser.RawConfigParser()
    parser.read_string(supervisor_configuration(processes()))
    assert {"program:web", "program:worker", "program:training", "program:beat", "program:stream"} <= set(
        parser.sections()
    )
    assert not {"unix_http_server", "inet_http_server"} & set(parser.sections())
    assert all(parser[name]["autorestart"] == "true" for name in parser.sections() if name.startswith("program:"))


def test_words_keep_their_spaces_quotes_and_per_cent_signs() -> None:
    process = Process("odd", ("run", 'a "b" c', "100%", "back\\slash"))
    parser = configparser.RawConfigParser()
    parser.read_string(supervisor_configuration([process]))
    # Supervisor expands %(name)s with the operator of Python, then splits as a shell does.
    words = shlex.split(parser["program:odd"]["command"] % {})
    assert words == [sys.executable, "-m", "lepton_app.supervised", "0", *process.command]


def test_the_last_line_that_says_something_is_the_reason() -> None:
    process = Process("speaker", ())
    process.log_file.parent.mkdir(exist_ok=True)
    process.log_file.write_text("first\nValueError: broken\n\n", encoding="utf-8")
    assert last_log_line(process) == "ValueError: broken"
    process.log_file.unlink()
    assert last_log_line(process) == "its log is empty"
