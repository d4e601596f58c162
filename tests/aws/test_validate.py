"""Constraints of the model: the valid passes, each single mistake is named in AWS's words."""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.model import Shape
from hypothesis import HealthCheck, Phase, given, settings

from aws.shapes import SERVED, held, operation, sites, values
from polyport.aws import parse, patterns, service, validate
from polyport.errors import ApiError

FAILED = "failed to satisfy constraint:"


def found(name: str, request: dict[str, Any]) -> str:
    parsed = parse.parse_json(operation(name), json.dumps(request).encode())
    with pytest.raises(ApiError) as caught:
        validate.validate(operation(name), parsed)
    assert (caught.value.code, caught.value.status) == ("ValidationException", 400)
    return caught.value.message


def test_a_long_bad_name_gives_two_violations_as_seen_in_the_field() -> None:
    """Reference 1.3: length before pattern, joined by a semicolon, count and plural agree, pattern with ``^``."""
    name = "_" * 64
    assert found("DescribeModel", {"ModelName": name}) == (
        f"2 validation errors detected: Value '{name}' at 'modelName' {FAILED} "
        f"Member must have length less than or equal to 63; Value '{name}' at 'modelName' {FAILED} "
        "Member must satisfy regular expression pattern: ^[a-zA-Z0-9]([\\-a-zA-Z0-9]*[a-zA-Z0-9])?"
    )


def test_a_missing_member_is_null() -> None:
    """Reference 1.3: ``Value null at``; one violation is singular."""
    assert found("DeleteModel", {}) == (
        f"1 validation error detected: Value null at 'modelName' {FAILED} Member must not be null"
    )


def test_elements_of_lists_count_from_one_and_enums_list_their_values() -> None:
    """Reference 1.3: ``productionVariants.1.member.instanceType``."""
    config = {"EndpointConfigName": "c", "ProductionVariants": [{"VariantName": "v", "RoutingConfig": {}}]}
    assert found("CreateEndpointConfig", config) == (
        "1 validation error detected: Value null at "
        f"'productionVariants.1.member.routingConfig.routingStrategy' {FAILED} Member must not be null"
    )
    config["ProductionVariants"][0]["RoutingConfig"] = {"RoutingStrategy": "LUCK"}  # type: ignore[index]
    assert found("CreateEndpointConfig", config) == (
        "1 validation error detected: Value 'LUCK' at "
        f"'productionVariants.1.member.routingConfig.routingStrategy' {FAILED} "
        "Member must satisfy enum value set: [LEAST_OUTSTANDING_REQUESTS, RANDOM, PREFIX_AWARE, KV_AWARE]"
    )


def test_bad_map_keys_and_values_are_told_with_all_their_constraints() -> None:
    """The form seen for environments that are too long; only the entries that are wrong are shown."""
    environment = {"1A": "x", "GOOD": "x", "LONG": "y" * 1025}
    text = found("CreateModel", {"ModelName": "m", "PrimaryContainer": {"Environment": environment}})
    shown = ("{LONG=" + "y" * 1025)[:1024]
    assert text == (
        f"2 validation errors detected: Value '{{1A=x}}' at 'primaryContainer.environment' {FAILED} "
        "Map keys must satisfy constraint: [Member must have length less than or equal to 1024, "
        "Member must have length greater than or equal to 0, "
        "Member must satisfy regular expression pattern: ^[a-zA-Z_][a-zA-Z0-9_]*]; "
        f"Value '{shown}...' at 'primaryContainer.environment' {FAILED} "
        "Map value must satisfy constraint: [Member must have length less than or equal to 1024, "
        "Member must have length greater than or equal to 0, "
        "Member must satisfy regular expression pattern: ^[\\S\\s]*]"
    )


def test_bad_elements_of_a_list_of_texts_are_told_together() -> None:
    """A list of scalars is judged as one member, as AWS does."""
    vpc = {"SecurityGroupIds": ["sg-1", "sg 2", "sg!3"], "Subnets": ["s"]}
    assert found("CreateModel", {"ModelName": "m", "VpcConfig": vpc}) == (
        f"1 validation error detected: Value '[sg 2, sg!3]' at 'vpcConfig.securityGroupIds' {FAILED} "
        "Member must satisfy constraint: [Member must have length less than or equal to 32, "
        "Member must have length greater than or equal to 0, "
        "Member must satisfy regular expression pattern: ^[-0-9a-zA-Z]+]"
    )


