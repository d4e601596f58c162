"""The way into a container without a network: a process that listens outside and connects inside.

It is forked from the supervisor with a listener on the host's loopback, enters the container's network, gives up all
rights, and copies both ways until it is killed. It listens only once the container does: until then connections are
refused, as they are without a relay, and nobody takes the container for one that runs.
"""

import contextlib
import errno
import os
import resource
import select
import signal
import socket
import struct
import time
from pathlib import Path
from typing import Final

from polyport.engines.process.isolation import kernel, users
from polyport.engines.process.isolation.bubblewrap import Sandbox

HOST: Final = "127.0.0.1"
#: Bytes on their way in one direction of a connection; more are not read until these are written.
_ROOM = 256 * 1024
_BACKLOG = 512
#: Seconds between two looks whether the container listens: soon after its start, and later.
_LOOK, _LOOK_LATER, _SOON = 0.005, 0.05, 5.0
#: Seconds without accepting when there are no more descriptors.
_PAUSE = 0.05
_LISTEN = "0A"
_RESET = struct.pack("ii", 1, 0)


def start(port: int, sandbox: Sandbox, user: int | None) -> int:
    """Forks it and returns its pid. Raises `OSError` when the port is not to be had."""
    listener = socket.socket()
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, port))
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            _become(listener, port, sandbox, user, parent)
        return pid
    finally:
        listener.close()


def _become(listener: socket.socket, port: int, sandbox: Sandbox, user: int | None, parent: int) -> None:
    """In the child. Never returns. What goes wrong ends it; the supervisor starts another."""
    try:
        sandbox.enter(kernel.CLONE_NEWNET | kernel.CLONE_NEWUSER)
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGCHLD, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        os.closerange(3, listener.fileno())
        os.closerange(listener.fileno() + 1, os.sysconf("SC_OPEN_MAX"))
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        users.become(user)
        kernel.die_with_parent()
        if os.getppid() == parent:
            wait_until_listening(port)
            Relay(listener, port).run()
    finally:
        os._exit(1)


def wait_until_listening(port: int) -> None:
    """Until somebody listens on that port, on any address, in the network that the calling process is in."""
    begin = time.monotonic()
    while not is_listening(port):
        time.sleep(_LOOK if time.monotonic() - begin < _SOON else _LOOK_LATER)


def is_listening(port: int) -> bool:
    """Whether somebody does. It is looked up, not tried: a server would see a connection that says nothing."""
    ending = f":{port:04X}"
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/self/net/{table}").read_text("ascii").splitlines()[1:]:
                fields = line.split()
                if fields[3] == _LISTEN and fields[1].endswith(ending):
                    return True
    return False


class Relay:
    """All connections of one container. One thread, one epoll."""

    def __init__(self, listener: socket.socket, port: int, host: str = HOST) -> None:
        self._listener = listener
        self._target = (host, port)
        self._poll = select.epoll()
        self._sides: dict[int, Side] = {}
        self._resume_at: float | None = None

    def run(self) -> None:
        """For ever."""
        self._listener.setblocking(False)
        self._listener.listen(_BACKLOG)
        self._poll.register(self._listener, select.EPOLLIN)
        while True:
            events = dict(self._poll.poll(self._wait()))
            comes = events.pop(self._listener.fileno(), 0)
            for fd, what in events.items():
                if side := self._sides.get(fd):
                    self._serve(side, what)
            if comes:  # last: a new connection may get the number of one that has just ended
                self._accept()

    def _wait(self) -> float | None:
        if self._resume_at is None:
            return None
        left = self._resume_at - time.monotonic()
        if left <= 0:
            self._poll.modify(self._listener, select.EPOLLIN)
            self._resume_at = None
            return None
        return left

    def _accept(self) -> None:
        try:
            outer, _ = self._listener.accept()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS):
                self._rest()
            return
        try:
            inner = socket.socket()
        except OSError:
            _abort(outer)
            self._rest()
            return
        inner.setblocking(False)
        if inner.connect_ex(self._target) not in (0, errno.EINPROGRESS):
            _abort(outer)
            inner.close()
            return
        one, other = Side(outer, connecting=False), Side(inner, connecting=True)
        one.peer, other.peer = other, one
        for side in (one, other):
            side.socket.setblocking(False)
            side.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._sides[side.socket.fileno()] = side
            self._watch(side)

    def _rest(self) -> None:
        """No more connections for a moment."""
        self._poll.modify(self._listener, 0)
        self._resume_at = time.monotonic() + _PAUSE

    def _serve(self, side: "Side", events: int) -> None:
        try:
            side.look(events)
            side.read()
            side.peer.write()
            side.write()
            side.peer.read()
            side.write()
        except OSError:
            self._drop(side, reset=True)
            return
        if side.is_over and side.peer.is_over:
            self._drop(side, reset=False)
            return
        self._watch(side)
        self._watch(side.peer)

    def _watch(self, side: "Side") -> None:
        wishes = side.wishes()
        if wishes != side.interest:
            # One that is over would be reported for ever, whatever it is watched for.
            known, over = side.interest is not None, wishes is None
            side.interest = wishes
            if over:
                self._poll.unregister(side.socket)
            elif wishes is not None:
                (self._poll.modify if known else self._poll.register)(side.socket, wishes)

    def _drop(self, side: "Side", *, reset: bool) -> None:
        for one in (side, side.peer):
            del self._sides[one.socket.fileno()]
            if reset:
                _abort(one.socket)
            else:
                one.socket.close()


class Side:
    """One socket of a pair, and the bytes that are to be written to it."""

    peer: "Side"

    def __init__(self, connection: socket.socket, *, connecting: bool) -> None:
        self.socket = connection
        self.connecting = connecting
        #: What it is watched for; ``None``: nothing, not even its end.
        self.interest: int | None = None
        self.waiting = bytearray()
        #: It says no more.
        self.ended = False
        #: It has been told that no more comes.
        self.told = False

    @property
    def is_over(self) -> bool:
        """Both directions are at their end."""
        return self.ended and self.told

    def wishes(self) -> int | None:
        """What it waits for: to be read while its peer has room, to be written while something waits."""
        if self.is_over:
            return None
        wanted = 0
        if not self.connecting and not self.ended and len(self.peer.waiting) < _ROOM:
            wanted |= select.EPOLLIN
        if self.connecting or self.waiting:
            wanted |= select.EPOLLOUT
        return wanted

    def look(self, events: int) -> None:
        """Takes note that it is connected. Raises `OSError` when it was refused, or reset."""
        if events & select.EPOLLERR:
            error = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) or errno.ECONNRESET
            raise OSError(error, os.strerror(error))
        if events & select.EPOLLOUT:
            self.connecting = False

    def read(self) -> None:
        """Takes what it says, as far as there is room."""
        room = _ROOM - len(self.peer.waiting)
        if self.ended or self.connecting or room <= 0:
            return
        with contextlib.suppress(BlockingIOError):
            data = self.socket.recv(room)
            self.peer.waiting += data
            self.ended = not data

    def write(self) -> None:
        """Tells it what waits; once all is told and no more comes, that too."""
        if self.connecting or self.told:
            return
        if self.waiting:
            with contextlib.suppress(BlockingIOError):
                del self.waiting[: self.socket.send(self.waiting)]
        if self.peer.ended and not self.waiting:
            self.told = True
            self.socket.shutdown(socket.SHUT_WR)


def _abort(connection: socket.socket) -> None:
    """The other end sees a connection that was reset, not one that came to its end."""
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    connection.close()
