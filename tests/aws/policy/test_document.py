"""Policy documents: what IAM's grammar has is understood, each kind of mistake is refused with its position."""

import contextlib
import json
import time
from typing import Any

import pytest

from polyport.aws.policy import document
from polyport.aws.policy.document import Condition, Document, Effect, Kind, Principals, Statement
from polyport.errors import PolicyError, PolyportError

HOST = "sagemaker:TargetContainerHostname"
GOOD: dict[str, Any] = {"Effect": "Allow", "Action": "sagemaker:InvokeEndpoint", "Resource": "*"}
TRUST: dict[str, Any] = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": "*"}


def parse(policy: Any, kind: Kind = Kind.IDENTITY) -> Document:
    return document.parse(policy if isinstance(policy, str) else json.dumps(policy), kind)


def one(changes: dict[str, Any], base: dict[str, Any] = GOOD) -> dict[str, Any]:
    """A document of one statement; a change to None removes the element."""
    changed = {name: value for name, value in (base | changes).items() if value is not None}
    return {"Version": "2012-10-17", "Statement": [changed]}


def test_everything_that_a_policy_may_have() -> None:
    """One statement with lists, one with single values and the opposites."""
    found = parse(
        {
            "Version": "2012-10-17",
            "Id": "any text",
            "Statement": [
                {
                    "Sid": "First1",
                    "Effect": "Allow",
                    "Principal": {
                        "AWS": ["111111111111", "arn:aws:iam::111111111111:user/a/b"],
                        "Service": "s3.amazonaws.com",
                    },
                    "Action": ["sagemaker:Invoke*", "*"],
                    "Resource": ["*", "arn:aws:sagemaker:*:*:endpoint/${aws:username}"],
                    "Condition": {
                        "ForAnyValue:StringLikeIfExists": {"AWS:TAGKEYS": ["a*", "b"]},
                        "NumericLessThan": {"aws:RequestTag/Size": 1.50, "aws:EpochTime": [1, "2"]},
                        "Bool": {"aws:SecureTransport": True},
                    },
                },
                {"Effect": "Deny", "NotPrincipal": {"AWS": "*"}, "NotAction": "iam:*", "NotResource": "arn:aws:s3:::b"},
            ],
        },
        Kind.RESOURCE,
    )
    assert found == Document(
        kind=Kind.RESOURCE,
        version="2012-10-17",
        id="any text",
        statements=(
            Statement(
                sid="First1",
                effect=Effect.ALLOW,
                principals=Principals(
                    False, ("111111111111", "arn:aws:iam::111111111111:user/a/b"), ("s3.amazonaws.com",)
                ),
                actions=("sagemaker:Invoke*", "*"),
                resources=("*", "arn:aws:sagemaker:*:*:endpoint/${aws:username}"),
                conditions=(
                    Condition("ForAnyValue:StringLikeIfExists", "AWS:TAGKEYS", ("a*", "b")),
                    Condition("NumericLessThan", "aws:RequestTag/Size", ("1.5",)),
                    Condition("NumericLessThan", "aws:EpochTime", ("1", "2")),
                    Condition("Bool", "aws:SecureTransport", ("true",)),
                ),
            ),
            Statement(
                effect=Effect.DENY,
                principals=Principals(everyone=True),
                excepts_principals=True,
                actions=("iam:*",),
                excepts_actions=True,
                resources=("arn:aws:s3:::b",),
                excepts_resources=True,
            ),
        ),
    )


@pytest.mark.parametrize(
    ("kind", "policy"),
    [
        (Kind.IDENTITY, {"Statement": GOOD}),
        (Kind.IDENTITY, {"Version": "2008-10-17", "Statement": [GOOD | {"Resource": "arn:aws:s3:::${no variable"}]}),
        (Kind.IDENTITY, one({"Sid": "", "Condition": {}})),
        (Kind.IDENTITY, one({"Resource": "arn:aws:s3:::\u00e4"})),
        (Kind.SESSION, one({"Resource": "arn:*", "Action": "*"})),
        (Kind.RESOURCE, one({"Principal": {"AWS": "arn:aws-cn:sts::111111111111:assumed-role/r/s@x"}})),
        (Kind.RESOURCE, one({"Principal": {"AWS": "arn:aws:iam::111111111111:role/path/r"}})),
        (Kind.TRUST, one({}, TRUST)),
        (Kind.TRUST, one({"Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": ["sts:TagSession"]}, TRUST)),
        (Kind.IDENTITY, " \n\t" + json.dumps(one({}), indent=2) + "\r\n"),
        (Kind.IDENTITY, json.dumps(one({})) + " " * (20_480 - len(json.dumps(one({}))))),
    ],
)
def test_documents_that_are_taken(kind: Kind, policy: Any) -> None:
    """A single statement, both versions, every kind of principal, the longest text."""
    assert parse(policy, kind).kind is kind


