"""One client's bytes through a gateway, and what every container and the client got."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from fuzz import strict
from fuzz.fakes import fakes
from fuzz.findings import require

#: What containers say; and control, to all but HEAD.
SAID = fakes.answer(b"hi", Content_Type="text/plain")
#: Turns in which containers answer: more than any input can ask for.
MOST_TURNS = 10_000
#: Port of control in `Course.seen`.
CONTROL = 0
#: What differs between two answers to the same request.
_VARYING = {b"date", b"x-amzn-requestid", b"server-timing", b"x-polyport-request-id"}


@dataclass
class Course:
    """What came of it. ``seen``: port and request, in order; ``answered``: all bytes that the client got."""

    seen: list[tuple[int, strict.Request]] = field(default_factory=list)
    answered: bytes = b""
    is_closed: bool = False


class Run:
    """A client of a gateway, whose containers answer when they are asked."""

    def __init__(self, world: Any) -> None:
        self._world = world
        self.course = Course()
        self._buffers: dict[Any, bytes] = {}
        self.client = world.connect()

    def feed(self, pieces: list[bytes]) -> None:
        """The client sends, as long as it is listened to."""
        for piece in pieces:
            while self.client.paused and self._turn():
                pass
            if self.client.is_closing():
                break
            require(not self.client.paused, "a client is held back, and nothing is under way")
            self.client.receive(piece)

    def finish(self) -> Course:
        """Containers answer what there is, the client leaves; nothing of it stays behind."""
        for _ in range(MOST_TURNS):
            if not self._turn():
                break
        else:
            require(False, "calls without end")
        self.course.is_closed = self.client.is_closing() or self.client.wrote_eof
        self.course.answered += self.client.take()
        if not self.client.is_closing():
            self.client.hang_up()
        else:
            self.client.protocol.connection_lost(None)
        self._check_rest()
        return self.course

    def _check_rest(self) -> None:
        gateway = self._world.gateway
        require(not gateway.connections, "a connection is remembered that is gone")
        require(not gateway.calls and not gateway.streams and not gateway.forwards, "a call is left in a lane")
        for one in gateway.index.instances.values():
            require(one.outstanding == 0, f"{one!r} counts calls that are over")

    def _turn(self) -> bool:
        """Everybody who is asked answers once. Returns whether anybody was."""
        pools = [(CONTROL, self._world.control)]
        pools += [(address.port, pool) for address, pool in self._world.pools.items()]
        is_any = False
        for port, pool in pools:
            while pool.users:
                pool.accept()
            for upstream in pool.upstreams:
                if upstream._user is not None and self._answer(port, upstream.transport):
                    is_any = True
        return is_any

    def _answer(self, port: int, transport: Any) -> bool:
        if transport.is_closing():
            return False
        data = self._buffers.pop(transport, b"") + transport.take()
        try:
            asked, rest = strict.request(data)
        except strict.Incomplete:
            self._buffers[transport] = data
            return False
        require(not rest, f"a container is sent more than one request at once: {data!r}")
        check_request(port, asked)
        self.course.seen.append((port, asked))
        transport.receive(SAID.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" if asked.method == b"HEAD" else SAID)
        return True


def check_request(port: int, asked: strict.Request) -> None:
    """Nothing is sent to a container, or control, but what belongs there."""
    names = [name.lower() for name, _ in asked.headers]
    if port == CONTROL:
        for ours in (b"x-polyport-request-id", b"x-polyport-client", b"x-polyport-secure"):
            require(names.count(ours) == 1, f"control is told {ours!r} {names.count(ours)} times")
        require(sum(name.startswith(b"x-polyport-") for name in names) == 3, f"a client speaks for us: {names}")
        require(b"transfer-encoding" not in names, "control is sent chunks")
    else:
        require(set(names) <= fakes.TO_CONTAINERS, f"a container is told {set(names) - fakes.TO_CONTAINERS}")
        require(len(set(names)) == len(names), f"a container is told something twice: {names}")
        require(asked.values(b"content-length") == [b"%d" % len(asked.body)], "the length is not the body's")
        require((asked.method, asked.target) == (b"POST", b"/invocations"), f"a container is asked {asked!r}")


def answers(raw: bytes, asked: list[strict.Request]) -> list[strict.Answer]:
    """The final answers. Raises `Finding` when they are not well-formed HTTP, or one is missing its end."""
    found: list[strict.Answer] = []
    while raw:
        method = asked[len(found)].method if len(found) < len(asked) else b""
        try:
            one, raw = _next(raw, method)
        except (strict.Malformed, strict.Incomplete) as error:
            require(False, f"answered with what is no HTTP ({error!r}): {raw[:300]!r}")
        if one.status >= 200:
            require(not found or not found[-1].ends_connection, "an answer comes after the last")
            found.append(one)
        else:
            require(one.status == 100, f"an interim answer {one.status}")
    return found


def _next(raw: bytes, method: bytes) -> tuple[strict.Answer, bytes]:
    """An answer, and what comes after it. ``method``: what was asked; empty if that is no whole request."""
    if not method or b"\r\nx-amzn-ErrorType: MalformedHttpRequestException\r\n" in raw.partition(b"\r\n\r\n")[0]:
        # Whether it was a HEAD is known from its target on. Nothing comes after its error, so nothing is mistaken.
        one, rest = strict.answer(raw, is_bodyless=True)
        return (one, rest) if not rest else strict.answer(raw)
    return strict.answer(raw, is_bodyless=method == b"HEAD", is_over=True)


def essence(one: strict.Answer | strict.Request) -> tuple[object, ...]:
    """What must be the same whenever the same is asked."""
    headers = sorted((name.lower(), value) for name, value in one.headers if name.lower() not in _VARYING)
    if isinstance(one, strict.Answer):
        if one.values(b"x-amzn-errortype") == [b"MalformedHttpRequestException"]:
            # Its words come from a parser, and may be others for one packet than for two.
            return one.status, one.ends_connection
        return one.status, one.body, headers, one.ends_connection
    return one.method, one.target, one.body, headers
