"""The ASGI application: AWS calls for any service, `/healthz`, and a word for whoever comes with a browser."""

import asyncio
import contextlib
import dataclasses
import logging
import time
import uuid
from collections.abc import AsyncGenerator, Mapping
from typing import Any, Protocol

import msgspec
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response as HttpResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from polyport.access.callers import Caller
from polyport.api import audit, entry, operations, permissions
from polyport.api.context import Context
from polyport.api.permissions import Need
from polyport.aws import dispatch, faults, protocols, render, service, validate, wire
from polyport.aws.wire import MAX_BODY, Head, Response
from polyport.errors import ApiError, DiskFull, StoreError
from polyport.telemetry.audit import Record
from polyport.telemetry.metrics import families, prometheus
from polyport.telemetry.metrics.families import Samples

#: How headers begin that the gateway adds.
OURS = b"x-polyport-"
log = logging.getLogger(__name__)

#: How a look at ``GET /metrics`` is signed and refused.
SCRAPE = dispatch.Call("monitoring", "rest-json", "", "GET /metrics")

HELP = """Polyport speaks the API of Amazon SageMaker's hosting. Point an AWS client at this address:

    export AWS_ENDPOINT_URL={url}

and use boto3 or the AWS CLI as with SageMaker: `aws sagemaker list-endpoints`.
GET /healthz tells whether everything is ready.
"""


class Parts(Protocol):
    """What the application is made of besides its `Context`."""

    def health(self) -> tuple[bool, dict[str, Any]]:
        """Whether everything is ready, and what ``GET /healthz`` says of it."""

    def note(self, record: Record) -> None:
        """For the audit log."""

    async def internals(self) -> Mapping[str, Samples]:
        """What ``GET /metrics`` has besides calls, by family. Raises `StoreError`."""


def now() -> float:
    """Epoch seconds to the millisecond, as answers show them: what a caller filters by is what is stored."""
    return round(time.time(), 3)


def application(context: Context, parts: Parts) -> Starlette:
    """Opens nothing; the context's store must be open before the first call. The context's caller is nobody: what
    counts of it is the region, for calls that name none on a server without keys."""
    # Parsing a service model takes some tens of milliseconds: not in the first call.
    for name in operations.OPERATIONS:
        service.load(name)
    front = _Front(context, parts)
    return Starlette(
        routes=[
            Route("/healthz", front.healthz, methods=["GET"]),
            Route("/metrics", front.metrics, methods=["GET"]),
            Route("/{path:path}", front),
        ]
    )


class _Front:
    """Everything but routing."""

    def __init__(self, context: Context, parts: Parts) -> None:
        self._context = context
        self._parts = parts

    async def healthz(self, _: Request) -> HttpResponse:
        ready, facts = self._parts.health()
        headers = {render.REQUEST_ID.decode(): str(uuid.uuid4())}
        body = msgspec.json.encode(facts)
        return HttpResponse(body, 200 if ready else 503, headers, media_type="application/json")

    async def metrics(self, request: Request) -> HttpResponse:
        """For Prometheus."""
        head = _head(request.scope)
        request_id = head.headers.get(entry.REQUEST_ID) or str(uuid.uuid4())
        try:
            if not self._context.metrics_open:
                await self._admit(_entry(request.scope, head, b""))
        except ApiError as error:
            answer = faults.render_fault(error, SCRAPE, request_id)
            headers = {name.decode(): value.decode() for name, value in answer.headers}
            return HttpResponse(answer.body, answer.status, headers)
        metrics = self._context.metrics
        try:
            internals = await self._parts.internals()
        except StoreError as error:
            log.warning("/metrics lacks what is in the database: %s", error)
            internals = {}
        busy: Samples = dict(metrics.in_flight(time.time()).items())
        text = prometheus.render(
            {**families.of_calls(metrics.totals), "polyport_invocations_in_flight": busy, **internals}
        )
        return HttpResponse(text, 200, {render.REQUEST_ID.decode(): request_id}, media_type=prometheus.CONTENT_TYPE)

    async def _admit(self, entered: entry.Entry) -> None:
        """Raises `ApiError` for whom may not read metrics."""
        context, now = self._context, time.time()
        caller = entry.identify(context.gate, entered, SCRAPE, now, context.owner.region)
        needs = permissions.needed(SCRAPE.service, "GetMetricData", caller.owner, {})
        try:
            await entry.authorize(context.gate, context.store, caller, needs, entered.circumstances(now))
        except entry.Denied as denied:
            raise denied.denial from denied

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        head = _head(scope)
        request_id = head.headers.get(entry.REQUEST_ID) or str(uuid.uuid4())
        if _is_visitor(head):
            answer = _help(head, request_id)
        else:
            try:
                body = await _read(request)
            except ClientDisconnect:
                return
            answer = await _Exchange(self._context, self._parts, _entry(scope, head, body), request_id).answer()
        if answer.stream is not None:
            await _send_stream(answer, answer.stream, receive, send)
        else:
            await _send(answer, send, bodyless=head.method == "HEAD")


