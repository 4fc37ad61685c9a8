"""Readers of the environment: a value that cannot be used is named, with the way out, and secrets stay secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from lepton_app.lib import env


def test_values_are_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("X_BOOL", "Yes")
    monkeypatch.setenv("X_INT", "7")
    monkeypatch.setenv("X_LIST", "a, b,,c ")
    monkeypatch.setenv("X_PATH", "~/data")
    assert env.read_bool("X_BOOL", default=False) is True
    assert env.read_int("X_INT", default=1, minimum=0, maximum=9) == 7
    assert env.read_list("X_LIST") == ["a", "b", "c"]
    assert env.read_path("X_PATH", default=tmp_path) == Path.home() / "data"
    assert env.read_path("X_UNSET", default=tmp_path) == tmp_path
    assert env.read_list("X_UNSET", default=("d",)) == ["d"]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("ten", "X must be a whole number from 1 to 9; it is 'ten'."),
        ("10", "X must be from 1 to 9; it is 10."),
        ("0", "X must be from 1 to 9; it is 0."),
    ],
)
def test_a_bad_number_is_named_with_its_range(monkeypatch: pytest.MonkeyPatch, value: str, message: str) -> None:
    monkeypatch.setenv("X", value)
    with pytest.raises(env.EnvError) as caught:
        env.read_int("X", default=1, minimum=1, maximum=9)
    assert str(caught.value) == message


def test_a_secret_comes_from_a_file_and_never_into_a_message(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s3cret\n")
    monkeypatch.setenv("X_FILE", str(secret))
    assert env.read_secret("X") == "s3cret"
    monkeypatch.setenv("X", "other")
    with pytest.raises(env.EnvError, match="X and X_FILE are both set") as caught:
        env.read_secret("X")
    assert "s3cret" not in str(caught.value)
    monkeypatch.delenv("X")
    monkeypatch.setenv("X_FILE", str(tmp_path / "missing"))
    with pytest.raises(env.EnvError, match=r"X_FILE points to .*missing"):
        env.read_secret("X")


def test_a_url_of_another_scheme_is_refused_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("X", "mysql://root:s3cret@host/name")
    with pytest.raises(env.EnvError, match="it starts with 'mysql'") as caught:
        env.read_url("X", schemes={"postgresql"}, example="postgresql://host/name")
    assert "s3cret" not in str(caught.value)
