"""Who may call the control plane: signatures, permissions for each operation, and the audit log."""

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from api.harness import Plane, Wire, refusal, variant
from support.people import ACCOUNT, ALLOW_ALL, OTHER, User, allow, arn, deny, policy, table

ALICE = User("alice", ALLOW_ALL)
ROLE = f"arn:aws:iam::{ACCOUNT}:role/hosting"
MODEL = {"ModelName": "one", "PrimaryContainer": {"Image": "first:1"}, "ExecutionRoleArn": ROLE}
CONFIG = {"EndpointConfigName": "config", "ProductionVariants": [variant()]}
ENDPOINT = {"EndpointName": "Demo", "EndpointConfigName": "config"}
TAGS = [{"Key": "team", "Value": "red"}]


def client(wire: Wire, user: User, service: str = "sagemaker") -> Any:
    """As that user."""
    return wire.client(service, credentials=(user.key.id, user.key.secret))


def admit(plane: Plane, *users: User, **fields: Any) -> None:
    """Those, and alice, and nobody else."""
    plane.gate.take(table(ALICE, *users, **fields))


def denial(call: Any, **arguments: Any) -> str:
    return refusal(call, "AccessDeniedException", **arguments)


@pytest.fixture
def closed(plane: Plane, sagemaker: Any, endpoint: str) -> Plane:
    """A control plane with a model, a configuration and an endpoint, that alice alone may use."""
    admit(plane)
    return plane


# --- signatures


@pytest.mark.parametrize(
    ("credentials", "code"),
    [
        (("AKIAALICE", "guess"), "InvalidSignatureException"),
        (("AKIANOBODY", "guess"), "UnrecognizedClientException"),
        (("AKIAALICE", ALICE.key.secret, "token"), "UnrecognizedClientException"),
    ],
)
def test_a_wrong_signature_is_refused_before_anything_else(
    closed: Plane, wire: Wire, credentials: tuple[str, ...], code: str
) -> None:
    """Rule: in JSON 1.1 all of these are 400; nothing of the request was judged."""
    sagemaker = wire.client(credentials=credentials)
    for arguments in ({"EndpointName": "Demo"}, {"EndpointName": "nothing"}, {"EndpointName": "not a name"}):
        refusal(sagemaker.describe_endpoint, code, **arguments)
    assert closed.records[-1].user_identity.type == "Unknown"
    assert closed.records[-1].error_code == code


def test_an_unsigned_call_is_refused(closed: Plane) -> None:
    """Rule: with AWS's code, whatever it asks for."""
    headers = [(b"content-type", b"application/x-amz-json-1.1"), (b"x-amz-target", b"SageMaker.ListModels")]
    status, _, body = closed.answer("POST", "/", headers, b"{}")
    assert (status, json.loads(body)["__type"]) == (400, "MissingAuthenticationTokenException")


def test_what_polyport_does_not_serve_is_told_without_a_signature_of_its_own(closed: Plane, wire: Wire) -> None:
    """Rule: a client of another service, pointed here by mistake, learns where to go; S3 signs in a way of its own."""
    s3 = wire.client("s3", credentials=("AKIAALICE", "guess"))
    with pytest.raises(ClientError, match="AWS_ENDPOINT_URL_S3"):
        s3.list_buckets()


def test_the_signature_counts_for_its_service_alone(closed: Plane) -> None:
    """Rule: a call that is signed for STS is none of SageMaker's."""
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest

    request = AWSRequest("POST", "http://host/", {"X-Amz-Target": "SageMaker.ListModels", "Host": "host"}, data=b"{}")
    SigV4Auth(ALICE.credentials, "sts", "us-east-1").add_auth(request)
    headers = [(name.encode(), str(value).encode()) for name, value in request.headers.items()]
    status, _, body = closed.answer("POST", "/", headers, b"{}")
    assert (status, json.loads(body)["__type"]) == (400, "InvalidSignatureException")


def test_web_pages_cannot_use_a_server_without_keys(plane: Plane) -> None:
    """Rule: a browser names the page's origin; no AWS client does."""
    headers = [(b"x-amz-target", b"SageMaker.ListModels"), (b"origin", b"https://evil.example")]
    status, _, body = plane.answer("POST", "/", headers, b"{}")
    assert (status, json.loads(body)["__type"]) == (400, "AccessDeniedException")


# --- permissions

