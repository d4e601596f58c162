"""The application with an unmodified botocore client in front of it, and hands to play the reconciler with."""

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import botocore.session
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.config import Config
from botocore.exceptions import ClientError
from msgspec.structs import replace

from polyport import store
from polyport.access import callers
from polyport.access.gate import Gate
from polyport.api import app
from polyport.api.context import Context
from polyport.domain.access import AccessTable
from polyport.domain.endpoints import Deployment, Endpoint, Fleet, InstanceRow, Status
from polyport.domain.instances import Image, ModelSource
from polyport.errors import ArtifactError, ImageError
from polyport.telemetry.audit import Record
from polyport.telemetry.logs.shelf import Shelf
from polyport.telemetry.metrics.keeping import Metrics

ACCOUNT, REGION = "123456789012", "us-east-1"
ARN = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}"


CREDENTIALS = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")


class FakeImage:
    def __init__(self, *warnings: str) -> None:
        self.warnings = warnings


class FakeImages:
    """Knows a few names."""

    def __init__(self) -> None:
        self.known = {"first:1": FakeImage(), "second:1": FakeImage(), "odd:1": FakeImage("no label")}

    async def check(self, name: str, /) -> FakeImage:
        if name not in self.known:
            raise ImageError(f"There is no image {name}. Known: {', '.join(self.known)}.")
        return self.known[name]


class FakeArtifacts:
    """Misses what is called ``missing``, and remembers what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[ModelSource] = []

    async def check(self, source: ModelSource, /) -> None:
        self.asked.append(source)
        if "missing" in source.url:
            raise ArtifactError(f"Model data {source.url}: it does not exist")


class FakeLive:
    """Says what a test wants."""

    def __init__(self) -> None:
        self.healthy: dict[str, int] = {}
        self.doing: dict[str, list[tuple[str, str, float]]] = {}

    def healthy_counts(self, endpoint_id: str, /) -> dict[str, int]:
        return self.healthy

    def activity(self, endpoint_id: str, /) -> dict[str, list[tuple[str, str, float]]]:
        return self.doing


class Plane:
    """A control plane on a fresh store; `answer` takes what botocore would send over a socket."""

    def __init__(self, database: Path) -> None:
        self.loop = asyncio.new_event_loop()
        self.store = store.Store(store.sqlite_url(database))
        self.images, self.artifacts, self.live = FakeImages(), FakeArtifacts(), FakeLive()
        self.metrics = Metrics(":memory:")
        self.now = 1_700_000_000.0
        self.clock: Callable[[], float] | None = None
        self.ready = (True, {"status": "ok"})
        self.gate = Gate()
        self.gate.take(AccessTable(is_open=True, account=ACCOUNT))
        self.records: list[Record] = []
        self.context = Context(
            callers.anybody(ACCOUNT, REGION),
            self.gate,
            self.store,
            self.images,
            self.artifacts,
            self.live,
            self.metrics,
            clock=self._tell_time,
            logs=Shelf(database.parent / "logs"),
        )
        self.application = app.application(self.context, self)
        self.run(self.store.open())
        self.run(self.metrics.open())

    def _tell_time(self) -> float:
        """Every look at the clock is a second later: creation times differ and have an order."""
        self.now += 1
        return self.now if self.clock is None else self.clock()

    def health(self) -> tuple[bool, dict[str, Any]]:
        return self.ready

    def note(self, record: Record) -> None:
        self.records.append(record)

    async def internals(self) -> dict[str, Any]:
        return {"polyport_ready": {(): 1.0}}

    def close(self) -> None:
        self.run(self.store.close())
        self.run(self.metrics.close())
        self.run(self.loop.shutdown_default_executor())
        self.loop.close()

    def run(self, work: Any) -> Any:
        return self.loop.run_until_complete(work)

    def answer(
        self, method: str, path: str, headers: Iterable[tuple[bytes, bytes]] = (), body: bytes | Iterable[bytes] = b""
    ) -> tuple[int, dict[str, str], bytes]:
        """One request to the application: status, headers (lower-case names), body."""
        sent: list[dict[str, Any]] = []
        chunks = [body] if isinstance(body, bytes) else list(body)
        messages = [
            {"type": "http.request", "body": chunk, "more_body": index < len(chunks) - 1}
            for index, chunk in enumerate(chunks)
        ]

        async def receive() -> dict[str, Any]:
            return messages.pop(0) if messages else {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        url = urlsplit(path)
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": url.path or "/",
            "raw_path": (url.path or "/").encode(),
            "root_path": "",
            "query_string": url.query.encode(),
            "headers": [(name.lower(), value) for name, value in headers],
        }
        self.run(self.application(scope, receive, send))
        answered = {name.decode().lower(): value.decode() for name, value in sent[0]["headers"]}
        return sent[0]["status"], answered, b"".join(message.get("body", b"") for message in sent[1:])

    def endpoint(self, name: str) -> Endpoint:
        """The row."""
        found = self.run(self.store.get_endpoint(self.context.owner, name))
        assert found is not None
        return found

    def put(self, name: str, **changes: Any) -> Endpoint:
        """Write the reconciler's part of a row."""
        endpoint = self.endpoint(name)
        return self.run(self.store.advance(endpoint, replace(endpoint.state, **changes), self._tell_time()))

    def settle(self, name: str) -> Endpoint:
        """All that is wanted is so."""
        endpoint = self.endpoint(name)
        done = replace(deployment(endpoint), started_at=self._tell_time())
        return self.put(
            name, status=Status.IN_SERVICE, settled=endpoint.generation, active=done, pending=None, failure_reason=""
        )

    def roll_back(self, name: str, reason: str = "it broke") -> Endpoint:
        """What was wanted last did not work; what was before goes on."""
        generation = self.endpoint(name).generation
        return self.put(name, status=Status.IN_SERVICE, settled=generation, pending=None, failure_reason=reason)

    def fail(self, name: str, reason: str = "it broke") -> Endpoint:
        """Nothing works."""
        return self.put(
            name,
            status=Status.FAILED,
            settled=self.endpoint(name).generation,
            active=None,
            pending=None,
            failure_reason=reason,
        )

    def remove(self, name: str) -> None:
        """The last thing the reconciler does for an endpoint."""
        self.run(self.store.remove_endpoint(self.endpoint(name)))


