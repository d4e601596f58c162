"""One server takes over from another on the same home, without a failed call.

The newer one asks at a Unix socket in the home. The older one passes the lock and the listening sockets on, ends its
control, which leaves the instances running, and says so; its gateways go on serving. The newer one starts its control,
which adopts the instances, and its gateways, at the same sockets. Once these serve it says so, and the older one's
gateways finish their calls and end. A connection that waits in a socket's queue waits for whoever takes it: the socket
is never closed in between.

When the newer one fails or goes before that, the older one starts its control again, and nothing has happened.
"""

import socket
from contextlib import suppress
from pathlib import Path

import msgspec

from polyport.errors import UsageError

#: Seconds that the older server may take for one step.
PATIENCE = 60.0
#: Listening sockets that one message can carry, and bytes of a message.
MAX_SOCKETS = 64
MAX_MESSAGE = 64 * 1024
FILE_NAME = "handover.sock"


class Ask(msgspec.Struct, frozen=True, tag="ask"):
    """Newer to older: who asks."""

    polyport: str
    engine: str
    #: How many gateway workers it will start.
    workers: int


class Offer(msgspec.Struct, frozen=True, tag="offer"):
    """Older to newer, with the descriptors of the lock and of the listening sockets, in this order."""

    polyport: str
    pid: int
    host: str
    port: int
    #: How often the home was handed over; tells the workers of one server from those of the next.
    generation: int
    #: The names of its workers, which serve until they are told to go.
    workers: tuple[str, ...]


class Refusal(msgspec.Struct, frozen=True, tag="refusal"):
    """Older to newer: no, and why."""

    reason: str


class Free(msgspec.Struct, frozen=True, tag="free"):
    """Older to newer: my control has ended. No process but yours uses the database."""


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """Newer to older: my gateways serve; yours may go."""


Any = Ask | Offer | Refusal | Free | Ready
_decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(Any)


def encode(message: Any) -> bytes:
    """One line."""
    return msgspec.json.encode(message) + b"\n"


def decode(line: bytes) -> Any | None:
    """What a line says; ``None``: nothing that is known here."""
    try:
        return _decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


class Taken:
    """What the older server passed on. Closing it without `confirm` gives everything back."""

    def __init__(self, connection: socket.socket, offer: Offer, lock: int, listeners: list[socket.socket]) -> None:
        self._connection = connection
        self.offer = offer
        self.lock = lock
        self.listeners = listeners

    def wait_until_free(self) -> None:
        """Until the older control has ended. A server that is gone altogether has no control either."""
        message = _receive(self._connection)
        if message is not None and not isinstance(message, Free):
            raise UsageError(f"The server with process id {self.offer.pid} did not hand over in time.")

    def confirm(self) -> None:
        """Our gateways serve. An older server that is gone need not be told."""
        with suppress(OSError):
            self._connection.sendall(encode(Ready()))
        self.close()

    def close(self) -> None:
        """Hang up. May be called twice."""
        self._connection.close()


def ask(path: Path, message: Ask) -> Taken | None:
    """Ask the server at that socket to hand over; ``None``: nobody is there. Raises `UsageError` when it will not."""
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(PATIENCE)
    try:
        connection.connect(str(path))
        connection.sendall(encode(message))
        data, descriptors, _, _ = socket.recv_fds(connection, MAX_MESSAGE, MAX_SOCKETS + 1)
    except OSError:
        connection.close()
        return None
    answer = decode(data)
    if not isinstance(answer, Offer) or len(descriptors) < 2:
        connection.close()
        reason = answer.reason if isinstance(answer, Refusal) else "it does not answer as it should"
        raise UsageError(f"The running server does not hand over: {reason}.")
    lock, *rest = descriptors
    return Taken(connection, answer, lock, [socket.socket(fileno=descriptor) for descriptor in rest])


def listen(path: Path) -> socket.socket:
    """Where the next server will ask. In place of an older server's, which is not disturbed."""
    listener = socket.socket(socket.AF_UNIX)
    path.unlink(missing_ok=True)
    listener.bind(str(path))
    path.chmod(0o600)
    listener.listen(1)
    listener.setblocking(False)
    return listener


def send_offer(connection: socket.socket, offer: Offer, lock: int, listeners: list[socket.socket]) -> None:
    """Answer an `Ask`. Raises `OSError`."""
    socket.send_fds(connection, [encode(offer)], [lock, *(listener.fileno() for listener in listeners)])


def _receive(connection: socket.socket) -> Any | None:
    """The next message; ``None``: the other side is gone; a `Refusal` when it says nothing in time."""
    data = b""
    try:
        while not data.endswith(b"\n"):
            piece = connection.recv(MAX_MESSAGE)
            if not piece:
                return None
            data += piece
    except TimeoutError:
        return Refusal("it does not answer")
    except OSError:
        return None
    return decode(data) or Refusal("it answers nonsense")