NEEDS: list[tuple[str, dict[str, Any], list[tuple[str, str]]]] = [
    (
        "create_model",
        MODEL | {"ModelName": "two"},
        [("sagemaker:CreateModel", arn("two", "model")), ("iam:PassRole", ROLE)],
    ),
    (
        "create_model",
        MODEL | {"ModelName": "two", "Tags": TAGS},
        [
            ("sagemaker:CreateModel", arn("two", "model")),
            ("sagemaker:AddTags", arn("two", "model")),
            ("iam:PassRole", ROLE),
        ],
    ),
    ("describe_model", {"ModelName": "one"}, [("sagemaker:DescribeModel", arn("one", "model"))]),
    ("list_models", {}, [("sagemaker:ListModels", "*")]),
    ("delete_model", {"ModelName": "one"}, [("sagemaker:DeleteModel", arn("one", "model"))]),
    (
        "create_endpoint_config",
        CONFIG | {"EndpointConfigName": "C2"},
        [("sagemaker:CreateEndpointConfig", arn("c2", "endpoint-config"))],
    ),
    (
        "describe_endpoint_config",
        {"EndpointConfigName": "config"},
        [("sagemaker:DescribeEndpointConfig", arn("config", "endpoint-config"))],
    ),
    ("list_endpoint_configs", {}, [("sagemaker:ListEndpointConfigs", "*")]),
    (
        "delete_endpoint_config",
        {"EndpointConfigName": "config"},
        [("sagemaker:DeleteEndpointConfig", arn("config", "endpoint-config"))],
    ),
    (
        "create_endpoint",
        {"EndpointName": "E2", "EndpointConfigName": "config", "Tags": TAGS},
        [
            ("sagemaker:CreateEndpoint", arn("e2")),
            ("sagemaker:CreateEndpoint", arn("config", "endpoint-config")),
            ("sagemaker:AddTags", arn("e2")),
        ],
    ),
    ("describe_endpoint", {"EndpointName": "Demo"}, [("sagemaker:DescribeEndpoint", arn("demo"))]),
    ("list_endpoints", {}, [("sagemaker:ListEndpoints", "*")]),
    (
        "update_endpoint",
        ENDPOINT,
        [("sagemaker:UpdateEndpoint", arn("demo")), ("sagemaker:UpdateEndpoint", arn("config", "endpoint-config"))],
    ),
    (
        "update_endpoint_weights_and_capacities",
        {"EndpointName": "Demo", "DesiredWeightsAndCapacities": [{"VariantName": "AllTraffic", "DesiredWeight": 1}]},
        [("sagemaker:UpdateEndpointWeightsAndCapacities", arn("demo"))],
    ),
    ("delete_endpoint", {"EndpointName": "Demo"}, [("sagemaker:DeleteEndpoint", arn("demo"))]),
    ("add_tags", {"ResourceArn": arn("Demo"), "Tags": TAGS}, [("sagemaker:AddTags", arn("demo"))]),
    ("list_tags", {"ResourceArn": arn("demo")}, [("sagemaker:ListTags", arn("demo"))]),
    ("delete_tags", {"ResourceArn": arn("demo"), "TagKeys": ["team"]}, [("sagemaker:DeleteTags", arn("demo"))]),
    (
        "put_endpoint_policy",
        {"EndpointName": "Demo", "ResourcePolicy": "{}"},
        [("sagemaker:PutEndpointPolicy", arn("demo"))],
    ),
    ("get_endpoint_policy", {"EndpointName": "Demo"}, [("sagemaker:GetEndpointPolicy", arn("demo"))]),
    ("delete_endpoint_policy", {"EndpointName": "Demo"}, [("sagemaker:DeleteEndpointPolicy", arn("demo"))]),
]


def is_allowed(call: Any, arguments: dict[str, Any]) -> bool:
    """Whatever else becomes of it."""
    try:
        call(**arguments)
    except ClientError as error:
        return error.response["Error"]["Code"] != "AccessDeniedException"
    return True


@pytest.mark.parametrize(("name", "arguments", "needs"), NEEDS, ids=[f"{row[0]}-{len(row[2])}" for row in NEEDS])
def test_an_operation_needs_exactly_its_permissions(
    closed: Plane, wire: Wire, name: str, arguments: dict[str, Any], needs: list[tuple[str, str]]
) -> None:
    """Rule: all of them together suffice, and none of them can be left out."""
    statements = [allow(resource, action=action) for action, resource in needs]
    for missing in range(len(needs)):
        bob = User("bob", *(statements[:missing] + statements[missing + 1 :]))
        admit(closed, bob)
        call = getattr(client(wire, bob), name)
        text = denial(call, **arguments)
        action, resource = needs[missing]
        assert text == (
            f"User: arn:aws:iam::{ACCOUNT}:user/bob is not authorized to perform: {action} on resource: {resource} "
            f"because no identity-based policy allows the {action} action"
        )
    bob = User("bob", *statements)
    admit(closed, bob)
    assert is_allowed(getattr(client(wire, bob), name), arguments)


