"""`polyport` commands, and how they end."""

from collections.abc import Callable
from typing import NamedTuple


class Done(NamedTuple):
    """How a command ended."""

    status: int
    out: str
    err: str


Run = Callable[..., Done]


def printed(done: Done) -> str:
    """What a command that succeeded says to programs."""
    assert done.status == 0, done
    return done.out


def told(done: Done) -> list[str]:
    """What a command that succeeded says to people."""
    assert done.status == 0, done
    return done.err.splitlines()


def refused(done: Done) -> str:
    """The one line of a refusal."""
    assert done.status == 2, done
    assert done.out == ""
    assert done.err.startswith("polyport: ")
    assert done.err.endswith("\n")
    assert done.err.count("\n") == 1
    return done.err.removeprefix("polyport: ").strip()
