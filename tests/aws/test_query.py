"""The query protocol's requests: every bad one is refused with a code and a sentence that says where."""

import contextlib
import datetime
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aws.made import of_made
from aws.shapes import operation
from polyport.aws import moments, protocols, query, validate, wire
from polyport.aws.dispatch import Call
from polyport.errors import ApiError

IDENTITY = b"Action=GetCallerIdentity&Version=2011-06-15"


def parse(name: str, of: str = "cloudwatch", /, **parameters: str) -> dict[str, Any]:
    """A call with parameters; ``__`` in their names stands for the dot."""
    version = "2011-06-15" if of == "sts" else "2010-08-01"
    given = {key.replace("__", "."): value for key, value in parameters.items()}
    body = urlencode({"Action": name, "Version": version, **given}).encode()
    return query.parse_query(operation(name, of), body)


def refused(name: str, of: str = "cloudwatch", /, **parameters: str) -> ApiError:
    with pytest.raises(ApiError) as caught:
        parse(name, of, **parameters)
    assert len(caught.value.message) < 1500
    return caught.value


def test_a_call_reads_as_people_write_it() -> None:
    """Structures, lists of structures, numbers, flags and moments, in any order."""
    assert parse(
        "PutMetricData",
        Namespace="Demo",
        MetricData__member__1__MetricName="Calls",
        MetricData__member__1__Dimensions__member__1__Name="Endpoint",
        MetricData__member__1__Dimensions__member__1__Value="e & f",
        MetricData__member__1__Value="-1.5e3",
        MetricData__member__1__Timestamp="2024-01-01T00:00:00.250Z",
        MetricData__member__1__StorageResolution="60",
        StrictEntityValidation="false",
    ) == {
        "Namespace": "Demo",
        "StrictEntityValidation": False,
        "MetricData": [
            {
                "MetricName": "Calls",
                "Dimensions": [{"Name": "Endpoint", "Value": "e & f"}],
                "Value": -1500.0,
                "Timestamp": 1704067200.25,
                "StorageResolution": 60,
            }
        ],
    }


@pytest.mark.parametrize(
    ("form", "code", "message"),
    [
        (b"", "MissingAction", "must have the parameter Action"),
        (b"Version=2011-06-15", "MissingAction", "must have the parameter Action"),
        (b"Action=AssumeRole&Version=2011-06-15", "InvalidAction", "operation AssumeRole for version 2011-06-15"),
        (b"Action=GetCallerIdentity&Version=2010-08-01", "InvalidAction", "for version 2010-08-01"),
        (b"Action=GetCallerIdentity", "InvalidAction", "for no version: GetCallerIdentity is of version 2011-06-15"),
        (b"Action.x=1&Version=2011-06-15", "InvalidAction", "operation Action for"),
        (b"Action=GetCallerIdentity&Version.x=1", "InvalidAction", "for no version"),
        (IDENTITY + b"&Version=2011-06-15", "MalformedQueryString", "Version is given more than once"),
        (IDENTITY + b"&Action=AssumeRole", "MalformedQueryString", "Action is given more than once"),
        (IDENTITY + b"&%zz=1", "MalformedQueryString", "percent sign"),
        (IDENTITY + b"&Colour=red", "ValidationError", "1 unknown member in GetCallerIdentity: 'Colour'"),
        (IDENTITY + b"&X-Amz-Date=1", "ValidationError", "'X-Amz-Date'"),
    ],
)
def test_action_and_version_must_be_those_of_the_operation(form: bytes, code: str, message: str) -> None:
    """Once each; a version that a service does not have has none of its operations."""
    with pytest.raises(ApiError) as caught:
        query.parse_query(operation("GetCallerIdentity", "sts"), form)
    assert caught.value.code == code
    assert message in caught.value.message