def test_every_operation_served_has_its_row() -> None:
    """Rule: an operation that is added must say what it needs."""
    from botocore import xform_name

    from polyport.api.operations import OPERATIONS

    assert {row[0] for row in NEEDS} == {xform_name(name) for name in OPERATIONS["sagemaker"]}


def test_tags_of_alarms_need_leave_of_their_own(closed: Plane, wire: Wire) -> None:
    """Rule: CloudWatch's actions; those for tags are on the alarm, also when a new alarm is given some."""
    alarm = f"arn:aws:cloudwatch:us-east-1:{ACCOUNT}:alarm:errors"
    rule = {"AlarmName": "errors", "AlarmRule": "FALSE"}
    cases: list[tuple[str, dict[str, Any], list[tuple[str, str]]]] = [
        ("put_composite_alarm", rule, [("cloudwatch:PutCompositeAlarm", "*")]),
        (
            "put_composite_alarm",
            {**rule, "Tags": TAGS},
            [("cloudwatch:PutCompositeAlarm", "*"), ("cloudwatch:TagResource", alarm)],
        ),
        ("tag_resource", {"ResourceARN": alarm, "Tags": TAGS}, [("cloudwatch:TagResource", alarm)]),
        ("untag_resource", {"ResourceARN": alarm, "TagKeys": ["x"]}, [("cloudwatch:UntagResource", alarm)]),
        ("list_tags_for_resource", {"ResourceARN": alarm}, [("cloudwatch:ListTagsForResource", alarm)]),
    ]
    for name, arguments, needs in cases:
        statements = [allow(resource, action=action) for action, resource in needs]
        for missing in range(len(needs)):
            bob = User("bob", *(statements[:missing] + statements[missing + 1 :]))
            admit(closed, bob)
            assert not is_granted(getattr(client(wire, bob, "cloudwatch"), name), arguments), needs[missing]
        bob = User("bob", *statements)
        admit(closed, bob)
        assert is_granted(getattr(client(wire, bob, "cloudwatch"), name), arguments)


def is_granted(call: Any, arguments: dict[str, Any]) -> bool:
    """Whatever code the service has for a refusal."""
    try:
        call(**arguments)
    except ClientError as error:
        return "not authorized" not in str(error)
    return True


def test_who_may_not_call_is_not_told_what_is_wrong(closed: Plane, wire: Wire) -> None:
    """Rule: a forbidden resource, one that is not there and a call that is malformed look alike."""
    bob = User("bob")
    admit(closed, bob)
    sagemaker = wire.client(careless=True, credentials=(bob.key.id, bob.key.secret))
    texts = {
        denial(sagemaker.describe_endpoint, EndpointName=name).replace(name.lower(), "X")
        for name in ("Demo", "nothing", "under_score")
    }
    assert len(texts) == 1
    denial(sagemaker.create_endpoint_config, EndpointConfigName="x" * 100, ProductionVariants=[])
    denial(sagemaker.create_endpoint_config)


