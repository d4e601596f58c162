"""Whose call a request is, in which protocol: botocore's own signed requests for many services are the oracle."""

import gzip
from pathlib import Path
from typing import Any

import botocore
import botocore.session
import msgspec
import pytest
from botocore.awsrequest import AWSResponse
from botocore.client import BaseClient
from botocore.config import Config

from aws.shapes import SERVED
from polyport.aws import dispatch, service, wire
from polyport.domain.names import Owner
from polyport.errors import ApiError

TABLE = {"sagemaker": SERVED}
SCOPE = "AKIDEXAMPLE/20260102/eu-west-1/sagemaker/aws4_request"
SIGNED = f"AWS4-HMAC-SHA256 Credential={SCOPE}, SignedHeaders=host;x-amz-date, Signature=abc"


def head(method: str = "POST", path: str = "/", query: str = "", **headers: str) -> wire.Head:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return wire.head_of(method, path, query, raw)


def client(name: str, **options: Any) -> BaseClient:
    """A client of botocore that points at Polyport, as AWS_ENDPOINT_URL makes it."""
    return botocore.session.get_session().create_client(
        name,
        region_name="eu-west-1",
        endpoint_url="http://127.0.0.1:7070",
        aws_access_key_id="AKID",
        aws_secret_access_key="secret",
        config=Config(retries={"total_max_attempts": 1}, **options),
    )


def sent(name: str, method: str, **arguments: Any) -> tuple[wire.Head, bytes]:
    """What botocore sends for a call, without sending it."""
    caught = []

    def catch(request: Any, **_: Any) -> AWSResponse:
        caught.append(request)
        return AWSResponse(request.url, 200, {}, _Raw())

    connected = client(name)
    connected.meta.events.register("before-send", catch)
    try:
        getattr(connected, method)(**arguments)
    except Exception:  # noqa: BLE001  # an empty answer satisfies no parser: only the request matters here
        assert caught
    connected.close()
    request = caught[0]
    path, _, query = request.url.removeprefix("http://127.0.0.1:7070").partition("?")
    raw = [
        (str(name).encode(), value if isinstance(value, bytes) else str(value).encode())
        for name, value in request.headers.items()
    ]
    body = request.body or b""
    return wire.head_of(request.method, path or "/", query, raw), body.encode() if isinstance(body, str) else body


class _Raw:
    """An empty body as botocore reads it."""

    def stream(self) -> list[bytes]:
        return []


@pytest.mark.parametrize(
    ("name", "method", "arguments", "expected"),
    [
        ("sagemaker", "describe_endpoint", {"EndpointName": "e"}, ("sagemaker", "json", "DescribeEndpoint")),
        ("sagemaker", "list_training_jobs", {}, ("sagemaker", "json", "ListTrainingJobs")),
        ("dynamodb", "list_tables", {}, ("dynamodb", "json", "ListTables")),
        ("logs", "describe_log_groups", {}, ("logs", "json", "DescribeLogGroups")),
        ("sts", "get_caller_identity", {}, ("sts", "query", "GetCallerIdentity")),
        ("iam", "get_role", {"RoleName": "r"}, ("iam", "query", "GetRole")),
        ("ec2", "describe_instances", {}, ("ec2", "ec2", "DescribeInstances")),
        ("s3", "get_object", {"Bucket": "b", "Key": "k/x"}, ("s3", "rest-xml", "")),
        ("s3", "list_buckets", {}, ("s3", "rest-xml", "")),
        ("route53", "list_hosted_zones", {}, ("route53", "rest-xml", "")),
        ("lambda", "list_functions", {}, ("lambda", "rest-json", "")),
        ("arc-region-switch", "list_plans", {}, ("arc-region-switch", None, "ListPlans")),
        ("cloudwatch", "list_metrics", {}, ("monitoring", None, "ListMetrics")),
    ],
)
def test_the_calls_of_any_service_are_told_apart(
    name: str, method: str, arguments: dict[str, Any], expected: tuple[str, str | None, str]
) -> None:
    """Service, protocol and operation from the request alone, for requests that botocore made and signed."""
    call = dispatch.identify(*sent(name, method, **arguments))
    signing_name, protocol, operation = expected
    assert (call.service, call.operation, call.region) == (signing_name, operation, "eu-west-1")
    assert call.protocol in ("json", "smithy-rpc-v2-cbor") if protocol is None else call.protocol == protocol