def test_unknown_members_are_refused_all_at_once_with_a_suggestion() -> None:
    """As in JSON: at every depth, in lists and in entries."""
    error = refused("PutMetricData", Namespac="d", MetricData__member__1__Valeu="1", MetricData__membre__1="x", Q="1")
    assert (error.code, error.status) == ("ValidationError", 400)
    assert error.message == (
        "4 unknown members in PutMetricData: 'Namespac' (did you mean 'Namespace'?); "
        "'membre' at 'metricData' (did you mean 'member'?); "
        "'Valeu' at 'metricData.1.member' (did you mean 'Value'?); 'Q'"
    )
    with pytest.raises(ApiError, match=r"'Sin' at 'map\.a\.member'"):
        query.parse_query(of_made("Do"), b"Action=Do&Version=2020-01-01&Map.entry.1.Wort=a&Map.entry.1.Sin.1=2")
    with pytest.raises(ApiError, match="1 unknown member in Bare: 'Flat'"):
        query.parse_query(of_made("Bare"), b"Action=Bare&Version=2020-01-01&Flat.1=x")


def test_a_message_about_unknown_members_stays_short() -> None:
    """A hostile form cannot make the answer as large as itself."""
    error = refused("DeleteAlarms", **{f"{'x' * 300}{n}": "1" for n in range(5000)})
    assert error.message.endswith("; and 4990 more")


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({"MetricData": "x"}, "A value in place of a List at 'metricData'"),
        ({"MetricData__member": "x"}, "A value in place of an index at 'metricData'"),
        ({"MetricData__member__1": "x"}, "A value in place of a Structure at 'metricData.1.member'"),
        ({"Namespace__x": "x"}, "Further names in place of a String at 'namespace'"),
        ({"StrictEntityValidation": "1"}, "converted to a Boolean at 'strictEntityValidation'"),
        ({"StrictEntityValidation": ""}, "converted to a Boolean"),
    ],
)
def test_a_wrong_structure_is_malformed_input_that_says_where(parameters: dict[str, str], text: str) -> None:
    """What was wanted, and the path in AWS's notation."""
    error = refused("PutMetricData", **parameters)
    assert (error.code, error.status) == ("MalformedInput", 400)
    assert text in error.message


@pytest.mark.parametrize(
    ("member", "value", "text"),
    [
        ("StorageResolution", "5.0", "converted to an Integer at 'metricData.1.member.storageResolution'"),
        ("StorageResolution", "", "converted to an Integer"),
        ("StorageResolution", "+5", "converted to an Integer"),
        ("StorageResolution", " 5", "converted to an Integer"),
        ("StorageResolution", "\u0665", "converted to an Integer"),
        ("StorageResolution", "9" * 100_000, "converted to an Integer"),
        ("StorageResolution", str(2**31), "A number out of the range of an Integer"),
        ("Value", "1_0", "converted to a Double at 'metricData.1.member.value'"),
        ("Value", "0x10", "converted to a Double"),
        ("Value", "NaN", "converted to a Double"),
        ("Value", "1" * 100_000, "converted to a Double"),
        ("Value", "1e999", "A number out of range at 'metricData.1.member.value'"),
        ("Timestamp", "noon", "converted to a Timestamp at 'metricData.1.member.timestamp'"),
        ("Timestamp", "2024-02-30", "converted to a Timestamp"),
        ("Timestamp", "0001-01-01T00:00:00+23:00", "out of the range of a Timestamp"),
        ("Timestamp", "1e300", "out of the range of a Timestamp"),
        ("Timestamp", "1e999", "out of the range of a Timestamp"),
    ],
)
def test_a_scalar_of_the_wrong_type_is_malformed_input(member: str, value: str, text: str) -> None:
    """Python's own readers take more than AWS does; nothing of the value is repeated."""
    error = refused("PutMetricData", **{f"MetricData__member__1__{member}": value})
    assert (error.code, error.status) == ("MalformedInput", 400)
    assert text in error.message