@pytest.mark.parametrize(
    ("conditions", "arguments", "allowed"),
    [
        ({"StringEquals": {"aws:RequestTag/team": "red"}}, {"Tags": TAGS}, True),
        ({"StringEquals": {"aws:RequestTag/team": "blue"}}, {"Tags": TAGS}, False),
        ({"StringEquals": {"aws:RequestTag/team": "red"}}, {}, False),
        ({"ForAllValues:StringEquals": {"aws:TagKeys": ["team", "stage"]}}, {"Tags": TAGS}, True),
        ({"ForAllValues:StringEquals": {"aws:TagKeys": ["stage"]}}, {"Tags": TAGS}, False),
        ({"ForAllValues:StringLike": {"sagemaker:InstanceTypes": ["ml.m5.*"]}}, {}, True),
        ({"ForAllValues:StringLike": {"sagemaker:InstanceTypes": ["ml.g5.*"]}}, {}, False),
        ({"ForAllValues:ArnEquals": {"sagemaker:ModelArn": [arn("one", "model")]}}, {}, True),
        ({"ForAllValues:ArnEquals": {"sagemaker:ModelArn": [arn("two", "model")]}}, {}, False),
        (
            {"ForAllValues:ArnEquals": {"sagemaker:ModelArn": [arn("one", "model")]}},
            {"ShadowProductionVariants": [variant("shadow", "two")]},
            False,
        ),
        ({"StringEquals": {"aws:username": "bob"}}, {}, True),
        ({"StringEquals": {"aws:username": "alice"}}, {}, False),
        ({"ArnLike": {"aws:PrincipalArn": "arn:aws:iam::*:user/b*"}}, {}, True),
        ({"StringEquals": {"aws:RequestedRegion": "us-east-1"}}, {}, True),
        ({"StringEquals": {"aws:RequestedRegion": "eu-west-1"}}, {}, False),
        ({"Bool": {"aws:SecureTransport": "true"}}, {}, False),
        ({"DateGreaterThan": {"aws:CurrentTime": "2020-01-01T00:00:00Z"}}, {}, True),
    ],
)
def test_conditions_ask_for_what_the_request_says(
    closed: Plane, wire: Wire, conditions: dict[str, Any], arguments: dict[str, Any], allowed: bool
) -> None:
    """Rule: the condition keys of the reference, on CreateEndpointConfig."""
    bob = User("bob", allow(action="sagemaker:CreateEndpointConfig", **conditions), allow(action="sagemaker:AddTags"))
    admit(closed, bob)
    call = client(wire, bob).create_endpoint_config
    assert is_allowed(call, CONFIG | {"EndpointConfigName": "c2"} | arguments) is allowed


def test_tags_of_a_resource_are_conditions(closed: Plane, wire: Wire) -> None:
    """Rule: those that it has when the call is made; both spellings of the key."""
    for key in ("aws:ResourceTag/team", "sagemaker:ResourceTag/team"):
        bob = User("bob", allow(action="sagemaker:Describe*", StringEquals={key: "red"}))
        admit(closed, bob)
        describe = client(wire, bob).describe_model
        client(wire, ALICE).delete_tags(ResourceArn=arn("one", "model"), TagKeys=["team"])
        denial(describe, ModelName="one")
        client(wire, ALICE).add_tags(ResourceArn=arn("one", "model"), Tags=TAGS)
        assert describe(ModelName="one")["ModelName"] == "one"


def test_the_gateway_tells_where_a_call_came_from(closed: Plane, wire: Wire) -> None:
    """Rule: address and transport are the gateway's word; a client's own headers of that name never get here."""
    bob = User("bob", allow(action="sagemaker:List*", IpAddress={"aws:SourceIp": "192.0.2.0/24"}))
    admit(closed, bob)
    sagemaker = client(wire, bob)
    answered = []
    for address in ("192.0.2.7:4711", "198.51.100.1:4711", "[2001:db8::1]:4711"):
        wire.headers = [(b"x-polyport-client", address.encode()), (b"x-polyport-secure", b"1")]
        answered.append(is_allowed(sagemaker.list_models, {}))
    wire.headers = []
    assert answered == [True, False, False]
    assert [record.source_ip_address for record in closed.records[-3:]] == ["192.0.2.7", "198.51.100.1", "2001:db8::1"]


def test_an_explicit_deny_wins(closed: Plane, wire: Wire) -> None:
    """Rule: in AWS's words."""
    bob = User("bob", ALLOW_ALL, deny(action="sagemaker:Delete*"))
    admit(closed, bob)
    text = denial(client(wire, bob).delete_endpoint, EndpointName="Demo")
    assert text.endswith("with an explicit deny in an identity-based policy")


def test_accounts_separate_names(closed: Plane, wire: Wire) -> None:
    """Rule: a user of another account sees nothing of this one, and may use the same names."""
    zoe = User("zoe", ALLOW_ALL, account=OTHER)
    admit(closed, zoe)
    sagemaker = client(wire, zoe)
    assert sagemaker.list_endpoints()["Endpoints"] == []
    refusal(sagemaker.describe_endpoint, EndpointName="Demo")
    made = sagemaker.create_model(**MODEL)["ModelArn"]
    assert made == arn("one", "model", account=OTHER)
    denial(sagemaker.list_tags, ResourceArn=arn("demo"))


# --- policies of endpoints


