"""Operations in the query protocol, through the application: unmodified botocore in front, a table entry behind."""

import pytest
from botocore.exceptions import ClientError

from api.harness import ACCOUNT, refusal
from polyport.api import app
from polyport.api.operations import OPERATIONS
from polyport.errors import ApiError

FORM = [(b"content-type", b"application/x-www-form-urlencoded; charset=utf-8")]
IDENTITY = "Action=GetCallerIdentity&Version=2011-06-15"
ROLE = {"RoleArn": "arn:aws:iam::123456789012:role/r", "RoleSessionName": "session"}


async def who(context, request):
    assert request == {}
    owner = context.owner
    return {"UserId": "<root>", "Account": owner.account, "Arn": f"arn:aws:sts:{owner.region}:{owner.account}:x"}


@pytest.fixture
def asked(monkeypatch):
    """Serves two operations of STS; gives the requests of the second."""
    requests = []

    async def assume(context, request):
        requests.append(request)
        if request["RoleSessionName"] == "broken":
            raise KeyError("secret detail")
        if request["RoleSessionName"] == "expired":
            raise ApiError("ExpiredTokenException", "too late")
        keys = {"AccessKeyId": "AKIDAKIDAKIDAKID", "SecretAccessKey": "s", "SessionToken": "t", "Expiration": 1.7e9}
        return {"Credentials": keys, "PackedPolicySize": 7}

    monkeypatch.setitem(OPERATIONS, "sts", {"GetCallerIdentity": who, "AssumeRole": assume})
    return requests


def test_an_operation_of_another_service_is_served_in_its_protocol(wire, asked):
    """Rule: a row in the table is all that it takes, for scalars, lists, moments, and the region of the signature."""
    told = wire.client("sts", "eu-west-1").get_caller_identity()
    assert told["ResponseMetadata"]["RequestId"]
    assert (told["UserId"], told["Account"]) == ("<root>", ACCOUNT)
    assert told["Arn"].startswith("arn:aws:sts:eu-west-1:")
    tags = [{"Key": "a", "Value": "1 + 2"}, {"Key": "b", "Value": ""}]
    told = wire.client("sts").assume_role(**ROLE, DurationSeconds=900, Tags=tags, TransitiveTagKeys=[])
    assert asked == [{**ROLE, "DurationSeconds": 900, "Tags": tags, "TransitiveTagKeys": []}]
    assert told["Credentials"]["Expiration"].timestamp() == 1.7e9
    assert told["PackedPolicySize"] == 7


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_parameters_may_be_in_the_url(plane, asked, method):
    """Rule: unsigned or pre-signed; at the root a visitor's help does not get in the way."""
    for query in (IDENTITY, IDENTITY + "&X-Amz-Credential=A%2F20260102%2Fus-east-1%2Fsts%2Faws4_request&X-Amz-Date=1"):
        status, headers, body = plane.answer(method, f"/?{query}")
        assert (status, headers["content-type"]) == (200, "text/xml")
        assert f"<Account>{ACCOUNT}</Account>".encode() in body


def test_an_unsigned_form_is_served(plane, asked):
    """Rule: curl -d is enough."""
    status, _, body = plane.answer("POST", "/", FORM, IDENTITY.encode())
    assert (status, b"&lt;root&gt;" in body) == (200, True)


@pytest.mark.parametrize(
    ("arguments", "code", "status", "message"),
    [
        ({"DurationSeconds": 5}, "ValidationError", 400, "Value '5' at 'durationSeconds' failed to satisfy"),
        ({"DurationSeconds": "x"}, "MalformedInput", 400, "converted to an Integer at 'durationSeconds'"),
        ({"RoleSessionName": "broken"}, "InternalFailure", 500, "its log tells more"),
        ({"RoleSessionName": "expired"}, "ExpiredTokenException", 400, "too late"),
    ],
)
def test_errors_are_told_in_the_protocol_of_the_call(wire, asked, arguments, code, status, message):
    """Rule: botocore finds code, message and request id; the model's own errors become its exceptions."""
    client = wire.client("sts", careless=True)
    text = refusal(client.assume_role, code, status, **(ROLE | arguments))
    assert message in text
    assert "secret detail" not in text
    if code == "ExpiredTokenException":
        with pytest.raises(client.exceptions.ExpiredTokenException):
            client.assume_role(**(ROLE | arguments))


