"""A client's bytes into a gateway: open, with keys, and with keys where whatever is sent is signed anew.

Whatever it sends, however it is cut: only documented errors come back, in well-formed HTTP and never more answers than
requests; containers get one well-formed request at a time, with nothing of the client's but values; the same bytes mean
the same; and with keys no container is reached by what botocore's signer does not find to be signed.
"""

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from unittest import mock
from urllib.parse import unquote_to_bytes

from fuzz import course, signatures, strict
from fuzz.choices import Choices, cut, pack
from fuzz.course import CONTROL, Course, Run
from fuzz.fakes import fakes, people, signed
from fuzz.fakes import world as make_world
from fuzz.findings import no_errors_logged, require
from fuzz.target import Target
from polyport.gateway.callers.guard import Guard
from polyport.gateway.calls import invocation
from polyport.gateway.clients import connection, heads, reader

NOW = 1_767_356_100.0
OPEN, KEYED, SIGNED = range(3)
ALICE = people.User("alice", people.ALLOW_ALL)
BOB = people.User(
    "bob", people.allow(people.arn("direct"), StringEquals={"sagemaker:TargetContainerHostname": "first"})
)
TABLE = people.table(ALICE, BOB)
SECRETS = {user.key.id: user.key.secret for user in (ALICE, BOB)}
#: First containers of each endpoint, by name.
PORTS = {b"single": {1}, b"direct": {11, 12}, b"serial": {21}}
CHUNKS = b"3;a=b\r\nabc\r\nA\r\n0123456789\r\n0\r\nA: b\r\n\r\n"
FIRST = {1, 11, 12, 21}
#: Only what is for its first container.
BOB_S = {11}
_ENDPOINT = re.compile(
    rb"(?:https?://[^/?]*)?/endpoints/(?:arn:[^/]*:endpoint/)?([^/?]+)/invocations.*", re.IGNORECASE | re.DOTALL
)
_SIGNATURE = re.compile(rb"(Signature=)[0-9a-f]{64}")
#: Codes of the errors that a gateway answers with, and their statuses.
ERRORS = {
    "MalformedHttpRequestException": {400},
    "RequestEntityTooLargeException": {413},
    "ValidationError": {400, 417},
    "UnknownOperationException": {404},
    "AccessDeniedException": {403},
    "MissingAuthenticationTokenException": {403},
    "IncompleteSignatureException": {400},
    "InvalidSignatureException": {403},
    "UnrecognizedClientException": {403},
    "ExpiredTokenException": {403},
}


def check(data: bytes) -> None:
    """One connection's bytes."""
    choices = Choices(data)
    mode, way, is_small = choices.below(3), choices.below(3), choices.below(2) == 1
    pieces = cut(choices.payload, choices.rest() or [0])
    sent = _sign(choices.payload) if mode == SIGNED else choices.payload
    with no_errors_logged(), _thresholds(is_small):
        heads.forget()
        whole = _run(mode, [sent])
        _judge(whole, sent, mode)
        if way == 1:
            # The same heads are known now.
            _compare(whole, _run(mode, [sent]), sent, is_small=is_small)
        else:
            heads.forget()
            others = cut(sent, [0]) if way == 0 and len(sent) < 2000 else cut(sent, [len(piece) for piece in pieces])
            other = _run(mode, others)
            _judge(other, sent, mode)
            _compare(whole, other, sent, is_small=is_small)


def _run(mode: int, pieces: list[bytes]) -> Course:
    access = fakes.OPEN if mode == OPEN else TABLE
    world = make_world(fakes.single(), fakes.direct(), fakes.serial(), access=access, max_body_bytes=100_000)
    if mode != OPEN:
        world.gateway.guard = Guard(TABLE, is_secure=False, clock=lambda: NOW)
    run = Run(world)
    run.feed(pieces)
    course = run.finish()
    for record in (record for refused in world.told for record in refused.records):
        require(b"\n" not in record and b"secret of" not in record, f"an audit record {record!r}")
        json.loads(record)
    return course