@pytest.mark.parametrize(
    ("text", "position", "told"),
    [
        ("", "line 1, column 1", "ends where a value is expected"),
        ("{", "line 1, column 2", "name of a member"),
        ('{"a"', "line 1, column 5", "a colon"),
        ('{"a":', "line 1, column 6", "ends where a value"),
        ('{"a": 1,}', "line 1, column 9", "name of a member"),
        ('{"a": 1 "b": 2}', "line 1, column 9", "a comma or the closing brace"),
        ("{a: 1}", "line 1, column 2", "in double quotes"),
        ("{'a': 1}", "line 1, column 2", "in double quotes"),
        ('{\n "a": [1, 2\n', "line 3, column 1", "a comma or the closing bracket"),
        ('{"a": [1,]}', "line 1, column 10", "no JSON value"),
        ('{\n  "a": tru\n}', "line 2, column 8", "no JSON value"),
        ('{"a": truer}', "line 1, column 7", "no JSON value"),
        ('{"a": NaN}', "line 1, column 7", "no JSON value"),
        ('{"a": 01}', "line 1, column 8", "a comma"),
        ('{"a": "b', "line 1, column 7", "the string has no end"),
        ('{"a": "b\n"}', "line 1, column 7", "control character"),
        ('{"a": "\\x"}', "line 1, column 7", "unknown escape"),
        ('{"a": "\\ud800"}', "line 1, column 7", "half of a surrogate pair"),
        ("{} {}", "line 1, column 4", "more text after the end"),
        ("// policy\n{}", "line 1, column 1", "no JSON value"),
        ("\ufeff{}", "line 1, column 1", "no JSON value"),
        ('{"Version": "2012-10-17",\n "Version": "2012-10-17"}', "line 2, column 2", 'two members "Version"'),
        ('{"Statement": {"Effect": "Allow",\n "Effect": "Deny"}}', "line 2, column 2", 'two members "Effect"'),
        ("[" * 5000, "line 1, column 18", "16 levels of nesting"),
        ('{"a":' * 4000, "line 1, column 86", "16 levels of nesting"),
        ("x" * 20_481, "line 1, column 20481", "at most 20,480 characters, this one has 20,481"),
        ("\n" * 20_480 + "{", "line 20481, column 1", "at most 20,480 characters"),
    ],
)
def test_a_text_that_is_no_json_is_refused_with_line_and_column(text: str, position: str, told: str) -> None:
    """RFC 8259 to the letter, and no member twice: which of the two would be meant?"""
    with pytest.raises(PolicyError, match=told) as caught:
        parse(text)
    assert caught.value.position == position
    assert caught.value.path == ""
    assert str(caught.value).startswith(f"{position}: ")


def condition(conditions: Any) -> dict[str, Any]:
    return one({"Condition": conditions})


S = "Statement[0]"
C = f"{S}.Condition"