def test_a_call_without_a_signature_is_known_by_its_target() -> None:
    """curl and clients without credentials may call too."""
    call = dispatch.identify(head(x_amz_target="SageMaker.ListModels", content_type="application/x-amz-json-1.1"))
    assert (call.service, call.operation, call.json_version) == ("sagemaker", "ListModels", "1.1")
    call = dispatch.identify(
        head(x_amz_target="DynamoDB_20120810.ListTables", content_type="application/x-amz-json-1.0")
    )
    assert (call.service, call.operation, call.json_version) == ("dynamodb", "ListTables", "1.0")


@pytest.mark.parametrize("target", ["", "SageMaker", "SageMaker.", ".X", "a b.c", "SageMaker.List\u00e4", "x" * 5000])
def test_a_bad_target_is_an_unknown_operation_not_a_failure(target: str) -> None:
    """Whatever the header holds, an answer can be rendered."""
    request = wire.Head("POST", "/", "", {"x-amz-target": target, "authorization": SIGNED})
    call = dispatch.identify(request)
    assert (call.protocol, call.operation) == ("json", "")
    error = dispatch.refusal(call, TABLE)
    assert (error.code, error.status) == ("UnknownOperationException", 400)


def test_a_cbor_call_is_named_by_its_path() -> None:
    """Smithy RPC v2: /service/NAME/operation/NAME, with a header that names the protocol."""
    request = head(path="/service/GraniteServiceVersion20100801/operation/ListMetrics", smithy_protocol="rpc-v2-cbor")
    call = dispatch.identify(request)
    assert (call.protocol, call.operation) == ("smithy-rpc-v2-cbor", "ListMetrics")


def test_a_query_call_may_carry_its_action_in_the_url() -> None:
    """Old clients send GET /?Action=..."""
    call = dispatch.identify(head("GET", query="Version=2011-06-15&Action=GetCallerIdentity"))
    assert (call.protocol, call.operation) == ("query", "GetCallerIdentity")


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        (b"Action=GetCallerIdentity&Version=2011-06-15", "sts"),
        (b"Version=2010-08-01&Action=ListMetrics", "monitoring"),
        (b"Action=GetCallerIdentity", "sts"),
        (b"Action=Nonsense&Version=2011-06-15", "sts"),
        (b"Action=GetCallerIdentity&Version=2010-08-01", "monitoring"),
        (b"Action=GetCallerIdentity&Version=2000-01-01", ""),
        (b"Action=ListModels", ""),
        (b"Action=Nonsense", ""),
    ],
)
def test_an_unsigned_query_call_is_known_by_its_version_else_by_its_action(form: bytes, expected: str) -> None:
    """A version says which service; a service that does not speak the protocol is never meant."""
    call = dispatch.identify(head(content_type="application/x-www-form-urlencoded; charset=utf-8"), form)
    assert (call.service, call.protocol) == (expected, "query")


def test_a_signature_says_the_service_of_a_query_call_whatever_its_version() -> None:
    """What a call is signed for is what its policy will be asked about."""
    signed = SIGNED.replace("/sagemaker/", "/iam/")
    request = head(authorization=signed, content_type="application/x-www-form-urlencoded")
    call = dispatch.identify(request, b"Action=GetCallerIdentity&Version=2011-06-15")
    assert (call.service, call.protocol, call.operation) == ("iam", "query", "GetCallerIdentity")


