"""Sessions: calls that must reach the instance which keeps their state.

The container invents the id. What the client gets of it ends with a mark of the instance, which is taken off again
before a container sees it. So any worker can bring a session to its place, also after a restart, and none has to
remember or tell the others anything.
"""

import hashlib
import re
from functools import lru_cache

#: What a client says that wants a session.
NEW = b"NEW_SESSION"
#: Characters of a session id.
MAX_LENGTH = 256
_MARKED = re.compile(rb"(.+)(-p[0-9a-f]{8})", re.DOTALL)


@lru_cache(4096)
def mark(instance: str) -> bytes:
    """The mark of an instance; may stand at the end of whatever is a session id."""
    return b"-p" + hashlib.blake2s(instance.encode(), digest_size=4).hexdigest().encode()


def split(value: bytes) -> tuple[bytes, bytes]:
    """A client's session id: the container's own, and the mark (empty if there is none: we did not issue it)."""
    match = _MARKED.fullmatch(value)
    return (match[1], match[2]) if match else (value, b"")


def marked(value: bytes, instance_mark: bytes) -> bytes:
    """A container's ``id`` or ``id; Expires=...`` for the client. An id that leaves no room for the mark stays as it
    is: its calls go to any instance."""
    name, semicolon, rest = value.partition(b";")
    name = name.rstrip()
    if not name or len(name) + len(instance_mark) > MAX_LENGTH:
        return value
    return name + instance_mark + semicolon + rest