@pytest.mark.parametrize(("sent", "value"), [(str(2**63 - 1), 2**63 - 1), (str(-(2**63)), -(2**63)), ("007", 7)])
def test_a_long_has_64_bits(sent: str, value: int) -> None:
    """And not one more."""
    described = of_made("Do")
    head = "Action=Do&Version=2020-01-01&Along="
    assert query.parse_query(described, f"{head}{sent}".encode()) == {"Along": value}
    with pytest.raises(ApiError, match="out of the range of a Long"):
        query.parse_query(described, f"{head}{2**63}".encode())


@pytest.mark.parametrize(
    ("sent", "seconds"),
    [
        ("1704067200.25", 1704067200.25),
        ("1704067200", 1704067200.0),
        ("-1", -1.0),
        ("2024-01-01T00:00:00Z", 1704067200.0),
        ("2024-01-01T02:00:00+02:00", 1704067200.0),
        ("2024-01-01", 1704067200.0),
    ],
)
def test_timestamps_are_iso_text_or_numbers(sent: str, seconds: float) -> None:
    """ISO 8601 is the protocol's form, epoch seconds are what people write."""
    body = f"Action=Do&Version=2020-01-01&Epoch={quote(sent)}".encode()
    assert query.parse_query(of_made("Do"), body) == {"Epoch": seconds}


@pytest.mark.parametrize("blob", ["a", "****", "YQ=", "\u00e4"])
def test_a_blob_is_strict_base64(blob: str) -> None:
    """As in JSON."""
    with pytest.raises(ApiError, match="base64 at 'ablob'"):
        query.parse_query(of_made("Do"), f"Action=Do&Version=2020-01-01&Ablob={quote(blob)}".encode())


def test_indexes_order_a_list_and_may_have_gaps() -> None:
    """botocore leaves a gap where an element has nothing to send."""
    names = {"AlarmNames__member__10": "c", "AlarmNames__member__9": "b", "AlarmNames__member__2": "a"}
    assert parse("DeleteAlarms", **names) == {"AlarmNames": ["a", "b", "c"]}


@pytest.mark.parametrize("index", ["0", "01", "-1", "x", "1e3", "9999999999", "\u0661", "1 "])
def test_an_index_is_a_whole_number_from_one_on(index: str) -> None:
    """Written in one way, so that no two are the same; however large, it costs nothing."""
    error = refused("DeleteAlarms", **{f"AlarmNames__member__{index}": "a"})
    assert error.code == "MalformedQueryString"
    assert "at 'alarmNames' is no index" in error.message
    assert parse("DeleteAlarms", AlarmNames__member__999999999="a") == {"AlarmNames": ["a"]}


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        ("Map.entry.1.Sinn.Zahl.1=1", "MalformedInput", "An entry without 'Wort' at 'map'"),
        ("Map.entry.1=x", "MalformedInput", "An entry without 'Wort' at 'map'"),
        ("Map.entry.1.Wort.x=x", "MalformedInput", "An entry without 'Wort' at 'map'"),
        ("Map.entry.1.Wort=a&Map.entry.2.Wort=a", "MalformedQueryString", "The key 'a' is given more than once at"),
        ("FlatMap.0.key=a", "MalformedQueryString", "no index"),
        ("FlatNamed=&Paar.1.Left=a", "MalformedQueryString", "given under two names"),
    ],
)
def test_maps_are_read_strictly(text: str, code: str, message: str) -> None:
    """An entry has a key, and a key one entry."""
    with pytest.raises(ApiError) as caught:
        query.parse_query(of_made("Do"), f"Action=Do&Version=2020-01-01&{text}".encode())
    assert caught.value.code == code
    assert message in caught.value.message


def test_an_entry_without_a_value_is_null_for_the_validator_to_refuse() -> None:
    """As a null in JSON."""
    described = of_made("Do")
    request = query.parse_query(described, b"Action=Do&Version=2020-01-01&FlatMap.1.key=a")
    assert request == {"FlatMap": {"a": None}}
    with pytest.raises(ApiError, match=r"Value null at 'flatMap\.a\.member'"):
        validate.validate(described, request)


