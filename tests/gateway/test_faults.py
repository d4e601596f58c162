"""Containers that die or misbehave in each phase of a call, in each way that a call can go: what the client sees, what
becomes of the connection, and that the next call is served."""

import asyncio
import json
import time
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from gateway.fakes import Reply, invoke
from gateway.sites import Site
from gateway.workers import Behaviour, FakeContainer, Lab, Visit, echo, wait_for
from polyport.gateway import worker

WHOLE = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"
CHUNKS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"
#: Seconds in which the other side must hear of an end: many event-loop turns, and far below any time-out.
AT_ONCE = 1.0


class Way(NamedTuple):
    """How a call goes, and at which container of the site (by place) the fault is."""

    endpoint: str
    place: int
    label: str
    hostname: str = ""
    is_stream: bool = False

    @property
    def is_last(self) -> bool:
        return self.endpoint != "serial" or self.place == 2

    def request(self, body: bytes = b"{}") -> bytes:
        operation = "invocations-response-stream" if self.is_stream else "invocations"
        target = {"X-Amzn-SageMaker-Target-Container-Hostname": self.hostname} if self.hostname else {}
        return invoke(self.endpoint, body, operation, **target)


WAYS = {
    "the only container": Way("single", 0, "primary"),
    "a container called directly": Way("direct", 1, "second", "second"),
    "the first stage": Way("serial", 0, "one"),
    "a middle stage": Way("serial", 1, "two"),
    "the last stage": Way("serial", 2, "three"),
    "a stream": Way("single", 0, "primary", is_stream=True),
    "the first stage of a stream": Way("serial", 0, "one", is_stream=True),
    "the last stage of a stream": Way("serial", 2, "three", is_stream=True),
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One worker for all: no fault may spoil it for the next."""
    lab = Lab(tmp_path_factory.mktemp("faults"))
    with worker.bind("127.0.0.1", 0) as port:
        yield Site(lab, port.getsockname()[1])
        lab.close()


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> Way:
    """Each in turn."""
    return WAYS[request.param]


def containers(site: Site) -> list[FakeContainer]:
    return [site.first, site.second, site.third]


def arrange(site: Site, way: Way, behaviour: Behaviour) -> FakeContainer:
    """Only the container that the fault is at behaves so. No connection is left from before, for a fault on one of
    those may be tried again on another."""
    for container in containers(site):
        container.hang_up()
        container.behaviour = echo
        container.visits.clear()
    guilty = containers(site)[way.place]
    guilty.behaviour = behaviour
    return guilty


def check_aftermath(site: Site, way: Way, guilty: FakeContainer) -> None:
    """The request came once, later stages were not called, the connection is gone for good, and all goes on."""
    (visit,) = guilty.visits
    if way.endpoint == "serial":
        assert not any(container.visits for container in containers(site)[way.place + 1 :])
    wait_for(visit.gone.is_set, "the container's connection to end")
    connections = guilty.connections
    guilty.behaviour = echo
    assert site.raw(way.request(b"and on")).status == 200
    assert guilty.visits[-1].writer is not visit.writer
    assert guilty.connections == connections + 1, "nothing doubtful is in the pool"


def end(visit: Visit, how: str) -> None:
    if how == "reset":
        visit.reset()
    else:
        visit.writer.close()
    visit.gone.set()


def no_answer(way: Way) -> str:
    return f"could not get a response from the {way.endpoint} endpoint"


# --- before the head is whole


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("said", [b"", b"H", WHOLE[:20], WHOLE[:-1]], ids=["silent", "a byte", "half a head", "a head"])
def test_a_container_that_ends_before_its_head_is_whole_is_a_model_error(
    site: Site, way: Way, said: bytes, how: str
) -> None:
    """The text for no answer, naming the container; nobody is asked twice."""

    async def die(visit: Visit) -> None:
        await visit.say(said)
        end(visit, how)

    guilty = arrange(site, way, die)
    error = site.raw(way.request()).error
    assert no_answer(way) in error["OriginalMessage"]
    assert f"from {way.label} with message" in error["Message"]
    assert error["OriginalStatusCode"] == 0
    check_aftermath(site, way, guilty)


NONSENSE = {
    "nonsense": b"nonsense\r\n\r\n",
    "an older protocol": b"<html>hello</html>",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nhi",
    "length and chunks": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "an over-long head": b"HTTP/1.1 200 OK\r\n" + b"A: %b\r\n" % (b"a" * 1000) * 70,
    "too many headers": b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 101 + b"\r\n",
    "a header within a header": b"HTTP/1.1 200 OK\r\nContent-Type: a\nX-Evil: b\r\nContent-Length: 2\r\n\r\nhi",
    "another protocol": b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
    "interim answers without end": b"HTTP/1.1 100 Continue\r\n\r\n" * 3000,
}


@pytest.mark.parametrize("case", NONSENSE)
def test_a_container_that_answers_nonsense_is_a_model_error_and_is_hung_up_on(site: Site, way: Way, case: str) -> None:
    """At once, whatever it would have said next."""

    async def babble(visit: Visit) -> None:
        await visit.say(NONSENSE[case])
        await visit.until_gone()

    guilty = arrange(site, way, babble)
    started = time.monotonic()
    reply = site.raw(way.request())
    assert reply.status == 424
    assert no_answer(way) in reply.error["OriginalMessage"]
    assert time.monotonic() - started < AT_ONCE
    check_aftermath(site, way, guilty)


# --- once the head is there


def check_interruption(site: Site, way: Way, raw: bytes) -> None:
    """What a success that is not whole looks like."""
    reply = Reply(raw)
    if not way.is_last:
        assert reply.status == 424, "nothing of the answer was passed on"
        assert no_answer(way) in reply.error["OriginalMessage"]
        assert f"from {way.label} " in reply.error["Message"]
    elif way.is_stream:
        assert raw.endswith(b"\r\n0\r\n\r\n"), "the stream is whole, and says that the answer is not"
        assert b":exception-type\x07\x00\x10ModelStreamError" in raw
        frame = raw[raw.index(b'{"ErrorCode"') :]
        error = json.loads(frame[: frame.index(b"}") + 1])
        assert error["ErrorCode"] == "StreamBroken"
        assert way.label in error["Message"]
    else:
        assert reply.status == 200
        if "content-length" in reply.headers:
            assert len(reply.body) < int(reply.headers["content-length"])
        else:
            assert not raw.endswith(b"0\r\n\r\n")


def read_until_end(site: Site, request: bytes) -> bytes:
    """All that comes on one connection until it ends, by a reset or otherwise; a stream ends with its last chunk."""
    data = b""
    with site.connect() as client:
        client.sendall(request)
        try:
            while not data.endswith(b"0\r\n\r\n") and not is_complete(data) and (piece := client.recv(65536)):
                data += piece
        except ConnectionResetError:
            pass
    return data


def is_complete(raw: bytes) -> bool:
    """Whether it is an error, all of it: those keep their connection."""
    if b"\r\n\r\n" not in raw or raw.startswith(b"HTTP/1.1 200"):
        return False
    reply = Reply(raw)
    return len(reply.body) == int(reply.headers["content-length"])


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize(
    "said",
    [WHOLE, WHOLE + b"a" * 10, CHUNKS, CHUNKS + b"10\r\nab"],
    ids=["the head", "a part", "a chunk", "half a chunk"],
)
def test_a_container_that_ends_in_its_answer_ends_it_visibly(site: Site, way: Way, said: bytes, how: str) -> None:
    """The client's answer breaks off too, or says so in band; a stage in the middle is a ModelError."""

    async def die(visit: Visit) -> None:
        await visit.say(said)
        await asyncio.sleep(0.02)
        end(visit, how)

    guilty = arrange(site, way, die)
    check_interruption(site, way, read_until_end(site, way.request()))
    check_aftermath(site, way, guilty)


def test_a_container_that_loses_its_way_in_a_body_is_hung_up_on(site: Site, way: Way) -> None:
    """A chunk size that is none: the rest can mean nothing."""

    async def babble(visit: Visit) -> None:
        await visit.say(CHUNKS)
        await asyncio.sleep(0.02)
        await visit.say(b"zz\r\n")
        await visit.until_gone()

    guilty = arrange(site, way, babble)
    check_interruption(site, way, read_until_end(site, way.request()))
    check_aftermath(site, way, guilty)


def test_an_error_that_breaks_off_keeps_its_status(site: Site, way: Way) -> None:
    """Its text could not be loaded."""

    async def die(visit: Visit) -> None:
        await visit.say(WHOLE.replace(b"200 OK", b"503 Overloaded") + b"some")
        await asyncio.sleep(0.02)
        end(visit, "reset")

    guilty = arrange(site, way, die)
    error = site.raw(way.request()).error
    assert error["OriginalStatusCode"] == 503
    assert f"(503) from {way.label} and could not load the entire response body" in error["Message"]
    check_aftermath(site, way, guilty)


def test_an_endless_error_is_cut_and_its_connection_closed(site: Site, way: Way) -> None:
    """No more is read than an error can show."""

    async def pour(visit: Visit) -> None:
        await visit.say(b"HTTP/1.1 500 Error\r\nTransfer-Encoding: chunked\r\n\r\n")
        try:
            while True:
                await visit.say(b"400\r\n" + b"e" * 1024 + b"\r\n")
        except ConnectionError:
            visit.gone.set()

    guilty = arrange(site, way, pour)
    error = site.raw(way.request()).error
    assert (error["OriginalStatusCode"], error["OriginalMessage"]) == (500, "e" * 2048)
    check_aftermath(site, way, guilty)


# --- answers that are odd and in order


class Odd(NamedTuple):
    """An answer that stands, and whether its connection may be used again."""

    raw: bytes
    body: bytes
    is_kept: bool


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
ODD = {
    "no content": Odd(b"HTTP/1.1 204 No Content\r\n\r\n", b"", True),
    "an interim answer first": Odd(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + OK, b"hi", True),
    "more than its length": Odd(OK + b"more", b"hi", False),
    "two answers": Odd(OK + OK.replace(b"hi", b"no"), b"hi", False),
    "it says that it closes": Odd(OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"), b"hi", False),
    "no content with a length": Odd(b"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nhi", b"", False),
    "HTTP/1.0": Odd(OK.replace(b"HTTP/1.1", b"HTTP/1.0"), b"hi", False),
}


@pytest.mark.parametrize("case", ODD)
def test_an_odd_answer_stands_and_its_connection_is_kept_only_when_it_is_sound(site: Site, way: Way, case: str) -> None:
    """Whoever calls next gets an answer of his own."""
    odd = ODD[case]

    async def answer(visit: Visit) -> None:
        await visit.say(odd.raw)
        if not odd.is_kept:
            await visit.until_gone()

    guilty = arrange(site, way, answer)
    raw = read_until_end(site, way.request().replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
    assert Reply(raw).status == 200
    assert odd.body in raw
    assert b"more" not in raw
    assert b"no" not in Reply(raw).body
    if odd.is_kept:
        connections = guilty.connections
        guilty.behaviour = echo
        assert site.raw(way.request(b"and on")).status == 200
        assert guilty.connections == connections
    else:
        guilty.behaviour = echo
        wait_for(guilty.visits[0].gone.is_set, "the container's connection to end")
        assert b"and on" in read_until_end(
            site, way.request(b"and on").replace(b"\r\n", b"\r\nConnection: close\r\n", 1)
        )
        assert guilty.visits[-1].writer is not guilty.visits[0].writer


def test_not_modified_is_a_server_error_without_a_body(site: Site, way: Way) -> None:
    """Nobody asked whether it was; the connection is sound all the same."""

    async def answer(visit: Visit) -> None:
        await visit.say(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 100\r\n\r\n")

    guilty = arrange(site, way, answer)
    error = site.raw(way.request()).error
    assert (error["OriginalStatusCode"], error["OriginalMessage"]) == (304, "")
    connections = guilty.connections
    guilty.behaviour = echo
    assert site.raw(way.request()).status == 200
    assert guilty.connections == connections


def test_a_trickle_is_an_answer(site: Site, way: Way) -> None:
    """Byte by byte, each in a packet of its own."""

    async def trickle(visit: Visit) -> None:
        for byte in OK:
            await visit.say(bytes([byte]))
            await asyncio.sleep(0.002)

    arrange(site, way, trickle)
    raw = read_until_end(site, way.request().replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
    assert raw.startswith(b"HTTP/1.1 200")
    if not way.is_stream:
        assert Reply(raw).body == b"hi"
    else:
        assert raw.endswith(b"0\r\n\r\n")
        assert b"exception" not in raw


# --- answers before the request was read


class EagerContainer(FakeContainer):
    """Answers as soon as it sees a head, and reads no body."""

    said = b""
    then = "wait"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open.add(writer)
        visit = Visit(await reader.readuntil(b"\r\n\r\n"), b"", reader, writer)
        self.visits.append(visit)
        try:
            await visit.say(self.said)
            if self.then == "close":
                writer.close()
            else:
                # Nothing of the body is read before the gateway had the answer.
                await asyncio.sleep(0.1)
                while await reader.read(2**20):
                    pass
        except ConnectionError:
            pass
        finally:
            visit.gone.set()
            writer.close()
            self.open.discard(writer)


@pytest.fixture
def eager(site: Site) -> Iterator[EagerContainer]:
    """In the place of the only container, for a while."""
    made = EagerContainer(site.lab.background)
    site.lab.containers.append(made)
    honest = site.first
    site.first = made
    site.publish()
    yield made
    site.first = honest
    site.publish()


@pytest.mark.parametrize("is_stream", [False, True], ids=["call", "stream"])
def test_an_answer_before_the_request_was_read_stands(site: Site, eager: EagerContainer, is_stream: bool) -> None:
    """Its connection, on which the rest of the request is under way, cannot be used again."""
    eager.said = b"HTTP/1.1 413 Too Large\r\nContent-Length: 7\r\n\r\ntoo big"
    way = Way("single", 0, "primary", is_stream=is_stream)
    error = site.raw(way.request(bytes(20 * 2**20))).error
    assert (error["OriginalStatusCode"], error["OriginalMessage"]) == (413, "too big")
    wait_for(eager.visits[0].gone.is_set, "the container's connection to end")
    eager.said = OK
    assert site.raw(way.request()).status == 200
    assert eager.connections == 2


def test_a_success_before_the_request_was_read_stands_too(site: Site, eager: EagerContainer) -> None:
    """It is the container's affair how much it wants to know."""
    eager.said = OK
    reply = site.raw(invoke("single", bytes(20 * 2**20)))
    assert (reply.status, reply.body) == (200, b"hi")
    wait_for(eager.visits[0].gone.is_set, "the container's connection to end")


def test_an_answer_and_an_end_before_the_request_was_read_is_some_model_error(
    site: Site, eager: EagerContainer
) -> None:
    """The reset that follows may destroy the answer on its way: then it is no answer. Never a hang, never a success."""
    eager.said, eager.then = b"HTTP/1.1 413 Too Large\r\nContent-Length: 7\r\n\r\ntoo big", "close"
    for number in range(5):
        reply = site.raw(invoke("single", bytes(20 * 2**20)))
        assert reply.status == 424
        assert reply.error["OriginalStatusCode"] in (413, 0)
        assert len(eager.visits) == number + 1, "at most once"


# --- too late


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A worker that waits for 0.2 seconds."""
    lab = Lab(tmp_path_factory.mktemp("hasty"))
    with worker.bind("127.0.0.1", 0) as port:
        yield Site(lab, port.getsockname()[1], invocation_timeout=0.2, stream_timeout=0.2)
        lab.close()


@pytest.mark.parametrize("said", [b"", WHOLE[:20]], ids=["silent", "half a head"])
def test_a_container_that_is_too_late_is_named_and_hung_up_on(hasty: Site, way: Way, said: bytes) -> None:
    """In SageMaker's words."""

    async def dawdle(visit: Visit) -> None:
        await visit.say(said)
        await visit.until_gone()

    guilty = arrange(hasty, way, dawdle)
    started = time.monotonic()
    error = hasty.raw(way.request()).error
    assert 0.15 < time.monotonic() - started < 0.2 + AT_ONCE
    assert f"timed out while waiting for a response from container {way.label}." in error["OriginalMessage"]
    check_aftermath(hasty, way, guilty)


def test_an_answer_that_does_not_end_in_time_ends_visibly(hasty: Site, way: Way) -> None:
    """Broken off; in a stream by an exception of its own; in the middle of a chain as a time-out."""

    async def dawdle(visit: Visit) -> None:
        await visit.say(CHUNKS)
        await visit.until_gone()

    guilty = arrange(hasty, way, dawdle)
    raw = read_until_end(hasty, way.request())
    if not way.is_last:
        assert f"from container {way.label}." in Reply(raw).error["OriginalMessage"]
    elif way.is_stream:
        assert b"ModelStreamError" in raw
        assert b'"ModelInvocationTimeExceeded"' in raw
        assert raw.endswith(b"\r\n0\r\n\r\n")
    else:
        assert raw.endswith(b"3\r\nabc\r\n")
    check_aftermath(hasty, way, guilty)


# --- before the connection


def test_a_container_that_nobody_is_at_fails_the_call_and_comes_back(site: Site) -> None:
    """Refused: ModelError, no time lost; a second later it is as if nothing had been."""
    gone = site.lab.container()
    gone.refuse()
    honest, site.second = site.second, gone
    site.publish()
    started = time.monotonic()
    for way in (WAYS["a container called directly"], WAYS["a middle stage"], WAYS["a stream"]):
        reply = site.raw(way.request())
        assert reply.status == (200 if way.endpoint == "single" else 424)
        if reply.status == 424:
            assert f"from {way.label} " in reply.error["Message"]
    assert time.monotonic() - started < AT_ONCE
    site.second = honest
    site.publish()
    arrange(site, WAYS["a middle stage"], echo)
    assert site.raw(WAYS["a middle stage"].request(b"on")).body == b"on"


def test_all_that_left_nothing_in_flight(site: Site, hasty: Site) -> None:
    """Runs last: a table without the instances finds none of them busy."""
    for one in (site, hasty):
        assert one.is_quiet()
