"""A container's bytes in answer to an invocation (or control's, to another request), however they are cut and end.

The client gets well-formed HTTP, at most one answer, no header but those that pass, and a body only if it is the
container's; whatever was cut off is seen to be. A connection is used again only after an answer that is whole and has
nothing after it.
"""

from typing import Any, NamedTuple

from botocore.eventstream import EventStreamBuffer

from fuzz import strict
from fuzz.choices import Choices, cut, pack
from fuzz.fakes import fakes
from fuzz.fakes import world as make_world
from fuzz.findings import no_errors_logged, require
from fuzz.target import Target
from polyport.gateway.clients import heads

SINGLE, STREAM, FIRST, MIDDLE, LAST, FORWARD, HEAD, LEGACY = range(8)
STAY, END, RESET, LEAVE = range(4)
#: Control's answers have names of their own; these are a gateway's.
ONCE = (b"content-length", b"transfer-encoding", b"connection")
_CALLS = {
    SINGLE: (fakes.invoke("single"), 1),
    STREAM: (fakes.invoke("single", operation="invocations-response-stream"), 1),
    FIRST: (fakes.invoke("serial"), 21),
    MIDDLE: (fakes.invoke("serial"), 22),
    LAST: (fakes.invoke("serial"), 23),
    FORWARD: (b"GET /x HTTP/1.1\r\nHost: h\r\n\r\n", 0),
    HEAD: (b"HEAD /x HTTP/1.1\r\nHost: h\r\n\r\n", 0),
    LEGACY: (fakes.invoke("single").replace(b"HTTP/1.1", b"HTTP/1.0"), 1),
}
_OK = fakes.answer(b"ok")
CHUNKS = b"3\r\nabc\r\n5;x\r\ndefgh\r\n0\r\nA: b\r\n\r\n"


class Outcome(NamedTuple):
    """What came of it. ``is_whole``: the client got an answer to its end; ``is_kept``: the connection to the container
    waits for another request; ``passed``: the body that went on to the client or the next stage."""

    answer: strict.Answer | None
    is_whole: bool
    is_kept: bool
    passed: bytes | None


def check(data: bytes) -> None:
    """One answer's bytes."""
    choices = Choices(data)
    mode, ending = choices.below(len(_CALLS)), choices.below(4)
    with no_errors_logged():
        outcomes = []
        for pieces in ([choices.payload], cut(choices.payload, choices.rest() or [0])):
            heads.forget()
            outcomes.append(_run(mode, ending, pieces))
            _judge(outcomes[-1], mode, ending, choices.payload)
        # Known heads, if this one became one.
        outcomes.append(_run(mode, ending, [choices.payload]))
        _judge(outcomes[-1], mode, ending, choices.payload)
    if mode != HEAD:
        # Who asked by HEAD does not wait for what may follow the head.
        _compare(outcomes)
    if mode != HEAD and not choices.payload.endswith((b"\r", b"\n")):
        # Line ends may come too late to be skipped.
        require(len({one.is_kept for one in outcomes}) == 1, "used again or not, by how it is cut")


def _run(mode: int, ending: int, pieces: list[bytes]) -> Outcome:
    world = make_world(fakes.single(), fakes.serial())
    asked, port = _CALLS[mode]
    client = world.connect()
    client.receive(asked)
    for before in range(21, port):
        world.pool(before).accept().receive(_OK)
    pool = world.pool(port) if port else world.control
    container = pool.accept()
    container.take()
    for piece in pieces:
        if container.is_closing():
            break
        container.receive(piece)
    is_over = client.closed
    if ending == LEAVE:
        if not client.is_closing():
            client.hang_up()
    elif ending != STAY and not container.is_closing():
        container.hang_up(ConnectionResetError() if ending == RESET else None)
    passed = _following(world, port) if mode in (FIRST, MIDDLE) and ending != LEAVE else None
    return _outcome(world, client, pool, mode, passed, is_over=is_over or (client.closed and ending != LEAVE))


def _following(world: Any, port: int) -> bytes | None:
    """The body that the next stage gets; the stages after it answer. ``None``: it gets none."""
    passed = None
    for following in range(port + 1, 24):
        pool = world.pool(following)
        if not pool.users:
            break
        container = pool.accept()
        request, rest = strict.request(container.take())
        require(not rest, "more than one request for the next stage")
        names = [name.lower() for name, _ in request.headers]
        require(len(set(names)) == len(names), f"the next stage is told something twice: {names}")
        passed = request.body if passed is None else passed
        container.receive(_OK)
    return passed


def _outcome(world: Any, client: Any, pool: Any, mode: int, passed: bytes | None, *, is_over: bool) -> Outcome:
    raw, is_cut = client.take(), client.aborted
    is_kept = bool(pool.idle)
    require(len(pool.idle) + sum(one.transport.is_closing() for one in pool.upstreams) <= 1, "one connection is two")
    if not client.is_closing():
        client.hang_up()
    elif not client.closed:
        client.protocol.connection_lost(None)
    for one in world.gateway.index.instances.values():
        require(one.outstanding == 0, "a call is counted that is over")
    require(not (world.gateway.calls or world.gateway.streams or world.gateway.forwards), "a call is left in a lane")
    if not raw:
        return Outcome(None, False, is_kept, passed)
    try:
        answer, rest = strict.answer(raw, is_bodyless=mode == HEAD, is_over=is_over)
    except strict.Malformed as error:
        raise AssertionError(f"the client gets what is no HTTP ({error}): {raw[:300]!r}") from error
    except strict.Incomplete:
        # Still coming, or cut off: the client sees that it is not whole.
        return Outcome(None, False, is_kept, passed)
    require(not rest, f"the client gets more than its answer: {rest[:300]!r}")
    return Outcome(answer, not is_cut and not _has_failed(answer, mode), is_kept, passed)


