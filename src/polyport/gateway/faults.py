"""The errors that a gateway answers with: codes, texts and shape of SageMaker's runtime (rest-json).

Where SageMaker's own words are not known, the text says what is wrong and what would be right. The runtime's SDKs take
the code from the ``x-amzn-ErrorType`` header alone.
"""

import codecs
import http

import msgspec

from polyport.domain import names
from polyport.errors import ApiError

#: Characters of a container's answer that an error repeats.
MAX_ORIGINAL = 2048

STATUS_LINES = {
    status.value: b"HTTP/1.1 %d %b\r\n" % (status.value, status.phrase.encode()) for status in http.HTTPStatus
}
CONSOLES = {"aws-cn": "console.amazonaws.cn", "aws-us-gov": "console.amazonaws-us-gov.com"}


#: The code of what is wrong with a container.
MODEL_ERROR = "ModelError"


def status_line(status: int) -> bytes:
    """``HTTP/1.1 200 OK`` and the line end; a status that nobody has named gets no phrase."""
    return STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status


def render(error: ApiError, request_id: bytes, date: bytes, lines: bytes, *, bodyless: bool = False) -> bytes:
    """The whole answer that tells of ``error``. ``date`` and ``lines`` are header lines (or empty)."""
    body = msgspec.json.encode({**error.members, "Message": error.message})
    return b"".join(
        (
            status_line(error.status),
            b"x-amzn-RequestId: %b\r\nx-amzn-ErrorType: %b\r\n" % (request_id, error.code.encode()),
            date,
            lines,
            b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body),
            b"" if bodyless else body,
        )
    )


# --- what is wrong with the request


def malformed(reason: str) -> ApiError:
    """What was received is not HTTP as it must be."""
    return ApiError("MalformedHttpRequestException", f"The HTTP request is malformed: {reason}.", 400)


def too_slow() -> ApiError:
    """The client began a request and did not go on."""
    return ApiError("RequestTimeoutException", "The request did not arrive in time.", 408)


def too_large(limit: int) -> ApiError:
    """The request body exceeds the limit (bytes)."""
    text = f"HTTP content length exceeded {limit} bytes. The setting max_body_bytes is the limit."
    return ApiError("RequestEntityTooLargeException", text, 413)


def invalid(message: str, code: str | None = None) -> ApiError:
    """A ``ValidationError``; ``code`` is the body's ``ErrorCode``."""
    return ApiError("ValidationError", message, 400, **({"ErrorCode": code} if code else {}))


def no_operation(method: bytes, path: bytes) -> ApiError:
    """The path begins like the runtime's, but is none of its operations."""
    what = f"{method.decode('ascii')} {path.decode('latin-1')[:200]}"
    text = (
        f"{what} is no operation of SageMaker's runtime. Polyport serves POST /endpoints/NAME/invocations "
        "and POST /endpoints/NAME/invocations-response-stream."
    )
    return ApiError("UnknownOperationException", text, 404)


def no_async() -> ApiError:
    """InvokeEndpointAsync."""
    text = "Polyport does not serve InvokeEndpointAsync. Use InvokeEndpoint or InvokeEndpointWithResponseStream."
    return invalid(text, "OPERATION_NOT_SUPPORTED")


def no_endpoint(name: str, account: str) -> ApiError:
    """No endpoint of that name."""
    return invalid(f"Endpoint {name} of account {account} not found.", "ENDPOINT_NOT_FOUND")


def not_in_service(name: str, account: str, status: str) -> ApiError:
    """The endpoint exists and cannot be invoked."""
    text = f"Endpoint {name} of account {account} cannot be invoked: its status is {status}, not InService."
    return invalid(text, "ENDPOINT_NOT_IN_SERVICE")


def no_variant(name: str, wanted: str, known: list[str]) -> ApiError:
    """``TargetVariant`` names nothing."""
    text = f"Endpoint {name} has no production variant {wanted}. It has: {', '.join(known)}."
    return invalid(text, "TARGET_VARIANT_NOT_FOUND")


