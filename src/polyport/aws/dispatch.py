"""From a request's head: whose call it is, and which operation of which AWS service, whatever service that may be."""

import re
from collections.abc import Collection, Iterator, Mapping

import msgspec

from polyport.aws import claims, service
from polyport.aws.claims import Credential
from polyport.aws.service import Service
from polyport.aws.wire import Head
from polyport.domain.names import Owner
from polyport.errors import ApiError

CONTROL_PLANE = "sagemaker"
#: The services whose calls Polyport tells without a signature too: signing name and botocore's client name. A table, so
#: that no model has to be read to find one; a test compares it with the models.
KNOWN = {CONTROL_PLANE: "sagemaker", "sts": "sts", "monitoring": "cloudwatch", "logs": "logs"}
_TARGET = re.compile(r"([A-Za-z0-9_.]{1,128})\.([A-Za-z0-9_]{1,128})")
_ACTION = re.compile(r"(?:^|&)Action=([A-Za-z0-9]{1,128})(?:&|$)")
_VERSION = re.compile(r"(?:^|&)Version=([0-9-]{1,32})(?:&|$)")
_CBOR_PATH = re.compile(r"/service/([A-Za-z0-9_.]{1,128})/operation/([A-Za-z0-9_]{1,128})")
#: Signing names of the services that speak rest-xml, and of the one that speaks ec2; a test compares with the models.
S3 = frozenset({"s3", "s3express"})
REST_XML = S3 | {"cloudfront", "route53"}
EC2 = frozenset({"ec2"})
_FORM = "application/x-www-form-urlencoded"


class Call(msgspec.Struct, frozen=True):
    """What a request asks for.

    ``service`` is the signing name (``sagemaker`` for our control plane) or what else the request tells of it, ``""``
    when nothing does; `known_service` leads from it to the model. ``protocol`` is botocore's name for it.
    ``operation`` is ``""`` where only a model could tell (the REST protocols); ``subject`` names the call for people
    all the same: ``GET /bucket``.
    """

    service: str
    protocol: str
    operation: str
    subject: str
    region: str = ""
    json_version: str = "1.1"


def owner_of(head: Head, account: str, region: str) -> Owner:
    """Whose resources a call is about: the region it is signed for, else the default ``region``.

    Raises `ApiError` ``IncompleteSignatureException`` when the credential is malformed.
    """
    credential = _credential(head)
    return Owner(account, credential.region if credential else region)


def identify(head: Head, body: bytes = b"") -> Call:
    """Which operation of which service a request asks for. Never raises: an error needs a protocol to be told in."""
    scope = _scope(head)
    signed_for, region = (scope.service, scope.region) if scope else ("", "")
    if head.headers.get("smithy-protocol") == "rpc-v2-cbor":
        return _cbor_call(head, signed_for, region)
    if "x-amz-target" in head.headers or "x-amz-json" in head.headers.get("content-type", ""):
        return _json_call(head, signed_for, region)
    is_form = head.headers.get("content-type", "").startswith(_FORM)
    form = body.decode("latin-1") if is_form else ""
    action = _found(_ACTION, form, head.query)
    if action or (is_form and _speaks_query(signed_for)):
        return _query_call(signed_for, action, _found(_VERSION, form, head.query), region)
    protocol = "rest-xml" if signed_for in REST_XML else "rest-json"
    return Call(signed_for, protocol, "", f"{head.method} {head.path}"[:128], region)


def _credential(head: Head) -> Credential | None:
    authorization = head.headers.get("authorization", "").encode("latin-1", "replace")
    return claims.credential_of(authorization, head.query.encode("latin-1", "replace"))


def _scope(head: Head) -> Credential | None:
    try:
        return _credential(head)
    except ApiError:
        return None


def _json_call(head: Head, signed_for: str, region: str) -> Call:
    match = _TARGET.fullmatch(head.headers.get("x-amz-target", ""))
    prefix, operation = (match[1], match[2]) if match else ("", "")
    subject = operation or "a call without an operation in X-Amz-Target"
    version = "1.0" if "json-1.0" in head.headers.get("content-type", "") else "1.1"
    name = _targeted(prefix, signed_for) or prefix.partition("_")[0].lower()
    return Call(name, "json", operation, subject, region, version)