@contextmanager
def _thresholds(is_small: bool) -> Iterator[None]:
    """What is done for large bodies only is done for small ones."""
    with ExitStack() as stack:
        if is_small:
            for module, name, size in ((reader, "BULK", 16), (connection, "EARLY", 24), (invocation, "JOIN_LIMIT", 16)):
                stack.enter_context(mock.patch.object(module, name, size))
        yield


def _judge(course_: Course, sent: bytes, mode: int) -> None:
    asked = strict.requests(sent)
    answers = course.answers(course_.answered, asked)
    # One more: the error for what is no request.
    require(len(answers) <= len(asked) + 1, f"{len(answers)} answers to {len(asked)} requests")
    for answer in answers:
        _check_answer(answer)
    _check_reached(course_, asked, mode)


def _check_answer(answer: strict.Answer) -> None:
    names = [name.lower() for name, _ in answer.headers]
    require(len(set(names)) == len(names), f"a header twice: {answer.headers}")
    if answer.status == 200:
        require(answer.body in (b"hi", b"") or b"PayloadPart" in answer.body, f"an answer nobody gave: {answer!r}")
        return
    code = b"".join(answer.values(b"x-amzn-errortype")).decode()
    require(answer.status in ERRORS.get(code, ()), f"an undocumented error: {answer.status} {code}")
    if answer.body:
        require(json.loads(answer.body)["Message"], "an error without words")


def _check_reached(course_: Course, asked: list[strict.Request], mode: int) -> None:
    """Each request of a container is one that the client sent, in that order; with keys: that somebody signed."""
    waiting = iter(asked)
    for port, got in course_.seen:
        if port != CONTROL and port not in FIRST:
            continue
        for one in waiting:
            if one.body == got.body and port in _ports(one) and (port == CONTROL or _may(one, port, mode)):
                break
        else:
            require(False, f"port {port} is reached by what nobody sent or signed: {got!r}")


def _ports(one: strict.Request) -> set[int]:
    match = _ENDPOINT.fullmatch(one.target)
    if match is None:
        return {CONTROL}
    return PORTS.get(unquote_to_bytes(match[1]).rpartition(b"/")[2], set()) | {CONTROL}


def _may(one: strict.Request, port: int, mode: int) -> bool:
    if mode == OPEN:
        return True
    # As a path: what a gateway makes of an absolute target.
    target = re.sub(rb"(?i)\Ahttps?://[^/?]*", b"", one.target)
    key_id = signatures.is_signed(one.method, target, one.headers, one.body, SECRETS, NOW)
    return key_id == ALICE.key.id or (key_id == BOB.key.id and port in BOB_S)


def _compare(first: Course, second: Course, sent: bytes, *, is_small: bool) -> None:
    """The same bytes mean the same. Where bodies pass early, a refusal may end a connection that otherwise goes on."""
    asked = strict.requests(sent)
    told = _essences(first, asked), _essences(second, asked)
    require(is_small or told[0] == told[1], f"the client gets {told[0]} or {told[1]}, by how it is cut")
    left, right = ([(port, course.essence(got)) for port, got in one.seen] for one in (first, second))
    shorter = min(len(left), len(right)) if is_small else len(left) + len(right)
    require(left[:shorter] == right[:shorter], f"containers get {left} or {right}, by how it is cut")


def _essences(course_: Course, asked: list[strict.Request]) -> list[tuple[object, ...]]:
    return [course.essence(answer) for answer in course.answers(course_.answered, asked)]


def _sign(payload: bytes) -> bytes:
    """The first request's signature becomes the right one, by botocore, whatever else is in it."""
    try:
        one, _ = strict.request(payload)
    except (strict.Malformed, strict.Incomplete):
        return payload
    stated = signatures.statement(one.target, one.headers)
    hashed = signatures.payload_hash(one.target, one.headers, one.body)
    if stated is None or hashed is None or not one.values(b"authorization"):
        return payload
    made = signatures.canonical(one.method, one.target, one.headers, stated.signed, hashed)
    right = signatures.signature(stated, made, SECRETS.get(stated.key_id, "nobody's"))
    return _SIGNATURE.sub(b"\\g<1>" + right, payload, count=1)