def target_missing(name: str, known: list[str]) -> ApiError:
    """A direct endpoint, and no word which container."""
    text = (
        f"Endpoint {name} hosts several containers that are invoked directly: the target container hostname header "
        f"(TargetContainerHostname) is required. Its containers: {', '.join(known)}."
    )
    return invalid(text, "TARGET_CONTAINER_HOSTNAME_MISSING")


def target_unknown(name: str, wanted: str, known: list[str]) -> ApiError:
    """A direct endpoint without that container."""
    text = f"Endpoint {name} has no container with hostname {wanted}. Its containers: {', '.join(known)}."
    return invalid(text, "TARGET_CONTAINER_HOSTNAME_NOT_FOUND")


def target_not_supported(name: str, mode: str) -> ApiError:
    """A serial or single endpoint, and a container named."""
    why = "its containers are invoked in sequence" if mode == "Serial" else "it has a single container"
    text = (
        f"Endpoint {name} is not a multi-container endpoint with direct invocation ({why}) "
        "and does not support target container hostname header."
    )
    return invalid(text, "TARGET_CONTAINER_HOSTNAME_HEADER_NOT_SUPPORTED")


def no_session(name: str, session: str) -> ApiError:
    """The instance that has the session is not in the table."""
    text = (
        f"Session {session} of endpoint {name} is gone: the instance that held it is out of service. "
        "Open a new one with SessionId NEW_SESSION."
    )
    return invalid(text, "SESSION_NOT_FOUND")


def model_not_supported(name: str) -> ApiError:
    """``TargetModel``: there are no multi-model endpoints."""
    text = f"Endpoint {name} is not a multi-model endpoint and does not support target model header."
    return invalid(text, "TARGET_MODEL_HEADER_NOT_SUPPORTED")


def component_not_allowed() -> ApiError:
    """``InferenceComponentName``: there are no inference components."""
    text = (
        "Inference Component Name header is not allowed for endpoints to which you dont plan to deploy inference "
        "components. Please remove the Inference Component Name header and try again."
    )
    return invalid(text, "INFERENCE_COMPONENT_NAME_NOT_ALLOWED")


# --- what is wrong on our side


def internal() -> ApiError:
    """A mistake of ours; the log has it."""
    return ApiError("InternalFailure", "Polyport failed; its log tells more of this request.", 500)


def no_capacity(name: str, variant: str) -> ApiError:
    """No healthy instance."""
    where = f"variant {variant} of endpoint {name}" if variant else f"endpoint {name}"
    return ApiError("ServiceUnavailable", f"No instance of {where} is healthy now. Try again.", 503)


def too_many_connections() -> ApiError:
    """A worker has as many clients as it may have."""
    text = "Polyport has as many connections as it takes (the setting max_connections is the limit). Try again."
    return ApiError("ServiceUnavailable", text, 503)


def starved() -> ApiError:
    """No file is left for a connection to the container."""
    text = "Polyport has too many open files to reach the container (raise the limit, `ulimit -n`). Try again."
    return ApiError("ServiceUnavailable", text, 503)


def no_control(reason: str) -> ApiError:
    """The control plane cannot be reached."""
    text = f"Polyport's control plane cannot be reached ({reason}). Endpoints go on serving. Try again."
    return ApiError("ServiceUnavailable", text, 503, __type="ServiceUnavailable")


def no_control_answer(reason: str) -> ApiError:
    """The control plane broke off; whether it did what was asked is not known."""
    text = f"Polyport's control plane did not answer ({reason}). Whether it did what was asked is not known."
    return ApiError("InternalFailure", text, 502, __type="InternalFailure")


def throttled(place: "Place") -> ApiError:
    """The container has as many calls as it may have, and so has the line before it. SDKs try again."""
    text = (
        f"Container {place.container} of endpoint {place.endpoint} is given no more invocations now "
        "(the settings max_concurrent_invocations, queue_size and queue_timeout are the limits). Try again."
    )
    return ApiError("ThrottlingException", text, 400)