@pytest.mark.parametrize(
    ("form", "status", "code"),
    [
        (IDENTITY + "&Colour=red", 400, "ValidationError"),
        (IDENTITY + "&a=%zz", 404, "MalformedQueryString"),
        (IDENTITY + "&Version=2011-06-15", 404, "MalformedQueryString"),
        ("Action=GetCallerIdentity&Version=2000-01-01", 400, "InvalidAction"),
        ("Action=GetCallerIdentity", 400, "InvalidAction"),
        ("Action=GetSessionToken&Version=2011-06-15", 400, "InvalidAction"),
        ("Action=CreateModel&Version=2017-07-24", 400, "InvalidAction"),
        ("Action=CreateModel", 400, "InvalidAction"),
    ],
)
def test_bad_forms_get_their_errors(plane, asked, form, status, code):
    """Rule: in XML, with a request id, whatever is wrong with them."""
    answered, told, body = plane.answer("POST", "/", FORM, form.encode())
    assert (answered, told["content-type"]) == (status, "text/xml")
    assert f"<Code>{code}</Code>".encode() in body
    assert f"<RequestId>{told['x-amzn-requestid']}</RequestId>".encode() in body


def test_a_service_is_not_served_in_a_protocol_that_it_does_not_speak(plane):
    """Rule: SageMaker has no query protocol; what a browser posts unasked reaches none of its operations."""
    signed = (b"authorization", b"AWS4-HMAC-SHA256 Credential=A/20260102/us-east-1/sagemaker/aws4_request")
    status, _, body = plane.answer("POST", "/", [*FORM, signed], b"Action=ListModels&Version=2017-07-24")
    assert (status, b"<Code>InvalidAction</Code>" in body) == (400, True)


def test_a_form_that_is_too_long_is_told_so_in_xml(plane):
    """Rule: the signature says which protocol, where the action could not be read."""
    signed = (b"authorization", b"AWS4-HMAC-SHA256 Credential=A/20260102/us-east-1/sts/aws4_request")
    status, headers, body = plane.answer("POST", "/", [*FORM, signed], b"a" * (app.MAX_BODY + 1))
    assert (status, headers["content-type"]) == (413, "text/xml")
    assert b"<Code>RequestEntityTooLargeException</Code>" in body


def test_what_is_served_of_a_service_is_listed_with_it(wire, asked):
    """Rule: the refusal of one operation names the others, and where the rest may be had."""
    with pytest.raises(ClientError) as caught:
        wire.client("sts").get_session_token()
    error = caught.value.response["Error"]
    assert error["Code"] == "InvalidAction"
    assert "does not serve GetSessionToken of STS. It serves CreateModel" in error["Message"]
    assert "; GetCallerIdentity, AssumeRole of STS; PutMetricData, ListMetrics," in error["Message"]
    assert "AWS_ENDPOINT_URL_STS" in error["Message"]


def test_a_table_entry_of_a_json_service_is_served_in_json(wire, plane, monkeypatch):
    """Rule: any service that is known, in any of its protocols that are served."""

    async def groups(context, request):
        return {"logGroups": [{"logGroupName": request["logGroupNamePrefix"]}]}

    monkeypatch.setitem(OPERATIONS, "logs", {"DescribeLogGroups": groups})
    told = wire.client("logs").describe_log_groups(logGroupNamePrefix="/aws")
    assert told["logGroups"] == [{"logGroupName": "/aws"}]

    async def delete(context, request):
        assert request == {"AlarmNames": ["a"]}
        return {}

    monkeypatch.setitem(OPERATIONS, "cloudwatch", {"DeleteAlarms": delete})
    version_and_names = b"&Version=2010-08-01&AlarmNames.member.1=a"
    status, _, body = plane.answer("POST", "/", FORM, b"Action=DeleteAlarms" + version_and_names)
    assert (status, b"<DeleteAlarmsResponse xmlns=" in body) == (200, True)
    json_headers = [
        (b"content-type", b"application/x-amz-json-1.0"),
        (b"x-amz-target", b"GraniteServiceVersion20100801.DeleteAlarms"),
    ]
    status, headers, body = plane.answer("POST", "/", json_headers, b'{"AlarmNames": ["a"]}')
    assert (status, headers["content-type"], body) == (200, "application/x-amz-json-1.0", b"")
