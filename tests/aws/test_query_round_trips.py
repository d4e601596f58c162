"""botocore is the oracle of the query protocol: for every operation of services that speak it, both ways."""

from typing import Any

import pytest
from botocore.awsrequest import AWSRequest
from botocore.model import OperationModel
from botocore.parsers import create_parser
from botocore.serialize import create_serializer
from hypothesis import HealthCheck, given, settings

from aws.made import of_made
from aws.shapes import held, operation, values
from polyport.aws import query, service, validate
from polyport.aws.wire import Response

QUICK = settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
#: All of what Polyport serves or will, and what has names, maps, flags and lists that those have not.
OPERATIONS = [(name, each) for name in ("sts", "cloudwatch") for each in service.load(name).model.operation_names]
OPERATIONS += [("sns", "CreatePlatformApplication"), ("sns", "GetTopicAttributes"), ("iam", "SimulateCustomPolicy")]
OPERATIONS += [("rds", "CreateDBInstance"), ("rds", "DescribeDBInstances")]
OPERATIONS += [("elb", "DescribeLoadBalancers"), ("ses", "SendRawEmail"), ("sns", "ListTagsForResource")]


def body_of(described: OperationModel, arguments: dict[str, Any]) -> bytes:
    """The form that botocore sends: the protocol is forced, as for clients that still speak it to CloudWatch."""
    sent = create_serializer("query").serialize_to_request(arguments, described)
    prepared = AWSRequest("POST", "http://127.0.0.1/", sent["headers"], sent["body"]).prepare()
    body = prepared.body
    return body if isinstance(body, bytes) else body.encode()


def sendable(value: Any) -> Any:
    """What the protocol can carry of a value, ``None`` when nothing: an empty structure or map is no parameter."""
    if isinstance(value, dict):
        members = {name: sendable(inner) for name, inner in value.items()}
        return {name: inner for name, inner in members.items() if inner is not None} or None
    if isinstance(value, list) and value:
        return [inner for inner in map(sendable, value) if inner is not None] or None
    return value


def check_request(described: OperationModel, valid: bool = True) -> None:
    @QUICK
    @given(values(described.input_shape))
    def check(arguments: dict[str, Any]) -> None:
        request = query.parse_query(described, body_of(described, arguments))
        assert request == (sendable(held(arguments)) or {})
        if valid and request == held(arguments):
            validate.validate(described, request)

    check()


def parsed(described: OperationModel, response: Response) -> Any:
    headers = {name.decode().lower(): value.decode() for name, value in response.headers}
    assert headers["content-type"] == "text/xml"
    parts = {"status_code": response.status, "headers": headers, "body": response.body}
    return create_parser("query").parse(parts, described.output_shape)


def readable(value: Any) -> Any:
    """What XML 1.0 can hold of a value's texts."""
    if isinstance(value, str):
        return "".join(
            each if each in "\t\n\r" or (each >= " " and each not in "\ufffe\uffff") else "\ufffd" for each in value
        )
    if isinstance(value, dict):
        return {readable(name): readable(inner) for name, inner in value.items()}
    return [readable(inner) for inner in value] if isinstance(value, list) else value


def check_answer(described: OperationModel) -> None:
    @QUICK
    @given(values(described.output_shape))
    def check(answer: dict[str, Any]) -> None:
        found = parsed(described, query.render_query(described, held(answer), "id-1"))
        assert found.pop("ResponseMetadata")["RequestId"] == "id-1"
        assert held(found) == readable(held(answer))

    check()


@pytest.mark.parametrize(("name", "each"), OPERATIONS)
def test_what_botocore_serializes_is_parsed_back(name: str, each: str) -> None:
    """For generated arguments, botocore's form parses to equal members, and they are valid."""
    described = operation(each, name)
    if described.input_shape is None:
        assert query.parse_query(described, body_of(described, {})) == {}
    else:
        check_request(described)


@pytest.mark.parametrize(("name", "each"), OPERATIONS)
def test_what_is_rendered_botocore_parses_back(name: str, each: str) -> None:
    """For generated answers, botocore reads equal members and the request id from our XML."""
    described = operation(each, name)
    if described.output_shape is None:
        response = query.render_query(described, None, "id-1")
        assert parsed(described, response)["ResponseMetadata"]["RequestId"] == "id-1"
    else:
        check_answer(described)


def test_all_that_the_protocol_has_goes_both_ways() -> None:
    """Flattened lists and maps, names of members, entries, keys and values, every scalar."""
    check_request(of_made("Do"), valid=False)


@pytest.mark.parametrize("name", ["Do", "Bare"])
def test_all_that_xml_has_goes_back(name: str) -> None:
    """The same, with and without a wrapper around the result; an empty flattened list or map leaves no trace."""
    described = of_made(name)

    @QUICK
    @given(values(described.output_shape))
    def check(answer: dict[str, Any]) -> None:
        found = parsed(described, query.render_query(described, held(answer), "id-1"))
        assert found.pop("ResponseMetadata")["RequestId"] == "id-1"
        assert held(found) == readable(without_flat_empties(held(answer)))

    check()


def without_flat_empties(answer: dict[str, Any]) -> dict[str, Any]:
    flat = {"Flat", "FlatNamed", "FlatMap", "FlatMapNamed", "Below", "Pairs"}
    return {
        name: without_flat_empties(inner) if name == "Deep" else inner
        for name, inner in answer.items()
        if inner or name not in flat
    }


@pytest.mark.parametrize("flag", ["FlatNamed", "Flat", "Named", "FlatMap", "Map"])
def test_an_empty_list_is_not_an_absent_one(flag: str) -> None:
    """Clients send an empty value for a list that has nothing in it; AWS tells it from one that was not sent."""
    described = of_made("Do")
    if flag.endswith("Map"):
        assert query.parse_query(described, f"Action=Do&Version=2020-01-01&{flag}=".encode()) == {flag: {}}
    else:
        assert query.parse_query(described, body_of(described, {flag: []})) == {flag: []}