@pytest.mark.parametrize(
    ("policy", "position", "told"),
    [
        ([], "document", "is a list, not an object"),
        ("null", "document", "is null, not an object"),
        ({"Statements": [GOOD]}, "Statements", '"Statements" is not known here: Version, Id, Statement are'),
        ({"Version": "2012-10-17"}, "Statement", "is missing"),
        ({"Version": "2012-10-18", "Statement": [GOOD]}, "Version", "must be 2012-10-17 or 2008-10-17"),
        ({"Version": 2012, "Statement": [GOOD]}, "Version", "is a number, not a string"),
        ({"Id": None, "Statement": [GOOD]}, "Id", "is null, not a string"),
        ({"Statement": []}, "Statement", "is empty"),
        ({"Statement": "x"}, "Statement", "is a string, not an object"),
        ({"Statement": [GOOD, 5]}, "Statement[1]", "is a number, not an object"),
        ({"Statement": GOOD | {"Sid": "a b"}}, "Statement.Sid", "letters and digits"),
        (one({"Sid": "\u00e4"}), f"{S}.Sid", "letters and digits of ASCII"),
        ({"Statement": [GOOD | {"Sid": "A"}] * 2}, "Statement[1].Sid", 'another statement has the Sid "A"'),
        (one({"Effect": None}), f"{S}.Effect", "is missing"),
        (one({"Effect": "allow"}), f"{S}.Effect", "must be Allow or Deny"),
        (one({"Effect": ["Allow"]}), f"{S}.Effect", "is a list, not a string"),
        (one({"Actions": "*"}), f"{S}.Actions", "not known here"),
        (one({"Action": None}), f"{S}.Action", "is missing, and there is no NotAction"),
        (one({"NotAction": "*"}), f"{S}.NotAction", "this or Action, not both"),
        (one({"Action": []}), f"{S}.Action", "is empty"),
        (one({"Action": {}}), f"{S}.Action", "is an object, not a string"),
        (one({"Action": ["a:b", 5]}), f"{S}.Action[1]", "is a number, not a string"),
        (one({"Action": ["*", "InvokeEndpoint"]}), f"{S}.Action[1]", "neither \\* nor vendor:Name"),
        (one({"Action": "*:Invoke"}), f"{S}.Action", "neither"),
        (one({"Action": "sagemaker:"}), f"{S}.Action", "neither"),
        (one({"Action": "sagemaker:a:b"}), f"{S}.Action", "neither"),
        (one({"Action": ""}), f"{S}.Action", "neither"),
        (one({"Resource": None}), f"{S}.Resource", "is missing, and there is no NotResource"),
        (one({"NotResource": "*"}), f"{S}.NotResource", "this or Resource, not both"),
        (one({"Resource": []}), f"{S}.Resource", "is empty"),
        (one({"Resource": "endpoint/x"}), f"{S}.Resource", "neither \\* nor an ARN"),
        (one({"Resource": ["*", "${aws:username}"]}), f"{S}.Resource[1]", "neither"),
        (one({"Resource": "arn:aws:s3:::${aws:username"}), f"{S}.Resource", "has no end"),
        (one({"Resource": "arn:aws:s3:::${}"}), f"{S}.Resource", "is no variable"),
        (one({"Resource": "arn:aws:s3:::${aws:usrname}"}), f"{S}.Resource", "did you mean aws:username"),
        (one({"Resource": "arn:aws:s3:::${aws:username, x}"}), f"{S}.Resource", "is no variable"),
        (one({"Resource": "arn:aws:s3:::${aws:TagKeys}"}), f"{S}.Resource", "may have several values"),
        (one({"Principal": "*"}), f"{S}.Principal", "policies of resources and roles"),
        (one({"NotPrincipal": "*"}), f"{S}.NotPrincipal", "policies of resources and roles"),
        (one({"Condition": []}), C, "is a list, not an object"),
        (condition({"StringLik": {HOST: "a"}}), f"{C}.StringLik", "did you mean StringLike"),
        (condition({"stringlike": {HOST: "a"}}), f"{C}.stringlike", "did you mean StringLike"),
        (condition({"ForAnyValue:StringLk": {HOST: "a"}}), f"{C}.ForAnyValue:StringLk", "mean ForAnyValue:StringLike"),
        (condition({"ForEachValue:Bool": {HOST: "a"}}), f"{C}.ForEachValue:Bool", "is no condition operator"),
        (
            condition({"ForAnyValue:ForAllValues:Bool": {}}),
            f"{C}.ForAnyValue:ForAllValues:Bool",
            "is no condition operator",
        ),
        (condition({"BoolIfExistsIfExists": {}}), f"{C}.BoolIfExistsIfExists", "is no condition operator"),
        (condition({"NullIfExists": {HOST: "true"}}), f"{C}.NullIfExists", "is no condition operator"),
        (condition({"ForAnyValue:Null": {HOST: "true"}}), f"{C}.ForAnyValue:Null", "is no condition operator"),
        (condition({"StringLike": "a"}), f"{C}.StringLike", "is a string, not an object"),
        (condition({"StringLike": {}}), f"{C}.StringLike", "is empty"),
        (condition({"StringLike": {"aws:UserNam": "a"}}), f"{C}.StringLike.aws:UserNam", "did you mean aws:username"),
        (condition({"StringLike": {"aws:RequestTag": "a"}}), f"{C}.StringLike.aws:RequestTag", "RequestTag/<tag key>"),
        (
            condition({"StringLike": {"aws:RequestTag/": "a"}}),
            f"{C}.StringLike.aws:RequestTag/",
            "no known condition key",
        ),
        (
            condition({"StringLike": {"aws:username": "a", "AWS:username": "b"}}),
            f"{C}.StringLike.AWS:username",
            "in another case",
        ),
        (condition({"StringLike": {HOST: []}}), f"{C}.StringLike.{HOST}", "is empty"),
        (condition({"StringLike": {HOST: None}}), f"{C}.StringLike.{HOST}", "is null, not a string"),
        (condition({"StringLike": {HOST: ["a", ["b"]]}}), f"{C}.StringLike.{HOST}[1]", "is a list"),
        (condition({"StringLike": {HOST: {"a": "b"}}}), f"{C}.StringLike.{HOST}", "is an object"),
        (condition({"StringLike": {HOST: "${x}"}}), f"{C}.StringLike.{HOST}", "no known condition key"),
        (
            condition({"NumericLessThan": {"aws:EpochTime": ["1", "abc"]}}),
            f"{C}.NumericLessThan.aws:EpochTime[1]",
            '"abc" is not a number',
        ),
        (condition({"NumericEquals": {HOST: "0x10"}}), f"{C}.NumericEquals.{HOST}", "is not a number"),
        (condition({"NumericEquals": {HOST: "1e999"}}), f"{C}.NumericEquals.{HOST}", "is not a number"),
        (
            condition({"IpAddress": {"aws:SourceIp": "300.1.1.1/8"}}),
            f"{C}.IpAddress.aws:SourceIp",
            "IP address or a range",
        ),
        (
            condition({"IpAddress": {"aws:SourceIp": "10.0.0.0/33"}}),
            f"{C}.IpAddress.aws:SourceIp",
            "IP address or a range",
        ),
        (
            condition({"NotIpAddress": {"aws:SourceIp": "10.*"}}),
            f"{C}.NotIpAddress.aws:SourceIp",
            "IP address or a range",
        ),
        (
            condition({"Bool": {"aws:SecureTransport": "maybe"}}),
            f"{C}.Bool.aws:SecureTransport",
            "is not true or false",
        ),
        (condition({"Null": {HOST: 1}}), f"{C}.Null.{HOST}", "is not true or false"),
        (condition({"DateLessThan": {"aws:CurrentTime": "soon"}}), f"{C}.DateLessThan.aws:CurrentTime", "ISO 8601"),
        (condition({"DateEquals": {"aws:CurrentTime": "2026-02-30"}}), f"{C}.DateEquals.aws:CurrentTime", "ISO 8601"),
        (condition({"BinaryEquals": {HOST: "a"}}), f"{C}.BinaryEquals.{HOST}", "is not base64"),
        (condition({"ArnLike": {"aws:PrincipalArn": "arn:aws:iam"}}), f"{C}.ArnLike.aws:PrincipalArn", "six parts"),
        (
            condition({"IpAddress": {"aws:SecureTransport": "10.0.0.0/8"}}),
            f"{C}.IpAddress.aws:SecureTransport",
            "can never match aws:SecureTransport, which is a boolean",
        ),
    ],
)
def test_a_wrong_element_is_refused_with_its_path(policy: Any, position: str, told: str) -> None:
    """Each kind of mistake in an identity policy; the error also has line and column."""
    text = policy if isinstance(policy, str) else json.dumps(policy, indent=1)
    with pytest.raises(PolicyError, match=told) as caught:
        parse(text)
    assert caught.value.position == position
    assert isinstance(caught.value, PolyportError)
    name = position.rpartition(".")[2]
    if "[" not in name and name != "document" and "missing" not in told:
        assert name in text.splitlines()[caught.value.line - 1]


