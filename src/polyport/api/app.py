"""The ASGI application: AWS calls for any service, `/healthz`, and a word for whoever comes with a browser."""

import dataclasses
import logging
import time
import uuid
from collections.abc import Callable
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response as HttpResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from polyport.api.context import Artifacts, Context, Images, Live
from polyport.api.operations import OPERATIONS, Operation
from polyport.aws import dispatch, faults, parse, render, service, validate, wire
from polyport.aws.dispatch import Call
from polyport.aws.wire import Head, Response
from polyport.domain.names import Owner
from polyport.errors import ApiError, StoreError
from polyport.settings import Settings
from polyport.store import Store

log = logging.getLogger(__name__)

#: The largest control-plane request, in bytes. SageMaker's largest, a model of 15 containers, takes a tenth of it.
MAX_BODY = 1024 * 1024

Health = Callable[[], tuple[bool, dict[str, Any]]]
"""Whether everything is ready, and what ``GET /healthz`` says of it."""

HELP = """Polyport speaks the API of Amazon SageMaker's hosting. Point an AWS client at this address:

    export AWS_ENDPOINT_URL={url}

and use boto3 or the AWS CLI as with SageMaker: `aws sagemaker list-endpoints`.
GET /healthz tells whether everything is ready.
"""


def create(
    settings: Settings,
    store: Store,
    images: Images,
    artifacts: Artifacts,
    live: Live,
    health: Health,
    why_no_network_isolation: Callable[[], str] = lambda: "",
) -> Starlette:
    """The application on its parts. Opens nothing; ``store`` must be open before the first call.

    ``why_no_network_isolation`` is empty when models may ask for it, else what they are told.
    """
    owner = Owner(settings.account_id, settings.region)
    return application(Context(owner, store, images, artifacts, live, now, why_no_network_isolation), health)


def now() -> float:
    """Epoch seconds to the millisecond, as answers show them: what a caller filters by is what is stored."""
    return round(time.time(), 3)


def application(context: Context, health: Health) -> Starlette:
    """``context.owner`` owns what unsigned calls are about; a signed call names its own region."""
    # Parsing the service model takes some tens of milliseconds: not in the first call.
    service.load(dispatch.CONTROL_PLANE)
    front = _Front(context, health)
    return Starlette(routes=[Route("/healthz", front.healthz, methods=["GET"]), Route("/{path:path}", front)])


class _Front:
    """Everything but routing."""

    def __init__(self, context: Context, health: Health) -> None:
        self._context = context
        self._health = health

    async def healthz(self, _: Request) -> HttpResponse:
        ready, facts = self._health()
        headers = {render.REQUEST_ID.decode(): str(uuid.uuid4())}
        body = msgspec.json.encode(facts)
        return HttpResponse(body, 200 if ready else 503, headers, media_type="application/json")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        head = _head(scope)
        request_id = str(uuid.uuid4())
        if _is_visitor(head):
            answer = _help(head, request_id)
        else:
            try:
                body = await _read(request)
            except ClientDisconnect:
                return
            answer = await self._answer(head, body, request_id)
        await _send(answer, send, bodyless=head.method == "HEAD")

    async def _answer(self, head: Head, body: bytes | None, request_id: str) -> Response:
        """Never raises. ``body`` is ``None`` when it was too long to be read."""
        call = dispatch.identify(head, body or b"")
        try:
            if body is None:
                raise ApiError("RequestEntityTooLargeException", f"A request may have at most {MAX_BODY} bytes.", 413)
            return await self._call(head, call, body, request_id)
        except ApiError as error:
            return faults.render_fault(error, call, request_id)
        except StoreError as error:
            log.error("request %s: %s", request_id, error)
            unavailable = ApiError(
                "ServiceUnavailable", f"The database cannot be used; see the log of {request_id}.", 503
            )
            return faults.render_fault(unavailable, call, request_id)
        except Exception:
            log.exception("request %s (%s) failed", request_id, call.subject)
            return faults.render_fault(faults.internal_failure(request_id), call, request_id)

    async def _call(self, head: Head, call: Call, body: bytes, request_id: str) -> Response:
        default = self._context.owner
        owner = dispatch.owner_of(head, default.account, default.region)
        function: Operation | None = OPERATIONS.get(call.operation) if call.is_control_plane else None
        operation = service.load(dispatch.CONTROL_PLANE).operation(call.operation)
        if function is None or operation is None or head.method != "POST":
            raise dispatch.refusal(call, OPERATIONS)
        request = parse.parse_json(operation, body)
        validate.validate(operation, request)
        answer = await function(dataclasses.replace(self._context, owner=owner), request)
        return render.render_json(operation, answer, request_id, call.json_version)


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
    is_aws = "authorization" in head.headers or "x-amz-target" in head.headers or "X-Amz-" in head.query
    return head.method in {"GET", "HEAD"} and head.path == "/" and not is_aws


def _help(head: Head, request_id: str) -> Response:
    url = f"http://{head.headers.get('host', '127.0.0.1:7070')}"
    headers = ((b"Content-Type", b"text/plain; charset=utf-8"), (render.REQUEST_ID, request_id.encode()))
    return Response(200, headers, HELP.format(url=url).encode())


async def _send(answer: Response, send: Send, *, bodyless: bool) -> None:
    headers = [*answer.headers, (b"Content-Length", str(len(answer.body)).encode())]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if bodyless else answer.body})