def test_the_constraints_of_the_model_hold_in_this_protocol_too() -> None:
    """The validator's wording is AWS's in every protocol."""
    described = operation("AssumeRole", "sts")
    request = parse("AssumeRole", "sts", RoleArn="arn", DurationSeconds="5", Tags__member__1__Key="k")
    with pytest.raises(ApiError) as caught:
        validate.validate(described, request)
    assert caught.value.message.startswith("4 validation errors detected: ")
    assert "Value 'arn' at 'roleArn' failed to satisfy constraint: Member must have length" in caught.value.message
    assert "Value null at 'roleSessionName'" in caught.value.message
    assert "Value '5' at 'durationSeconds' failed to satisfy constraint: Member must have value" in caught.value.message
    assert "Value null at 'tags.1.member.value'" in caught.value.message


def head(method: str, query_string: str, content_type: str = "") -> wire.Head:
    return wire.head_of(method, "/", query_string, [(b"content-type", content_type.encode())] if content_type else [])


def test_parameters_may_be_in_the_url_without_those_that_sign_it() -> None:
    """A pre-signed URL; the body's parameters come on top, and none may be in both."""
    signed = "X-Amz-Credential=a%2Fb&x-amz-signature=s&" + IDENTITY.decode()
    assert query.parameters(head("GET", signed), b"") == [
        ("Action", "GetCallerIdentity"),
        ("Version", "2011-06-15"),
    ]
    both = query.parameters(head("POST", "Action=GetCallerIdentity", f"{query.CONTENT_TYPE}; charset=utf-8"), IDENTITY)
    with pytest.raises(ApiError, match="Action is given more than once"):
        query.parse_query(operation("GetCallerIdentity", "sts"), both)


@pytest.mark.parametrize("content_type", ["", "application/json", "multipart/form-data"])
def test_a_body_that_is_no_form_is_refused(content_type: str) -> None:
    """It is not dropped unseen beside an action in the URL."""
    with pytest.raises(ApiError, match=r"must be application/x-www-form-urlencoded") as caught:
        query.parameters(head("POST", IDENTITY.decode(), content_type), b"{}")
    assert caught.value.code == "MalformedQueryString"


NAMES = st.lists(
    st.sampled_from(["MetricData", "Namespace", "member", "1", "2", "Dimensions", "Value", "Values", "Timestamp", "x"]),
    min_size=1,
    max_size=7,
).map(".".join)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(NAMES, st.text(max_size=4) | st.sampled_from(["1", "", "NaN", "true"]), max_size=6))
def test_no_form_makes_the_parser_fail_otherwise(parameters: dict[str, str]) -> None:
    """Whatever the parameters, the result is members or an `ApiError`, and what is valid can be validated."""
    described = operation("PutMetricData", "cloudwatch")
    with contextlib.suppress(ApiError):
        request = query.parse_query(
            described, [("Action", "PutMetricData"), ("Version", "2010-08-01"), *parameters.items()]
        )
        validate.validate(described, request)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=80))
def test_no_bytes_make_the_parser_fail_otherwise(noise: bytes) -> None:
    """Alone, and behind a good beginning."""
    for body in (noise, IDENTITY + b"&" + noise, IDENTITY + noise):
        with contextlib.suppress(ApiError):
            assert query.parse_query(operation("GetCallerIdentity", "sts"), body) == {}