def _seeds() -> list[bytes]:
    plain = [
        fakes.invoke("single"),
        fakes.invoke("single", b'{"a": 1}', Content_Type="application/json", Accept="text/csv") * 2,
        fakes.invoke("direct", b"1,2", X_Amzn_SageMaker_Target_Container_Hostname="second", Connection="close"),
        fakes.invoke("serial", b"x" * 60, X_Amzn_SageMaker_Custom_Attributes="a=b", X_Amzn_SageMaker_Inference_Id="i"),
        fakes.invoke("single", operation="invocations-response-stream", X_Amzn_SageMaker_Session_Id="NEW_SESSION"),
        b"POST /endpoints/single/invocations HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNKS,
        b"POST /endpoints/single/invocations HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 40\r\n\r\n"
        + b"y" * 40,
        b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\nHEAD /healthz HTTP/1.1\r\nHost: h\r\n\r\n",
        fakes.invoke("", path="/", X_Amz_Target="SageMaker.ListEndpoints", X_Polyport_Client="me"),
        b"POST http://h/endpoints/single/invocations HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\n1",
    ]
    authentic = [
        signed.signed(ALICE, at=NOW, body=b'{"a": 1}', Content_Type="application/json", Accept="text/csv"),
        signed.signed(ALICE, "direct", b"1,2", at=NOW, X_Amzn_SageMaker_Target_Container_Hostname="second"),
        signed.signed(BOB, "direct", b"1", at=NOW, X_Amzn_SageMaker_Target_Container_Hostname="first"),
        signed.signed(BOB, "direct", b"1", at=NOW, X_Amzn_SageMaker_Target_Container_Hostname="second"),
        signed.signed(ALICE, at=NOW, body=b"", presigned=True),
        signed.signed(ALICE, "serial", b"z" * 60, at=NOW) + signed.signed(BOB, at=NOW),
        signed.signed(ALICE, at=NOW, path=f"/endpoints/{people.arn('single')}/invocations"),
    ]
    # Another body than the one that was signed, and another target: refused.
    tampered = [
        signed.signed(ALICE, at=NOW, body=b'{"a": 1}', sent=b'{"a": 2}'),
        signed.signed(ALICE, at=NOW, body=b"1").replace(b"/single/", b"/serial/"),
    ]
    made = [pack(one, OPEN, way, small, 7, 1, 40) for one in plain for way in range(3) for small in range(2)]
    for one in (*authentic, *tampered):
        made += [
            pack(one, mode, way, small, 30, 3) for mode in (KEYED, SIGNED) for way, small in ((0, 0), (1, 0), (2, 1))
        ]
    return made


TOKENS = (
    *(
        b"\r\n",
        b"\r\n\r\n",
        b"\n",
        b"\r",
        b"\0",
        b"\x7f",
        b": ",
        b" ",
        b"\t",
        b"%2f",
        b"%2e%2e",
        b"/../",
        b"//",
        b"?",
        b"&",
    ),
    *(b"#", b"%00", b"\xff", b"0\r\n\r\n", b"ffffffffffffffff", b"18446744073709551615", b"HTTP/1.0", b"HTTP/1.1"),
    *(b"HTTP/1.2", b"POST ", b"GET ", b"HEAD ", b"CONNECT ", b"Content-Length: ", b"Transfer-Encoding: chunked\r\n"),
    *(b"Connection: close\r\n", b"Connection: upgrade\r\nUpgrade: x\r\n", b"Expect: 100-continue\r\n", b"Host: h\r\n"),
    *(b"Authorization: ", b"AWS4-HMAC-SHA256 ", b"Credential=", b"SignedHeaders=", b"Signature=", b"host;x-amz-date"),
    *(
        b"X-Amz-Date: ",
        b"X-Amz-Content-SHA256: ",
        b"UNSIGNED-PAYLOAD",
        b"X-Amz-Signature=",
        b"X-Amz-Expires=",
        b"Origin: ",
    ),
    *(
        b"X-Amzn-SageMaker-",
        b"Target-Variant: ",
        b"Session-Id: ",
        b"Custom-Attributes: ",
        b"Target-Container-Hostname: ",
    ),
    *(b"/endpoints/", b"/invocations", b"-response-stream", b"single", b"direct", b"serial", b"X-Polyport-Client: "),
)
TARGET = Target("request", check, _seeds, TOKENS)
