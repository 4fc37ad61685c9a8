"""Strict readers of environment variables: a typo stops the start and says how to mend it.

Every reader takes the variable's name and a default, and raises ``EnvError`` with the name, the value's problem and
an example of a good value. Values of secrets are never part of a message.

>>> read_bool("X_UNSET", default=True)
True
>>> _parse_bool("X", "ja")
Traceback (most recent call last):
    ...
lepton_app.lib.env.EnvError: X must be one of 1, true, yes, on, 0, false, no, off; it is 'ja'.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

S = TypeVar("S", bound=str)

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})


class EnvError(ValueError):
    """An environment variable holds something that cannot be used; the message says what and how to mend it."""


def read_str(name: str, *, default: str = "") -> str:
    """Return the variable's value without surrounding white space, or the default when it is unset."""
    return os.environ.get(name, default).strip()


def read_choice(name: str, *, default: S, choices: Collection[S]) -> S:
    """Return a value that must be one of ``choices``."""
    value = read_str(name, default=default)
    for choice in choices:
        if choice == value:
            return choice
    raise EnvError(f"{name} must be one of {', '.join(sorted(choices))}; it is {value!r}.")


def _parse_bool(name: str, value: str) -> bool:
    lowered = value.strip().lower()
    if lowered in _TRUE:
        return True
    if lowered in _FALSE:
        return False
    raise EnvError(f"{name} must be one of 1, true, yes, on, 0, false, no, off; it is {value!r}.")


def read_bool(name: str, *, default: bool) -> bool:
    """Return a truth value written as 1/0, true/false, yes/no or on/off."""
    value = os.environ.get(name)
    return default if value is None else _parse_bool(name, value)


def read_int(name: str, *, default: int, minimum: int, maximum: int) -> int:
    """Return a whole number within ``minimum`` and ``maximum``, both included."""
    raw = os.environ.get(name)
    if raw is None:
        return default
    try:
        value = int(raw)
    except ValueError:
        raise EnvError(f"{name} must be a whole number from {minimum} to {maximum}; it is {raw!r}.") from None
    if not minimum <= value <= maximum:
        raise EnvError(f"{name} must be from {minimum} to {maximum}; it is {value}.")
    return value


def read_list(name: str, *, default: tuple[str, ...] = ()) -> list[str]:
    """Return the comma-separated parts of the value, without empty ones."""
    raw = os.environ.get(name)
    if raw is None:
        return list(default)
    return [part.strip() for part in raw.split(",") if part.strip()]


def read_path(name: str, *, default: Path) -> Path:
    """Return an absolute path; ``~`` is expanded and a relative path starts at the working directory."""
    raw = os.environ.get(name)
    return (default if raw is None or not raw.strip() else Path(raw.strip())).expanduser().absolute()


def read_url(name: str, *, schemes: Collection[str], example: str) -> str:
    """Return a URL of one of ``schemes``, or the empty string when the variable is unset or empty.

    The URL may carry a password, so that a message names the scheme alone.
    """
    value = read_secret(name)
    if not value:
        return ""
    scheme = urlsplit(value).scheme
    if scheme not in schemes:
        raise EnvError(
            f"{name} must be a URL that starts with {' or '.join(f'{s}://' for s in sorted(schemes))}, "
            f"for example {example}; it starts with {scheme or 'no scheme'!r}."
        )
    return value


def read_secret(name: str, *, default: str = "") -> str:
    """Return the secret in ``NAME``, or the content of the file that ``NAME_FILE`` points to, or the default.

    Both set at once is an error, since one of them would be ignored without a word.
    """
    value, file_name = os.environ.get(name), os.environ.get(f"{name}_FILE")
    if value is not None and file_name is not None:
        raise EnvError(f"{name} and {name}_FILE are both set; remove one of them.")
    if file_name is not None:
        try:
            return Path(file_name).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise EnvError(f"{name}_FILE points to {file_name!r}, which cannot be read: {error}.") from None
    return default if value is None else value.strip()
