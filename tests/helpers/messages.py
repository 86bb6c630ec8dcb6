"""Errors that a user meets: one line each."""

from collections.abc import Callable
from typing import Any

import pytest

from surefoot.errors import SurefootError


def one_line(error: BaseException | str, *fragments: str) -> str:
    """Assert that a message is one line that contains all fragments, and return it."""
    message = str(error)
    assert message.strip() and len(message.splitlines()) == 1
    for fragment in fragments:
        assert fragment in message
    return message


def refused(error: type[SurefootError], call: Callable[..., Any], *arguments: Any, **options: Any) -> str:
    """Assert that a call raises an error with a message of one line, and return the message."""
    with pytest.raises(error) as caught:
        call(*arguments, **options)
    return one_line(caught.value)


def only_error(capsys: pytest.CaptureFixture[str], *fragments: str) -> str:
    """Assert that a command printed one line that contains all fragments, on the error stream, and return it."""
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("surefoot: ") and err.endswith("\n")
    return one_line(err, *fragments)
