"""Image names, by Docker's grammar, and the patterns that let one name stand for another."""

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase

import msgspec

from polyport.errors import ImageError

MAX_LENGTH = 255
DEFAULT_TAG = "latest"
#: Whose names need no host before them; what has no folder there is in ``library``.
HUB = "docker.io"

_HOST = r"(?:[A-Za-z0-9]|[A-Za-z0-9][A-Za-z0-9-]*[A-Za-z0-9])"
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_GRAMMAR = re.compile(
    rf"(?P<repository>(?:{_HOST}(?:\.{_HOST})*(?::[0-9]+)?/)?{_PART}(?:/{_PART})*)"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?"
    r"(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)


class Reference(msgspec.Struct, frozen=True):
    """``repository[:tag][@digest]``; the repository may begin with a registry's host."""

    repository: str
    tag: str = DEFAULT_TAG
    digest: str | None = None

    @property
    def tagged(self) -> str:
        """``repository:tag``, as the registry keeps it."""
        return f"{self.repository}:{self.tag}"

    @property
    def host(self) -> str:
        """The registry that it comes from: what is before the first slash, if it looks like a host."""
        first, slash, _ = self.repository.partition("/")
        is_host = bool(slash) and (first == "localhost" or "." in first or ":" in first or first != first.lower())
        return first if is_host else HUB

    @property
    def full(self) -> str:
        """The repository as daemons and registries spell it out: ``python`` is ``docker.io/library/python``."""
        if self.host != HUB:
            return self.repository
        path = self.repository.removeprefix(f"{HUB}/")
        return f"{HUB}/{path}" if "/" in path else f"{HUB}/library/{path}"


def familiar(name: str) -> str:
    """The reverse of `Reference.full`, for people."""
    return name.removeprefix(f"{HUB}/library/").removeprefix(f"{HUB}/")


def parse(text: str) -> Reference:
    """Raises `ImageError` when it is not a name that Docker would accept."""
    found = _GRAMMAR.fullmatch(text) if len(text) <= MAX_LENGTH else None
    if found is None:
        raise ImageError(
            f"{text!r} is not an image name: expected [REGISTRY/]NAME[:TAG][@sha256:DIGEST], NAME in lower case, "
            f"at most {MAX_LENGTH} characters"
        )
    return Reference(found["repository"], found["tag"] or DEFAULT_TAG, found["digest"])


def pinned(text: str) -> tuple[str, str] | None:
    """(name, digest) of ``name@sha256:...``. The name is not looked at: what an alias let through may be odd."""
    found = re.fullmatch(r"([^@]+)@(sha256:[0-9a-f]{64})", text)
    return None if found is None else (found[1], found[2])


def check_pattern(pattern: str) -> None:
    """A pattern is any text without spaces that could match a name: ``*``, ``?`` and ``[...]`` stand for characters."""
    if not pattern or len(pattern) > MAX_LENGTH or re.search(r"\s", pattern):
        raise ImageError(
            f"{pattern!r} is not a pattern for image names: expected 1 to {MAX_LENGTH} characters, no spaces"
        )


def best_match(name: str, patterns: Iterable[str]) -> str | None:
    """The longest pattern that matches the name, as given or with ``:latest`` written out; equals by alphabet."""
    spellings = {name, _spelt_out(name)}
    matching = [pattern for pattern in patterns if any(fnmatchcase(spelling, pattern) for spelling in spellings)]
    return min(matching, key=lambda pattern: (-len(pattern), pattern), default=None)


def _spelt_out(name: str) -> str:
    try:
        found = parse(name)
    except ImageError:
        return name
    return name if found.digest else found.tagged