class _Exchange:
    """One call, from its request to its answer and its line in the audit log."""

    def __init__(self, context: Context, parts: Parts, entered: entry.Entry, request_id: str) -> None:
        self._context = context
        self._parts = parts
        self._entry = entered
        self._body = wire.unpacked(entered.head, entered.body)
        self._call = dispatch.identify(entered.head, self._body or b"")
        self._request_id = request_id
        # What the audit log is told, as far as it is known
        self._caller: Caller | None = None
        self._request: dict[str, Any] = {}
        self._needs: tuple[Need, ...] = ()
        self._explanation = ""

    async def answer(self) -> Response:
        """Never raises."""
        try:
            answer, error = await self._serve(), None
        except Exception as raised:  # noqa: BLE001  whatever it is, the caller is answered
            error = self._translate(raised)
            answer = faults.render_fault(error, self._call, self._request_id)
        record = audit.describe(
            self._entry,
            self._call,
            self._request_id,
            caller=self._caller,
            request=self._request,
            needs=self._needs,
            error=error,
            explanation=self._explanation,
        )
        self._parts.note(record)
        return answer

    def _translate(self, raised: Exception) -> ApiError:
        if isinstance(raised, entry.Denied):
            self._explanation = raised.explanation
            return raised.denial
        if isinstance(raised, ApiError):
            return raised
        if isinstance(raised, StoreError):
            log.error("request %s: %s", self._request_id, raised)
            text = f"The database cannot be used; see the log of {self._request_id}."
            if isinstance(raised, DiskFull):
                text = "The disk that holds Polyport's home is full. Nothing was changed; try again when there is room."
            return ApiError("ServiceUnavailable", text, 503)
        log.error("request %s (%s) failed", self._request_id, self._call.subject, exc_info=raised)
        return faults.internal_failure(self._request_id)

    async def _serve(self) -> Response:
        call, context = self._call, self._context
        if self._entry.is_too_long:
            raise ApiError("RequestEntityTooLargeException", f"A request may have at most {MAX_BODY} bytes.", 413)
        if not operations.is_served(call):
            # What it says is no secret, and helps a client that was pointed here by mistake.
            raise dispatch.refusal(call, operations.OPERATIONS)
        now = time.time()
        self._caller = caller = entry.identify(context.gate, self._entry, call, now, context.owner.region)
        if self._body is None:
            raise ApiError("SerializationException", f"The body is no gzip of {MAX_BODY} bytes at most.")
        found, protocol = operations.find(call), protocols.of(call, self._entry.head)
        if found is None or protocol is None:
            raise dispatch.refusal(call, operations.OPERATIONS)
        function, operation = found
        self._request = request = protocol.parse(operation, self._entry.head, self._body)
        self._needs = permissions.needed(call.service, call.operation, caller.owner, request)
        circumstances = self._entry.circumstances(now)
        self._explanation = await entry.authorize(context.gate, context.store, caller, self._needs, circumstances)
        validate.validate(operation, request)
        own = dataclasses.replace(context, caller=caller, circumstances=circumstances)
        answer = await function(own, request)
        return protocol.render(operation, answer, self._request_id, call)


def _entry(scope: Scope, head: Head, body: bytes | None) -> entry.Entry:
    path = scope.get("raw_path") or scope["path"].encode()
    query = scope["query_string"]
    return entry.Entry(
        head=head,
        target=path + b"?" + query if query else path,
        headers=[(name, value) for name, value in scope["headers"] if not name.startswith(OURS)],
        body=body or b"",
        is_too_long=body is None,
    )


def _head(scope: Scope) -> Head:
    path = scope.get("raw_path") or scope["path"].encode()
    return wire.head_of(
        scope["method"], path.decode("latin-1"), scope["query_string"].decode("latin-1"), scope["headers"]
    )


async def _read(request: Request) -> bytes | None:
    """The body, ``None`` when it is longer than `MAX_BODY`."""
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > MAX_BODY:
            return None
        chunks.append(chunk)
    return b"".join(chunks)


def _is_visitor(head: Head) -> bool:
    """Someone with a browser or with curl, no AWS client."""
    if head.method not in {"GET", "HEAD"} or head.path != "/":
        return False
    is_signed = "authorization" in head.headers or "X-Amz-" in head.query
    return not is_signed and "x-amz-target" not in head.headers and not dispatch.identify(head).operation


def _help(head: Head, request_id: str) -> Response:
    url = f"http://{head.headers.get('host', '127.0.0.1:7070')}"
    headers = ((b"Content-Type", b"text/plain; charset=utf-8"), (render.REQUEST_ID, request_id.encode()))
    return Response(200, headers, HELP.format(url=url).encode())


async def _send_stream(answer: Response, stream: AsyncGenerator[bytes, None], receive: Receive, send: Send) -> None:
    """Bit by bit, for as long as the client listens."""

    async def tell() -> None:
        await send({"type": "http.response.start", "status": answer.status, "headers": list(answer.headers)})
        await send({"type": "http.response.body", "body": answer.body, "more_body": True})
        async with contextlib.aclosing(stream):
            async for part in stream:
                await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async def listen() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    telling, listening = asyncio.create_task(tell()), asyncio.create_task(listen())
    await asyncio.wait([telling, listening], return_when=asyncio.FIRST_COMPLETED)
    for task in (telling, listening):
        task.cancel()
    ended = await asyncio.gather(telling, listening, return_exceptions=True)
    for error in ended:
        if isinstance(error, Exception):
            log.error("a stream of events broke off", exc_info=error)


async def _send(answer: Response, send: Send, *, bodyless: bool) -> None:
    headers = [*answer.headers, (b"Content-Length", str(len(answer.body)).encode())]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if bodyless else answer.body})