def _targeted(prefix: str, signed_for: str) -> str:
    """The service of a target, which every JSON and CBOR call names; else of the signature.

    A known service has no other target than its own: what is signed for it all the same is nobody's.
    """
    if prefix == service.load(CONTROL_PLANE).target_prefix:  # nearly every call: spares the others' models
        return CONTROL_PLANE
    for known in _known():
        if prefix and known.target_prefix == prefix:
            return known.signing_name
    return "" if known_service(signed_for) else signed_for


def _cbor_call(head: Head, signed_for: str, region: str) -> Call:
    match = _CBOR_PATH.search(head.path)
    prefix, operation = (match[1], match[2]) if match else ("", "")
    subject = operation or head.path[:128]
    name = _targeted(prefix, signed_for) or prefix.lower()
    return Call(name, "smithy-rpc-v2-cbor", operation, subject, region)


def _query_call(signed_for: str, action: str, version: str, region: str) -> Call:
    protocol = "ec2" if signed_for in EC2 else "query"
    subject = action or "a call without an operation in Action"
    return Call(signed_for or _versioned(action, version), protocol, action, subject, region)


def _versioned(action: str, version: str) -> str:
    """The signing name of the known service of that API version, or, without a version, of that operation."""
    for known in _known():
        is_it = version == known.api_version if version else known.operation(action) is not None
        if "query" in known.protocols and is_it:
            return known.signing_name
    return ""


def _found(parameter: re.Pattern[str], form: str, query: str) -> str:
    """A parameter of the query protocol: in a form, or in the query string."""
    match = parameter.search(form) or parameter.search(query)
    return match[1] if match else ""


def _speaks_query(signed_for: str) -> bool:
    known = known_service(signed_for)
    return known is not None and "query" in known.protocols


def known_service(signing_name: str) -> Service | None:
    """The model of a `KNOWN` service by its signing name (`Call.service`); ``None`` for every other."""
    return service.load(KNOWN[signing_name]) if signing_name in KNOWN else None


def _known() -> Iterator[Service]:
    """One by one: a model is read when the ones before it were not meant."""
    return (service.load(name) for name in KNOWN.values())


#: What each protocol's services answer to an operation that they do not have: code and status.
_REFUSALS = {
    "json": ("UnknownOperationException", 400),
    "smithy-rpc-v2-cbor": ("UnknownOperationException", 400),
    "query": ("InvalidAction", 400),
    "ec2": ("InvalidAction", 400),
    "rest-json": ("UnknownOperationException", 404),
    "rest-xml": ("NotImplemented", 501),
}


def refusal(call: Call, served: Mapping[str, Collection[str]]) -> ApiError:
    """The error for a call that Polyport does not serve; ``served`` are the operations by client name.

    It says what is served and, for other services, which variable sends their calls where they belong:
    ``AWS_ENDPOINT_URL`` points all of a client's services here.
    """
    code, status = _REFUSALS[call.protocol]
    if call.protocol == "query" and not call.operation:
        code = "MissingAction"
    runtime = "InvokeEndpoint and InvokeEndpointWithResponseStream of SageMaker Runtime"
    operations = [f"{', '.join(names)} of {service.load(name).service_id}" for name, names in served.items() if names]
    listed = f"{'; '.join(operations)}, and {runtime}"
    if call.service == CONTROL_PLANE:
        return ApiError(code, f"Polyport does not serve {call.subject}. It serves {listed}.", status)
    known = _service_name(call.service)
    of = f" of {known or call.service}" if call.service else ""
    return ApiError(
        code, f"Polyport does not serve {call.subject}{of}. It serves {listed}. {_advice(call, known)}", status
    )


def _service_name(signing_name: str) -> str:
    """The service id, which SDKs make their variables of; ``""`` when the signing name does not lead to it."""
    known = known_service(signing_name)
    if known is not None:
        return known.service_id
    return "S3" if signing_name in S3 else service.service_id(signing_name)


def _advice(call: Call, known: str) -> str:
    variable = f"AWS_ENDPOINT_URL_{known.upper().replace(' ', '_')}" if known else "its own AWS_ENDPOINT_URL_ variable"
    where = f" (AWS's own is https://s3.{call.region or 'us-east-1'}.amazonaws.com)" if known == "S3" else ""
    s3 = "" if known else " (for S3: AWS_ENDPOINT_URL_S3)"
    return (
        "AWS_ENDPOINT_URL sends the calls of every service to Polyport: "
        f"set {variable}{s3} to the endpoint of that service{where}, or set only AWS_ENDPOINT_URL_SAGEMAKER and "
        "AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME to Polyport."
    )