def test_a_form_without_an_action_is_told_so_in_the_protocol_of_its_service() -> None:
    """A client of STS reads XML alone; the body of a form may also have been too long to be read."""
    signed = SIGNED.replace("/sagemaker/", "/sts/")
    call = dispatch.identify(head(authorization=signed, content_type="application/x-www-form-urlencoded"))
    error = dispatch.refusal(call, TABLE)
    assert (call.service, call.protocol, error.code) == ("sts", "query", "MissingAction")
    assert "does not serve a call without an operation in Action of STS" in error.message


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("Logs_20140328.DescribeLogGroups", "logs"),
        ("GraniteServiceVersion20100801.ListMetrics", "monitoring"),
        ("DynamoDB_20120810.DescribeLogGroups", "dynamodb"),
    ],
)
@pytest.mark.parametrize("signed_for", ["", "logs", "sagemaker"])
def test_the_target_says_the_service_of_a_json_call(target: str, expected: str, signed_for: str) -> None:
    """A known service has its own target alone: another's operation of the same name is not served."""
    signed = {"authorization": SIGNED.replace("/sagemaker/", f"/{signed_for}/")} if signed_for else {}
    call = dispatch.identify(head(x_amz_target=target, **signed))
    assert (call.service, call.protocol) == (expected, "json")
    prefix, operation = target.split(".")
    call = dispatch.identify(head(path=f"/service/{prefix}/operation/{operation}", smithy_protocol="rpc-v2-cbor"))
    assert (call.service == expected) == (expected != "dynamodb")


def test_the_table_of_known_services_agrees_with_the_models() -> None:
    """Signing names and client names are botocore's."""
    for signing_name, name in dispatch.KNOWN.items():
        assert service.load(name).signing_name == signing_name
        assert dispatch.known_service(signing_name) is service.load(name)
    assert dispatch.known_service("cloudwatch") is None


def test_a_refusal_lists_the_operations_of_every_service() -> None:
    """By the names that SDKs know the services by; a service without operations is left out."""
    call = dispatch.identify(head(x_amz_target="SageMaker.CreateTrainingJob"))
    table = {"sagemaker": ["CreateModel", "ListModels"], "sts": ["GetCallerIdentity"], "logs": []}
    told = dispatch.refusal(call, table).message
    assert "It serves CreateModel, ListModels of SageMaker; GetCallerIdentity of STS, and InvokeEndpoint" in told
    assert "Logs" not in told


def test_an_operation_of_sagemaker_that_is_not_served_is_refused_with_the_list() -> None:
    """Issue 2: the error says what Polyport serves."""
    error = dispatch.refusal(dispatch.identify(head(x_amz_target="SageMaker.CreateTrainingJob")), TABLE)
    assert (error.code, error.status) == ("UnknownOperationException", 400)
    assert error.message.startswith("Polyport does not serve CreateTrainingJob. It serves CreateModel, ")
    assert "InvokeEndpoint and InvokeEndpointWithResponseStream of SageMaker Runtime" in error.message
    assert "AWS_ENDPOINT_URL" not in error.message


def test_a_call_for_s3_is_told_which_variable_to_set() -> None:
    """AWS_ENDPOINT_URL points S3 at Polyport too: the commonest stumble of a user."""
    error = dispatch.refusal(dispatch.identify(*sent("s3", "get_object", Bucket="b", Key="k")), TABLE)
    assert (error.code, error.status) == ("NotImplemented", 501)
    assert "Polyport does not serve GET /b/k of S3." in error.message
    assert "set AWS_ENDPOINT_URL_S3 to the endpoint of that service" in error.message
    assert "https://s3.eu-west-1.amazonaws.com" in error.message
    assert "AWS_ENDPOINT_URL_SAGEMAKER and AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME" in error.message


@pytest.mark.parametrize(
    ("name", "method", "variable"),
    [
        ("sts", "get_caller_identity", "set AWS_ENDPOINT_URL_STS to"),
        ("logs", "describe_log_groups", "set AWS_ENDPOINT_URL_CLOUDWATCH_LOGS to"),
        ("cloudwatch", "list_metrics", "set AWS_ENDPOINT_URL_CLOUDWATCH to"),
        ("elb", "describe_load_balancers", "set its own AWS_ENDPOINT_URL_ variable (for S3: AWS_ENDPOINT_URL_S3) to"),
    ],
)
def test_other_services_are_told_their_variable_where_it_is_known(name: str, method: str, variable: str) -> None:
    """SDKs make the variable of the service id; a signing name does not always lead to one."""
    assert variable in dispatch.refusal(dispatch.identify(*sent(name, method)), TABLE).message