@pytest.mark.parametrize(
    ("kind", "policy", "position", "told"),
    [
        (Kind.SESSION, one({"Principal": "*"}), f"{S}.Principal", "policies of resources and roles"),
        (Kind.RESOURCE, one({}), f"{S}.Principal", "is missing, and there is no NotPrincipal"),
        (Kind.RESOURCE, one({"Principal": "*", "Resource": None}), f"{S}.Resource", "is missing"),
        (
            Kind.RESOURCE,
            one({"Principal": "*", "NotPrincipal": "*"}),
            f"{S}.NotPrincipal",
            "this or Principal, not both",
        ),
        (Kind.RESOURCE, one({"Principal": "111111111111"}), f"{S}.Principal", 'must be "\\*" or an object'),
        (Kind.RESOURCE, one({"Principal": []}), f"{S}.Principal", "is a list, not an object"),
        (Kind.RESOURCE, one({"Principal": {}}), f"{S}.Principal", "is empty"),
        (Kind.RESOURCE, one({"Principal": {"Federated": "x"}}), f"{S}.Principal.Federated", "AWS, Service are"),
        (Kind.RESOURCE, one({"Principal": {"AWS": []}}), f"{S}.Principal.AWS", "is empty"),
        (Kind.RESOURCE, one({"Principal": {"AWS": ["*", "x"]}}), f"{S}.Principal.AWS[1]", '"x" is neither'),
        (Kind.RESOURCE, one({"Principal": {"AWS": "arn:aws:iam::1:root"}}), f"{S}.Principal.AWS", "is neither"),
        (
            Kind.RESOURCE,
            one({"Principal": {"AWS": "arn:aws:iam::111111111111:user/*"}}),
            f"{S}.Principal.AWS",
            "neither",
        ),
        (
            Kind.RESOURCE,
            one({"Principal": {"AWS": "arn:aws:iam::111111111111:role/*/r"}}),
            f"{S}.Principal.AWS",
            "neither",
        ),
        (Kind.RESOURCE, one({"Principal": {"Service": "sagemaker"}}), f"{S}.Principal.Service", "is no service"),
        (Kind.TRUST, one({"Principal": None}, TRUST), f"{S}.Principal", "is missing"),
        (Kind.TRUST, one({"Principal": None, "NotPrincipal": "*"}, TRUST), f"{S}.NotPrincipal", "with Principal"),
        (Kind.TRUST, one({"Resource": "*"}, TRUST), f"{S}.Resource", "it is the role's"),
        (Kind.TRUST, one({"NotResource": "*"}, TRUST), f"{S}.NotResource", "it is the role's"),
        (Kind.TRUST, one({"Action": "sagemaker:*"}, TRUST), f"{S}.Action", "about sts: actions"),
        (Kind.TRUST, one({"Action": ["sts:*", "*"]}, TRUST), f"{S}.Action[1]", "about sts: actions"),
    ],
)
def test_each_kind_of_policy_has_elements_of_its_own(kind: Kind, policy: Any, position: str, told: str) -> None:
    """Principals in resource and trust policies, resources in all but trust policies."""
    with pytest.raises(PolicyError, match=told) as caught:
        parse(policy, kind)
    assert caught.value.position == position