def test_numbers_and_sizes_have_their_own_words() -> None:
    """Numbers have a value, texts, lists and maps a length."""
    assert found("ListModels", {"MaxResults": 0}) == (
        f"1 validation error detected: Value '0' at 'maxResults' {FAILED} "
        "Member must have value greater than or equal to 1"
    )
    config = {"EndpointConfigName": "c", "ProductionVariants": []}
    assert found("CreateEndpointConfig", config) == (
        f"1 validation error detected: Value '[]' at 'productionVariants' {FAILED} "
        "Member must have length greater than or equal to 1"
    )
    weights = {"EndpointName": "e", "DesiredWeightsAndCapacities": [{"VariantName": "v", "DesiredWeight": -0.5}]}
    assert found("UpdateEndpointWeightsAndCapacities", weights) == (
        "1 validation error detected: Value '-0.5' at 'desiredWeightsAndCapacities.1.member.desiredWeight' "
        f"{FAILED} Member must have value greater than or equal to 0"
    )


def test_structures_in_a_list_that_is_too_long_are_shown_as_java_shows_them() -> None:
    """The size of a list of structures: its start is shown, never a megabyte of it."""
    tags = [{"Key": f"k{n}", "Value": "v"} for n in range(51)]
    text = found("CreateModel", {"ModelName": "m", "Tags": tags})
    assert text.startswith("1 validation error detected: Value '[{Key=k0, Value=v}, {Key=k1, Value=v}, ")
    assert text.endswith(f"' at 'tags' {FAILED} Member must have length less than or equal to 50")
    assert len(text) < 1300


def test_null_in_a_list_or_map_is_a_violation() -> None:
    """JSON can hold what the model cannot."""
    model = {"ModelName": "m", "Containers": [None], "VpcConfig": {"Subnets": ["s"], "SecurityGroupIds": [None]}}
    assert "Value null at 'containers.1.member'" in found("CreateModel", model)
    assert "Value null at 'vpcConfig.securityGroupIds.1.member'" in found("CreateModel", model)
    environment = {"ModelName": "m", "PrimaryContainer": {"Environment": {"A": None}}}
    assert "Value null at 'primaryContainer.environment.A.member'" in found("CreateModel", environment)


def test_sensitive_values_are_not_echoed() -> None:
    """AWS writes ``Value at`` for what the model calls sensitive."""
    shape = service.load("sagemaker-runtime").model.shape_for("CustomAttributesHeader")
    assert validate.violations(shape, "x" * 1025, "customAttributes") == [
        f"Value at 'customAttributes' {FAILED} Member must have length less than or equal to 1024"
    ]


def test_a_union_has_exactly_one_member() -> None:
    """Structures that the model marks as unions (none of the served operations has one yet)."""
    union = next(
        member
        for name in service.load("sagemaker").model.shape_names
        if (member := service.load("sagemaker").model.shape_for(name)).type_name == "structure"
        and member.is_tagged_union
        and len(member.members) > 1
    )
    text = f"Value '{{}}' at 'u' {FAILED} Member must have exactly one of its members set"
    assert text in validate.violations(union, {}, "u")


def test_a_file_url_is_accepted_for_model_data_and_nothing_else_is() -> None:
    """The one place where Polyport's API is wider than SageMaker's."""
    for url in ("s3://bucket/key", "https://host/key", "file:///srv/model.tar.gz"):
        model = {"ModelName": "m", "PrimaryContainer": {"ModelDataUrl": url}}
        validate.validate(operation("CreateModel"), model)
    source = {"S3Uri": "file:///srv/model/", "S3DataType": "S3Prefix", "CompressionType": "None"}
    model = {"ModelName": "m", "PrimaryContainer": {"ModelDataSource": {"S3DataSource": source}}}
    validate.validate(operation("CreateModel"), model)
    for url in ("http://host/key", "file://host/key", "/srv/model", "file:///" + "x" * 1024):
        text = found("CreateModel", {"ModelName": "m", "PrimaryContainer": {"ModelDataUrl": url}})
        assert "'primaryContainer.modelDataUrl'" in text