def test_an_answer_has_its_namespace_its_wrapper_and_its_request_id() -> None:
    """As AWS documents it; what is markup in a text is escaped, and what XML cannot hold is replaced."""
    answer = {"UserId": "<a&b>\x00\r\ud800", "Account": None, "Arn": "arn"}
    response = query.render_query(operation("GetCallerIdentity", "sts"), answer, "id-1")
    assert (response.status, dict(response.headers)) == (
        200,
        {b"Content-Type": b"text/xml", b"x-amzn-RequestId": b"id-1"},
    )
    assert response.body.decode() == (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">'
        "<GetCallerIdentityResult><UserId>&lt;a&amp;b&gt;\ufffd&#13;\ufffd</UserId><Arn>arn</Arn>"
        "</GetCallerIdentityResult><ResponseMetadata><RequestId>id-1</RequestId></ResponseMetadata>"
        "</GetCallerIdentityResponse>"
    )


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ({"Atimestamp": 1529870369.98649}, "<Atimestamp>2018-06-24T19:59:29.986Z</Atimestamp>"),
        ({"Atimestamp": 1529870369}, "<Atimestamp>2018-06-24T19:59:29Z</Atimestamp>"),
        ({"Atimestamp": -0.5}, "<Atimestamp>1969-12-31T23:59:59.500Z</Atimestamp>"),
        ({"Epoch": 1529870369.25}, "<Epoch>1529870369.25</Epoch>"),
        ({"Epoch": 1529870369.0}, "<Epoch>1529870369</Epoch>"),
        ({"Adouble": float("inf"), "Afloat": float("-inf")}, "<Adouble>Infinity</Adouble><Afloat>-Infinity</Afloat>"),
        ({"Adouble": float("nan"), "Aboolean": True}, "<Adouble>NaN</Adouble><Aboolean>true</Aboolean>"),
        (
            {"FlatNamed": [{"Left": "a"}, {"Right": 1.5}]},
            "<Paar><Left>a</Left></Paar><Paar><Rechts>1.5</Rechts></Paar>",
        ),
        ({"Named": []}, "<Nom></Nom>"),
        ({"Flat": []}, "<DoResult></DoResult>"),
    ],
)
def test_values_have_aws_forms(answer: dict[str, Any], text: str) -> None:
    """ISO 8601 with milliseconds where there are any, unless the shape says otherwise; the numbers that are none."""
    assert text in query.render_query(of_made("Do"), answer, "i").body.decode()


def test_a_timestamp_may_be_a_datetime() -> None:
    """As `render_json` takes it."""
    moment = datetime.datetime(2024, 1, 1, 2, tzinfo=datetime.timezone(datetime.timedelta(hours=2)))
    assert b"<Epoch>1704067200</Epoch>" in query.render_query(of_made("Do"), {"Epoch": moment}, "i").body


def test_an_unknown_member_of_an_answer_is_a_mistake_of_ours() -> None:
    """A member outside the output shape must never be sent."""
    described = operation("GetCallerIdentity", "sts")
    with pytest.raises(ValueError, match="no member 'Arm'"):
        query.render_query(described, {"Arm": "x"}, "i")
    with pytest.raises(TypeError, match="is a string"):
        query.render_query(described, {"Arn": 7}, "i")


@pytest.mark.parametrize(
    ("service", "protocol", "method", "served"),
    [
        ("sagemaker", "json", "POST", True),
        ("sagemaker", "json", "GET", False),
        ("sagemaker", "query", "POST", False),
        ("sts", "query", "POST", True),
        ("sts", "query", "GET", True),
        ("sts", "query", "PUT", False),
        ("sts", "json", "POST", False),
        ("monitoring", "query", "POST", True),
        ("monitoring", "json", "POST", True),
        ("logs", "json", "POST", True),
        ("s3", "rest-xml", "GET", False),
        ("iam", "query", "POST", False),
    ],
)
def test_a_service_is_served_in_the_protocols_that_it_speaks(
    service: str, protocol: str, method: str, served: bool
) -> None:
    """By the model; a JSON call is never a GET."""
    found = protocols.of(Call(service, protocol, "X", "X"), head(method, ""))
    assert found is (protocols.PROTOCOLS[protocol] if served else None)


def test_a_moment_has_a_text_in_each_of_the_models_forms() -> None:
    """RFC 822 has whole seconds."""
    assert moments.to_text(1529870369.986, "rfc822") == "Sun, 24 Jun 2018 19:59:29 GMT"
    assert moments.to_text(-62135596800, "iso8601") == "0001-01-01T00:00:00Z"