def _judge(outcome: Outcome, mode: int, ending: int, said: bytes) -> None:
    whole, rest = _said(said, ending)
    if outcome.is_kept:
        require(whole is not None and not rest, f"a connection is used again after {said[:300]!r}")
        require(whole is None or not whole.ends_connection, "a connection is used again that ends")
    answer = outcome.answer
    if answer is None or not outcome.is_whole:
        return
    names = [name.lower() for name, _ in answer.headers]
    if mode in (FORWARD, HEAD):
        require(all(names.count(name) <= 1 for name in ONCE), f"said twice: {answer.headers}")
        return
    require(set(names) <= fakes.TO_CLIENTS and len(set(names)) == len(names), f"a client is told {answer.headers}")
    require(answer.status in (200, 424, 502), f"status {answer.status}")
    if answer.status == 200 and mode not in (FIRST, MIDDLE):
        require(whole is not None, f"success that no container said: {said[:300]!r}")
        assert whole is not None
        require(_body(answer, mode) == whole.body, f"{answer.body!r} is not what the container said")
    if outcome.passed is not None:
        require(whole is not None and outcome.passed == whole.body, f"{outcome.passed!r} goes on, which nobody said")


def _has_failed(answer: strict.Answer, mode: int) -> bool:
    """Whether a stream tells that it is not whole."""
    return (
        mode == STREAM and answer.status == 200 and any(":exception-type" in frame.headers for frame in _frames(answer))
    )


def _said(said: bytes, ending: int) -> tuple[strict.Answer | None, bytes]:
    """The answer that the container's bytes are, and what comes after it."""
    try:
        while True:
            one, said = strict.answer(said, is_over=ending == END)
            if one.status >= 200:
                # Line ends between messages are nothing.
                return one, said.lstrip(b"\r\n")
    except (strict.Malformed, strict.Incomplete):
        return None, said


def _body(answer: strict.Answer, mode: int) -> bytes:
    if mode != STREAM:
        return answer.body
    return b"".join(frame.payload for frame in _frames(answer))


def _frames(answer: strict.Answer) -> list[Any]:
    frames = EventStreamBuffer()
    frames.add_data(answer.body)
    return list(frames)


def _compare(outcomes: list[Outcome]) -> None:
    """However it is cut, a success is a success, and the same."""
    whole = [one for one in outcomes if one.is_whole and one.answer is not None and one.answer.status == 200]
    require(len(whole) in (0, len(outcomes)), "a success only by how it is cut")
    bodies = {one.answer.body for one in whole if one.answer and b"PayloadPart" not in one.answer.body}
    require(len(bodies) <= 1, f"different answers, by how they are cut: {bodies}")
    require(len({one.passed for one in outcomes}) == 1, "another body goes on, by how it is cut")


def _seeds() -> list[bytes]:
    said = [
        fakes.answer(b"abcdefgh", Content_Type="text/plain"),
        fakes.answer(b"", X_Amzn_SageMaker_Custom_Attributes="a=b", X_Amzn_SageMaker_New_Session_Id="s"),
        fakes.answer(b"{}", X_Amzn_SageMaker_Session_Id="id; Expires=soon", Connection="close"),
        fakes.answer(b"no", "400 Bad Request", Content_Type="text/plain"),
        fakes.answer(b"no", "503 "),
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNKS,
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nuntil the end",
        b"HTTP/1.0 200 OK\r\n\r\nuntil the end",
        b"HTTP/1.1 100 Continue\r\n\r\n" + fakes.answer(b"abcdefgh"),
        fakes.answer(b"hi") + b"rest",
        fakes.answer(b"hi") * 2,
        fakes.answer(b"hi", Set_Cookie="a=b", Trailer="A", X_Amzn_SageMaker_Closed_Session_Id="s"),
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 304 Not Modified\r\nETag: a\r\n\r\n",
    ]
    return [pack(one, mode, ending, 5, 1, 40) for one in said for mode in range(8) for ending in range(4)]


TOKENS = (
    *(
        b"\r\n",
        b"\r\n\r\n",
        b"\n",
        b"\r",
        b"\0",
        b": ",
        b" ",
        b"\t",
        b"HTTP/1.1 ",
        b"HTTP/1.0 ",
        b"200 OK",
        b"204",
        b"304",
    ),
    *(b"100 Continue", b"101 Switching", b"103 ", b"500 ", b"Content-Length: 2\r\n", b"Content-Length: ", b"0x2"),
    *(b"Transfer-Encoding: chunked\r\n", b"gzip, chunked", b"0\r\n\r\n", b"ffffffff", b"18446744073709551615"),
    *(b"Connection: close\r\n", b"keep-alive", b"Upgrade: x\r\n", b"Content-Type: ", b"X-Amzn-SageMaker-Session-Id: "),
    *(b"X-Amzn-SageMaker-Closed-Session-Id: ", b"X-Amzn-SageMaker-Custom-Attributes: ", b"; Expires=", b"Trailer: "),
    *(b"x-amzn-RequestId: ", b"Date: ", b"Set-Cookie: "),
)
TARGET = Target("answer", check, _seeds, TOKENS)