def test_a_resource_policy_is_ascii() -> None:
    """`PutEndpointPolicy` takes nothing else, not even in an Id."""
    text = json.dumps({"Id": "\u00e4", "Statement": [GOOD | {"Principal": "*"}]}, ensure_ascii=False)
    with pytest.raises(PolicyError, match="only ASCII") as caught:
        parse(text, Kind.RESOURCE)
    assert caught.value.position == "line 1, column 9"


def test_line_and_column_are_those_of_the_member() -> None:
    """For editors: where the name of the wrong element begins."""
    text = json.dumps(condition({"StringLike": {HOST: "a"}, "StringLik": {HOST: "a"}}), indent=2)
    with pytest.raises(PolicyError) as caught:
        parse(text)
    line = text.splitlines()[caught.value.line - 1]
    assert line[caught.value.column - 1 :].startswith('"StringLik"')
    assert str(caught.value).startswith(f"{C}.StringLik (line {caught.value.line}, column {caught.value.column}): ")


def test_a_message_does_not_repeat_a_long_text() -> None:
    """What is shown of the author's text is short."""
    for policy in (
        one({"Action": "x" * 9000}),
        condition({"x" * 9000: {}}),
        {"x" * 9000: 1},
        '{"' + "x" * 9000 + '" 1}',
    ):
        with pytest.raises(PolicyError) as caught:
            parse(policy)
        assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    "text",
    [
        '{"a":' * 4000,
        '"' + "\\" * 20_000,
        '{"Statement":[' + "{}," * 6000 + "{}]}",
        json.dumps(one({"Resource": "arn:" + "${" * 9000})),
        json.dumps(one({"Resource": "arn:" + "${aws:username}" * 1300}) | {"Version": "2012-10-17"}),
        json.dumps(one({"Principal": {"AWS": "arn:aws:iam::111111111111:user/" + "/" * 19_000}})),
        json.dumps(one({"Action": "a" * 19_000 + "!"})),
        json.dumps(condition({"NumericEquals": {HOST: "1" * 19_000}})),
        json.dumps(condition({"IpAddress": {"aws:SourceIp": ":" * 19_000}})),
    ],
)
def test_a_hostile_text_is_refused_or_taken_soon(text: str) -> None:
    """Deep, long, full of what a regular expression could backtrack over."""
    began = time.process_time()
    for kind in Kind:
        with contextlib.suppress(PolicyError):
            parse(text, kind)
    assert time.process_time() - began < 0.5