# --- what is wrong with the container


class Place(msgspec.Struct, frozen=True):
    """Where a model's error happened, as its texts name it. ``container`` is ``primary`` when it is the only one."""

    account: str
    region: str
    endpoint: str
    container: str


def model_error(place: Place, status: int, body: bytes, *, is_whole: bool, is_cut: bool = False) -> ApiError:
    """The container answered with a status that is no success. ``is_whole``: the body came to its end, or far enough
    (``is_cut``) to be shown."""
    text = _text(body, is_cut) if is_whole else None
    kind = "client" if 400 <= status < 500 else "server"
    code = "CLIENT_ERROR_FROM_MODEL" if kind == "client" else "INTERNAL_FAILURE_FROM_MODEL"
    said = " and could not load the entire response body" if text is None else f' with message "{text}"'
    return _model_error(place, f"Received {kind} error ({status}) from {place.container}{said}", code, status, text)


def timed_out(place: Place) -> ApiError:
    """The call's time was over before the container answered."""
    return _silence(
        place,
        f"Your invocation timed out while waiting for a response from container {place.container}. Review the latency "
        "metrics for each container in Amazon CloudWatch, resolve the issue, and try again.",
    )


def no_answer(place: Place) -> ApiError:
    """The container refused or broke the connection, or answered what is not HTTP."""
    return _silence(
        place,
        f"Amazon SageMaker could not get a response from the {place.endpoint} endpoint. This can occur when CPU or "
        "memory utilization is high. To check your utilization, see Amazon CloudWatch. To fix this problem, use an "
        "instance type with more CPU capacity or memory.",
    )


def too_much_between(place: Place, following: str, size: int, limit: int) -> ApiError:
    """A stage of a pipeline answered more (bytes) than the next may be given."""
    text = (
        f"Received response from {place.container} with status code 200. However, the request payload from "
        f"{place.container} to {following} is {size} bytes, which has exceeded the maximum limit of {limit} bytes"
    )
    return _model_error(place, text, "INTERNAL_FAILURE_FROM_MODEL", 200, None)


def _silence(place: Place, text: str) -> ApiError:
    message = f'Received server error (0) from {place.container} with message "{text}"'
    return _model_error(place, message, "INTERNAL_FAILURE_FROM_MODEL", 0, text)


def _model_error(place: Place, message: str, code: str, status: int, original: str | None) -> ApiError:
    group = f"/aws/sagemaker/Endpoints/{place.endpoint}"
    partition = names.partition(place.region)
    console = CONSOLES.get(partition, "console.aws.amazon.com")
    see = (
        f"See https://{place.region}.{console}/cloudwatch/home?region={place.region}#logEventViewer:group={group} "
        f"in account {place.account} for more information."
    )
    return ApiError(
        MODEL_ERROR,
        f"{message}. {see}",
        424,
        ErrorCode=code,
        LogStreamArn=f"arn:{partition}:logs:{place.region}:{place.account}:log-group:{group}",
        OriginalMessage=original or "",
        OriginalStatusCode=status,
    )


def _text(body: bytes, is_cut: bool) -> str | None:
    """A container's words, as many as an error repeats; ``None`` when they are no text."""
    try:
        # What was cut may end within a character.
        return codecs.utf_8_decode(body, "strict", not is_cut)[0][:MAX_ORIGINAL]
    except UnicodeDecodeError:
        return None


# --- what goes wrong once an answer has begun


class Interruption(msgspec.Struct, frozen=True):
    """Why a stream ends early: ``ErrorCode`` and text of ``ModelStreamError``; ``{container}`` is filled in."""

    code: str
    text: str


TIME_EXCEEDED = Interruption(
    "ModelInvocationTimeExceeded",
    "Your model {container} did not complete sending the inference response in the allotted time.",
)
STREAM_BROKEN = Interruption(
    "StreamBroken", "The connection to your model {container} was closed before its response was complete."
)