def grant(account: str = OTHER) -> str:
    statement = {"Effect": "Allow", "Principal": {"AWS": account}, "Action": "sagemaker:InvokeEndpoint"}
    return policy(statement | {"Resource": arn("demo")}).document


def test_an_endpoint_s_policy_is_put_shown_and_deleted(closed: Plane, wire: Wire) -> None:
    """Rule: the text as it was given; replaced as a whole; deleted twice is fine; none is an error."""
    sagemaker = client(wire, ALICE)
    assert "has no policy" in refusal(sagemaker.get_endpoint_policy, EndpointName="Demo")
    for text in (grant(), grant("111111111111")):
        assert sagemaker.put_endpoint_policy(EndpointName="Demo", ResourcePolicy=text)["EndpointArn"] == arn("demo")
        shown = sagemaker.get_endpoint_policy(EndpointName="Demo")
        assert (shown["EndpointName"], shown["EndpointArn"], shown["ResourcePolicy"]) == ("Demo", arn("demo"), text)
    assert closed.run(closed.store.access.read()).endpoint_policies == {arn("demo"): grant("111111111111")}
    for _ in range(2):
        sagemaker.delete_endpoint_policy(EndpointName="Demo")
    refusal(sagemaker.get_endpoint_policy, EndpointName="Demo")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "line 1, column 2"),
        (policy(allow()).document, "Statement"),
        (grant().replace("Allow", "Perhaps"), "Statement[0].Effect"),
        (grant().replace(OTHER, "ann"), "Statement[0].Principal"),
    ],
)
def test_a_malformed_policy_is_refused_with_the_position(closed: Plane, wire: Wire, text: str, message: str) -> None:
    """Rule: and the one there is stays."""
    sagemaker = client(wire, ALICE)
    sagemaker.put_endpoint_policy(EndpointName="Demo", ResourcePolicy=grant())
    assert message in refusal(sagemaker.put_endpoint_policy, EndpointName="Demo", ResourcePolicy=text)
    assert sagemaker.get_endpoint_policy(EndpointName="Demo")["ResourcePolicy"] == grant()


def test_a_policy_that_is_too_large_is_refused(closed: Plane, wire: Wire) -> None:
    """Rule: 20,480 characters, by the service model."""
    text = grant() + " " * 20_480
    message = refusal(client(wire, ALICE).put_endpoint_policy, EndpointName="Demo", ResourcePolicy=text)
    assert "less than or equal to 20480" in message


def test_an_endpoint_that_failed_or_goes_gets_no_policy(closed: Plane, wire: Wire) -> None:
    """Rule: as SageMaker documents it."""
    closed.fail("Demo")
    text = refusal(client(wire, ALICE).put_endpoint_policy, EndpointName="Demo", ResourcePolicy=grant())
    assert "its status is Failed" in text


# --- the audit log


def test_each_call_is_told_to_the_audit_log(closed: Plane, wire: Wire) -> None:
    """Rule: CloudTrail's fields; names and ARNs of the request, never what may be secret."""
    container = {"Image": "first:1", "Environment": {"PASSWORD": "hunter2"}}
    made = client(wire, ALICE).create_model(ModelName="two", PrimaryContainer=container, Tags=TAGS)
    record = closed.records[-1]
    assert record.user_identity.arn == f"arn:aws:iam::{ACCOUNT}:user/alice"
    assert (record.event_source, record.event_name) == ("sagemaker.amazonaws.com", "CreateModel")
    assert (record.read_only, record.management_event, record.error_code) == (False, True, "")
    assert record.request_parameters == {"modelName": "two"}
    assert record.resources[0] == {"ARN": arn("two", "model")}
    assert record.request_id == made["ResponseMetadata"]["RequestId"]
    assert record.additional_event_data == {"decision": "allowed by an identity-based policy: policy, statement 1"}
    assert "hunter2" not in repr(record)


def test_a_refused_call_is_told_with_its_reason(closed: Plane, wire: Wire) -> None:
    """Rule: which statement denied is in the log, not in the answer."""
    bob = User("bob", ALLOW_ALL, deny(action="sagemaker:Delete*") | {"Sid": "KeepThem"})
    admit(closed, bob)
    denial(client(wire, bob).delete_endpoint, EndpointName="Demo")
    record = closed.records[-1]
    assert record.error_code == "AccessDeniedException"
    assert record.additional_event_data == {
        "decision": "explicit deny in an identity-based policy: policy, statement 2 (KeepThem)"
    }
    assert record.request_parameters == {"endpointName": "Demo"}