def test_the_owner_is_who_the_call_is_signed_for() -> None:
    """Region from the credential scope, account from the settings; unsigned calls have the default region."""
    assert dispatch.owner_of(head(authorization=SIGNED), "1" * 12, "us-east-1") == Owner("1" * 12, "eu-west-1")
    assert dispatch.owner_of(head(), "1" * 12, "us-east-1") == Owner("1" * 12, "us-east-1")
    assert dispatch.owner_of(head(authorization="Bearer x"), "1" * 12, "us-east-1") == Owner("1" * 12, "us-east-1")


def test_a_presigned_url_names_its_scope_in_the_query() -> None:
    """X-Amz-Credential is percent-encoded there."""
    request = head("GET", query="X-Amz-Credential=" + SCOPE.replace("/", "%2F") + "&a=b")
    assert dispatch.owner_of(request, "1" * 12, "us-east-1") == Owner("1" * 12, "eu-west-1")
    assert dispatch.identify(request).service == "sagemaker"


def test_an_access_key_may_hold_slashes() -> None:
    """The scope is read from its end."""
    request = head(authorization=SIGNED.replace("AKIDEXAMPLE", "a/b"))
    assert dispatch.owner_of(request, "1" * 12, "us-east-1") == Owner("1" * 12, "eu-west-1")


@pytest.mark.parametrize(
    "scope",
    [
        "",
        "x",
        "/20260102/eu-west-1/sagemaker/aws4_request",
        "A/20260102/eu-west-1/sagemaker/aws4",
        "A/2026/eu-west-1/sagemaker/aws4_request",
        "A/20260102/EU_west/sagemaker/aws4_request",
        "A/20260102/eu--west/sagemaker/aws4_request",
        "A/20260102/../sagemaker/aws4_request",
        f"A/20260102/{'a' * 33}/sagemaker/aws4_request",
        "A/20260102//sagemaker/aws4_request",
        "A/20260102/eu-west-1//aws4_request",
        "A/20260102/eu-west-1/../aws4_request",
    ],
)
def test_a_malformed_scope_is_refused_but_never_breaks_the_answer(scope: str) -> None:
    """A region becomes part of ARNs and of keys: only what can be one is let in."""
    request = head(
        authorization=f"AWS4-HMAC-SHA256 Credential={scope}, Signature=x", x_amz_target="SageMaker.ListModels"
    )
    with pytest.raises(ApiError) as caught:
        dispatch.owner_of(request, "1" * 12, "us-east-1")
    assert (caught.value.code, caught.value.status) == ("IncompleteSignatureException", 400)
    assert dispatch.identify(request).operation == "ListModels"


def test_repeated_headers_are_joined_and_names_lowered() -> None:
    """As HTTP says."""
    request = wire.head_of("GET", "/", "", [(b"X-A", b" 1 "), (b"x-a", b"2"), (b"B", b"\xe4")])
    assert request.headers == {"x-a": "1, 2", "b": "\u00e4"}


@pytest.mark.slow
def test_the_tables_of_protocols_agree_with_all_of_botocores_models() -> None:
    """rest-xml and ec2 are told by the signing name; every other REST service speaks rest-json."""
    for found in (Path(botocore.__file__).parent / "data").glob("*/*/service-2.json.gz"):
        metadata = msgspec.json.decode(gzip.decompress(found.read_bytes()))["metadata"]
        signing_name = metadata.get("signingName", metadata["endpointPrefix"])
        assert (metadata["protocol"] == "rest-xml") == (signing_name in dispatch.REST_XML), signing_name
        assert (metadata["protocol"] == "ec2") == (signing_name in dispatch.EC2), signing_name