def deployment(endpoint: Endpoint) -> Deployment:
    """What is wanted as the fleets that make it so."""
    fleets = tuple(
        Fleet(
            variant,
            tuple(InstanceRow(f"i-{variant.name}-{n}", 5.0, variant.name) for n in range(variant.instance_count)),
            tuple(Image(spec.image, f"{spec.image}@sha256:0", 6.0) for spec in variant.containers),
        )
        for variant in endpoint.wanted.variants
    )
    return Deployment(endpoint.wanted.revision, endpoint.wanted.config_name, 7.0, fleets)


class Wire:
    """botocore's HTTP, short-circuited to the plane of the running test."""

    def __init__(self) -> None:
        self.plane: Plane | None = None
        #: What the gateway adds.
        self.headers: list[tuple[bytes, bytes]] = []
        self._session = botocore.session.Session()
        self._session.set_credentials("AKIDEXAMPLE", "secret")
        self._clients: dict[tuple[Any, ...], Any] = {}

    def client(
        self,
        service: str = "sagemaker",
        region: str = REGION,
        *,
        careless: bool = False,
        credentials: tuple[str, ...] = (),
    ) -> Any:
        """An unmodified client. ``careless``: it does not check its arguments, so that the server has to.
        ``credentials``: key id, secret and perhaps a session token."""
        key = (service, region, careless, credentials)
        if key not in self._clients:
            config = Config(parameter_validation=not careless, retries={"total_max_attempts": 1})
            given = dict(zip(CREDENTIALS, credentials, strict=False))
            client = self._session.create_client(
                service, region, endpoint_url="http://127.0.0.1:1", config=config, **given
            )
            client.meta.events.register("before-send", self._send)
            self._clients[key] = client
        return self._clients[key]

    def _send(self, request: AWSPreparedRequest, **_: Any) -> AWSResponse:
        assert self.plane is not None
        url = urlsplit(request.url)
        body = request.body or b""
        headers = [
            (name.encode(), value if isinstance(value, bytes) else str(value).encode())
            for name, value in request.headers.items()
        ]
        headers += [(b"Host", url.netloc.encode()), *self.headers]
        status, answered, content = self.plane.answer(
            request.method,
            f"{url.path}?{url.query}",
            headers,
            body if isinstance(body, bytes) else body.encode() if isinstance(body, str) else body.read(),
        )
        response = AWSResponse(request.url, status, answered, raw=None)
        response._content = content
        return response


def refusal(call: Any, /, code: str = "ValidationException", status: int = 400, **arguments: Any) -> str:
    """The message that a call is refused with."""
    try:
        call(**arguments)
    except ClientError as error:
        answer = error.response
        assert answer["Error"]["Code"] == code, answer
        assert answer["ResponseMetadata"]["HTTPStatusCode"] == status
        assert answer["ResponseMetadata"]["RequestId"]
        return str(answer["Error"]["Message"])
    raise AssertionError("the call was not refused")


def variant(name: str = "AllTraffic", model: str = "one", **members: Any) -> dict[str, Any]:
    """A production variant with what it needs."""
    usual = {"VariantName": name, "ModelName": model, "InitialInstanceCount": 1, "InstanceType": "ml.m5.xlarge"}
    return usual | members