def test_a_huge_text_is_refused_for_its_length_without_trying_its_pattern() -> None:
    """A megabyte that a pattern would backtrack over costs nothing."""
    text = found("DescribeModel", {"ModelName": "-" * 1_000_000})
    assert "length less than or equal to 63" in text
    assert "pattern" not in text


@pytest.mark.parametrize(
    ("name", "request_body", "told"),
    [
        ("UpdateEndpointWeightsAndCapacities", {"DesiredWeightsAndCapacities": [{}] * 100_000}, "50 validation errors"),
        ("CreateModel", {"Containers": [{"Mode": "x"}] * 50_000}, "2 validation errors"),
        ("CreateModel", {"ModelName": "m", "VpcConfig": {"Subnets": ["!"] * 100_000}}, "2 validation errors"),
        ("DeleteTags", {"ResourceArn": "x", "TagKeys": ["\u00e4" * 200] * 5_000}, "2 validation errors"),
        ("CreateModel", {"PrimaryContainer": {"Environment": {"!" * 900_000: "x"}}}, "2 validation errors"),
    ],
)
def test_a_hostile_request_gets_a_short_answer_soon(name: str, request_body: dict[str, Any], told: str) -> None:
    """A megabyte of mistakes is not told back, and costs well below a second."""
    parsed = parse.parse_json(operation(name), json.dumps(request_body).encode())
    began = time.process_time()
    with pytest.raises(ApiError, match=told) as caught:
        validate.validate(operation(name), parsed)
    assert time.process_time() - began < 1.0
    assert len(caught.value.message) < 20_000


def mutations(shape: Shape, value: Any) -> Iterator[tuple[Any, str]]:
    """Each way to break one constraint of a value of that shape: the broken value and AWS's words for it."""
    kind = "value" if shape.type_name in ("integer", "long", "float") else "length"
    least, most = shape.metadata.get("min"), shape.metadata.get("max")
    if most is not None and (broken := resized(shape, value, most + 1)):
        yield broken, f"Member must have {kind} less than or equal to {most}"
    if least is not None and (kind == "value" or least > 0):
        yield resized(shape, value, least - 1), f"Member must have {kind} greater than or equal to {least}"
    if "enum" in shape.metadata:
        yield "no-such", f"Member must satisfy enum value set: [{', '.join(shape.metadata['enum'])}]"
    pattern = shape.metadata.get("pattern")
    if pattern is not None:
        unfit = [text for text in ("\n" * max(least or 0, 1), "!") if not patterns.fits(pattern, text)]
        if unfit:
            yield unfit[0], f"Member must satisfy regular expression pattern: ^{pattern}"


def resized(shape: Shape, value: Any, size: int) -> Any:
    match shape.type_name:
        case "integer" | "long" | "float":
            return size
        case "list":
            return [value[0]] * size if value else None
        case "map":
            return {f"K{n}": next(iter(value.values())) for n in range(size)} if value else None
        case _:
            return (value or "a")[:1] * size


@pytest.mark.parametrize("name", SERVED)
def test_every_single_mistake_is_found_where_it_is(name: str) -> None:
    """In a request with every member: none is refused; each one broken in turn is named with its path, and alone."""
    shape = operation(name).input_shape
    tried = 0

    @settings(max_examples=1, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
    @given(values(shape, full=True))
    def check(arguments: dict[str, Any]) -> None:
        nonlocal tried
        request = held(arguments)
        assert validate.violations(shape, request) == []
        for owner, structure, member, path in list(sites(shape, request)):
            for text in each_broken(owner, structure, member):
                messages = validate.violations(shape, request)
                assert any(f"at '{path}' {FAILED} {text}" in message for message in messages), (text, messages)
                assert all(f"at '{path}" in message for message in messages)
                tried += 1
        assert validate.violations(shape, request) == []

    check()
    assert tried > 0


def each_broken(owner: Shape, structure: dict[str, Any], member: str) -> Iterator[str]:
    """Breaks the member in each way that it can be, yields AWS's words for it, and repairs it afterwards."""
    valid = structure[member]
    for broken, text in mutations(owner.members[member], valid):
        structure[member] = broken
        yield text
    if member in owner.required_members:
        del structure[member]
        yield "Member must not be null"
    structure[member] = valid
