"""Where a call goes: names, constraints, targets, variants, instances, and what is wrong in SageMaker's words."""

from collections import Counter
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.fakes import ACCOUNT, OK, Reply, World, direct, endpoint, instance, invoke, serial, single, variant
from polyport.errors import ApiError
from polyport.gateway.calls import members
from polyport.gateway.clients.request import Request
from polyport.gateway.containers import choice, routes

PATTERN = "Member must satisfy regular expression pattern: ^[a-zA-Z0-9](-*[a-zA-Z0-9])*"


@pytest.fixture(scope="module")
def world() -> World:
    made = World(
        single(),
        direct(),
        serial(),
        endpoint("empty", variant()),
        endpoint("ab", variant(instance("a", 41), name="a"), variant(instance("b", 42), name="b")),
    )
    made.publish(
        *(single(), direct(), serial()),
        endpoint("empty", variant()),
        endpoint("ab", variant(instance("a", 41), name="a"), variant(instance("b", 42), name="b")),
        endpoint("elsewhere", variant(instance("e", 51)), region="eu-west-1"),
        version=2,
        unavailable=((ACCOUNT, "us-east-1", "starting", "Creating"),),
    )
    return made


def fault(world: World, name: str, status: int = 400, code: str = "ValidationError", **options: Any) -> dict[str, Any]:
    """The error that an invocation gets; no container is asked."""
    waiting = sum(len(pool.users) for pool in world.pools.values())
    reply = Reply(world.call(invoke(name, **options)))
    assert (reply.status, reply.headers["x-amzn-errortype"]) == (status, code)
    assert sum(len(pool.users) for pool in world.pools.values()) == waiting
    return reply.error


def test_an_unknown_endpoint(world: World) -> None:
    """SageMaker's own text, for both operations."""
    text = f"Endpoint nobody of account {ACCOUNT} not found."
    assert fault(world, "nobody")["Message"] == text
    assert fault(world, "nobody", operation="invocations-response-stream")["Message"] == text


def test_names_are_case_sensitive(world: World) -> None:
    """As stored."""
    assert fault(world, "Single")["Message"] == f"Endpoint Single of account {ACCOUNT} not found."


def test_an_endpoint_that_is_not_in_service_says_its_status(world: World) -> None:
    """It exists, and the caller learns why it cannot be invoked."""
    error = fault(world, "starting")
    assert error["Message"] == (
        f"Endpoint starting of account {ACCOUNT} cannot be invoked: its status is Creating, not InService."
    )


def test_an_endpoint_without_a_healthy_instance_is_unavailable(world: World) -> None:
    """503: SDKs try again."""
    assert "empty" in fault(world, "empty", 503, "ServiceUnavailable")["Message"]


@pytest.mark.parametrize("name", ["bad_name", "-a", "a" * 64, "a%20b", "a%2Fb", "%00", "%ff", "a--", "%C3%A4"])
def test_an_endpoint_name_must_be_one(world: World, name: str) -> None:
    """Decoded, then checked by the service model's constraints, in AWS's wording."""
    message = fault(world, name)["Message"]
    assert "at 'endpointName' failed to satisfy constraint: " in message
    assert message.startswith("1 validation error detected: Value '")


def test_the_empty_name_is_no_name(world: World) -> None:
    """``/endpoints//invocations``."""
    assert fault(world, "")["Message"] == (
        f"1 validation error detected: Value '' at 'endpointName' failed to satisfy constraint: {PATTERN}"
    )


HEADERS = {
    "X_Amzn_SageMaker_Target_Variant": ("targetVariant", ["-a", "a_b", "a" * 64]),
    "X_Amzn_SageMaker_Target_Container_Hostname": ("targetContainerHostname", ["a b", "a" * 64, "-"]),
    "X_Amzn_SageMaker_Target_Model": ("targetModel", ["a" * 1025]),
    "X_Amzn_SageMaker_Inference_Id": ("inferenceId", ["a" * 65, "a\tb"]),
    "X_Amzn_SageMaker_Inference_Component": ("inferenceComponentName", ["a_b", "a" * 64]),
    "X_Amzn_SageMaker_Session_Id": ("sessionId", ["NEW SESSION", "a" * 257]),
    "X_Amzn_SageMaker_Prefix_Aware_Id": ("prefixAwareId", ["a" * 65]),
    "X_Amzn_SageMaker_Enable_Explanations": ("enableExplanations", ["a" * 65]),
    "Content_Type": ("contentType", ["a" * 1025, "text/ä"]),
    "Accept": ("accept", ["a" * 1025, "ü/*"]),
}


@pytest.mark.parametrize(("header", "value"), [(h, v) for h, (_, values) in HEADERS.items() for v in values])
def test_every_header_is_held_to_the_model_s_constraints(world: World, header: str, value: str) -> None:
    """Length and pattern, in AWS's wording, with the member's name."""
    message = fault(world, "single", **{header: value})["Message"]
    assert f"Value '{value[:40]}" in message
    assert f"at '{HEADERS[header][0]}' failed to satisfy constraint: Member must" in message


def test_all_violations_come_in_one_message(world: World) -> None:
    """Count and plural agree; what is sensitive is not repeated."""
    message = fault(
        world,
        "single",
        X_Amzn_SageMaker_Target_Variant="-",
        X_Amzn_SageMaker_Inference_Id="a" * 65,
        X_Amzn_SageMaker_Custom_Attributes="secret" * 200,
    )["Message"]
    assert message.startswith("3 validation errors detected: Value ")
    assert "Value at 'customAttributes' failed to satisfy constraint: Member must have length less than" in message
    assert "secret" not in message


def test_constraints_are_checked_before_the_endpoint_is_looked_for(world: World) -> None:
    """As services do that derive the checks from the model."""
    assert "targetVariant" in fault(world, "nobody", X_Amzn_SageMaker_Target_Variant="-")["Message"]


@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=70))
def test_the_fast_check_of_a_header_agrees_with_the_model_s(text: str) -> None:
    """Bytes and compiled patterns on the hot path find what the model's validator finds."""
    operation = OPERATIONS[b"invocations"]
    for header in operation.members:
        request = Request()
        request.take_head([(header, text.encode("latin-1"))])
        try:
            operation.check("name", request)
        except ApiError:
            assert not operation.fits(request), header


OPERATIONS = members.load()


def test_operations_and_their_headers_are_the_service_model_s() -> None:
    """The stream's Accept has a header of its own; async is not among them."""
    assert OPERATIONS[b"invocations"].accept == b"accept"
    assert OPERATIONS[b"invocations-response-stream"].accept == b"x-amzn-sagemaker-accept"
    assert set(OPERATIONS) == {b"invocations", b"invocations-response-stream"}


# --- targets


def test_a_direct_call_goes_to_the_container_it_names(world: World) -> None:
    """And to no other."""
    for port, name in ((11, "first"), (12, "second")):
        request = invoke("direct", X_Amzn_SageMaker_Target_Container_Hostname=name)
        assert Reply(world.call(request, (port, OK))).status == 200
        head = f"x-amzn-sagemaker-target-container-hostname:   {name}  \r\n".encode()
        spelled = request.replace(b"X-Amzn-SageMaker-Target-Container-Hostname: " + name.encode() + b"\r\n", head)
        assert head in spelled
        assert Reply(world.call(spelled, (port, OK))).status == 200


def test_a_direct_call_must_name_a_container(world: World) -> None:
    """The known ones are listed."""
    error = fault(world, "direct")
    assert error["ErrorCode"] == "TARGET_CONTAINER_HOSTNAME_MISSING"
    assert error["Message"].endswith("is required. Its containers: first, second.")


def test_a_direct_call_to_an_unknown_container(world: World) -> None:
    """The known ones are listed; names are case-sensitive."""
    for name in ("third", "First"):
        error = fault(world, "direct", X_Amzn_SageMaker_Target_Container_Hostname=name)
        assert error["ErrorCode"] == "TARGET_CONTAINER_HOSTNAME_NOT_FOUND"
        assert error["Message"] == (
            f"Endpoint direct has no container with hostname {name}. Its containers: first, second."
        )


@pytest.mark.parametrize("name", ["single", "serial"])
def test_a_container_cannot_be_named_where_calls_are_not_direct(world: World, name: str) -> None:
    """Not even one that exists."""
    error = fault(world, name, X_Amzn_SageMaker_Target_Container_Hostname="one")
    assert error["ErrorCode"] == "TARGET_CONTAINER_HOSTNAME_HEADER_NOT_SUPPORTED"
    assert "does not support target container hostname header." in error["Message"]


def test_a_target_model_needs_a_multi_model_endpoint(world: World) -> None:
    """SageMaker's own text and code."""
    error = fault(world, "single", X_Amzn_SageMaker_Target_Model="model.tar.gz")
    assert error == {
        "ErrorCode": "TARGET_MODEL_HEADER_NOT_SUPPORTED",
        "Message": "Endpoint single is not a multi-model endpoint and does not support target model header.",
    }


def test_an_inference_component_needs_an_endpoint_with_such(world: World) -> None:
    """SageMaker's own text."""
    assert fault(world, "single", X_Amzn_SageMaker_Inference_Component="c")["Message"].startswith(
        "Inference Component Name header is not allowed for endpoints to which you dont plan to deploy"
    )


# --- other paths


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/endpoints/single/invocations"),
        ("PUT", "/endpoints/single/invocations"),
        ("POST", "/endpoints/single"),
        ("POST", "/endpoints/single/invocations/"),
        ("POST", "/endpoints/single/invocations/more"),
        ("POST", "/endpoints/single/nonsense"),
        ("POST", "/endpoints/"),
        ("POST", "/endpoints//"),
    ],
)
def test_what_is_no_operation_of_the_runtime_says_what_is(world: World, method: str, path: str) -> None:
    """404, never forwarded: the prefix is the runtime's."""
    raw = invoke("", b"", path=path).replace(b"POST", method.encode(), 1)
    reply = Reply(world.call(raw))
    assert (reply.status, reply.headers["x-amzn-errortype"]) == (404, "UnknownOperationException")
    assert "/invocations-response-stream" in reply.error["Message"]


def test_async_invocations_are_refused_in_clear_words(world: World) -> None:
    """A ValidationError, which SDKs do not repeat."""
    error = fault(world, "single", operation="async-invocations")
    assert error["Message"].startswith("Polyport does not serve InvokeEndpointAsync.")


# --- owners


def signed(region: str) -> str:
    return (
        f"AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260101/{region}/sagemaker/aws4_request, "
        "SignedHeaders=content-type;host;x-amz-date, Signature=00"
    )


def test_the_region_of_a_signed_call_is_that_of_its_signature(world: World) -> None:
    """An unsigned one's is the setting's."""
    request = invoke("elsewhere", Authorization=signed("eu-west-1"))
    assert Reply(world.call(request, (51, OK))).status == 200
    assert "not found" in fault(world, "elsewhere")["Message"]
    assert "not found" in fault(world, "elsewhere", Authorization=signed("eu-west-2"))["Message"]
    assert "not found" in fault(world, "single", Authorization=signed("eu-west-1"))["Message"]


@pytest.mark.parametrize("scope", ["Bearer abc", "AWS4-HMAC-SHA256 Credential=a/b", "Basic x", "Credential="])
def test_another_authorization_means_the_default_region(world: World, scope: str) -> None:
    """Without keys any credentials are accepted, these too."""
    assert Reply(world.call(invoke("single", Authorization=scope), (1, OK))).status == 200


# --- variants and instances


def test_a_variant_can_be_named(world: World) -> None:
    """The answer says which it was."""
    for port, name in ((41, "a"), (42, "b")):
        reply = Reply(world.call(invoke("ab", X_Amzn_SageMaker_Target_Variant=name), (port, OK)))
        assert reply.headers["x-amzn-invoked-production-variant"] == name


def test_an_unknown_variant_is_refused_with_the_known_ones(world: World) -> None:
    """A ValidationError."""
    error = fault(world, "ab", X_Amzn_SageMaker_Target_Variant="c")
    assert error["Message"] == "Endpoint ab has no production variant c. It has: a, b."


def made(*weights: float, empty: tuple[int, ...] = ()) -> routes.Endpoint:
    """An endpoint with a variant per weight; those in ``empty`` have no instance."""
    variants = [
        variant(*(() if number in empty else (instance(f"i{number}", 100 + number),)), name=f"v{number}", weight=weight)
        for number, weight in enumerate(weights)
    ]
    world = World(endpoint("many", *variants))
    found = world.gateway.index.endpoint((ACCOUNT, "us-east-1"), "many")
    assert found is not None
    return found


def drawn(found: routes.Endpoint, count: int = 1000) -> Counter[str]:
    names: Counter[str] = Counter()
    for number in range(count):
        chosen = choice.choose_variant(found.shares, partial(float, number / count))
        names[chosen.name if chosen else ""] += 1
    return names


def test_variants_are_drawn_in_proportion_to_their_weights() -> None:
    """Over all draws exactly so."""
    assert drawn(made(1, 3)) == {"v0": 250, "v1": 750}
    assert drawn(made(0.1, 0.1, 0.2)) == {"v0": 250, "v1": 250, "v2": 500}


def test_a_weight_of_zero_gets_only_calls_that_name_it() -> None:
    """Unless all are zero: then they share alike, rather than refuse every call."""
    assert drawn(made(0, 5)) == {"v1": 1000}
    assert drawn(made(0, 0)) == {"v0": 500, "v1": 500}


def test_a_variant_without_instances_leaves_its_share_to_the_others() -> None:
    """But not to one whose weight is zero."""
    assert drawn(made(1, 1, empty=(0,))) == {"v1": 1000}
    assert drawn(made(1, 0, empty=(0,))) == {"": 1000}
    assert drawn(made(0, 0, empty=(0,))) == {"v1": 1000}


@given(
    st.lists(st.floats(0, 1000), min_size=1, max_size=10),
    st.floats(0, 1, exclude_max=True),
)
def test_a_draw_always_finds_a_variant_with_weight(weights: list[float], draw: float) -> None:
    """Whatever rounding does."""
    found = made(*weights)
    chosen = choice.choose_variant(found.shares, lambda: draw)
    assert chosen is not None
    assert chosen.weight > 0 or not any(weights)


def fleet(strategy: str, count: int = 4) -> routes.Variant:
    instances = [instance(f"i{number}", 100 + number) for number in range(count)]
    world = World(endpoint("fleet", variant(*instances, routing_strategy=strategy)))
    found = world.gateway.index.endpoint((ACCOUNT, "us-east-1"), "fleet")
    assert found is not None
    return found.variants[0]


def chosen_from(found: routes.Variant, now: float = 0.0, count: int = 400) -> Counter[str]:
    """Which instances are chosen, over all draws."""
    names: Counter[str] = Counter()
    for number in range(count):
        chosen = choice.choose_instance(found, partial(float, number / count), partial(float, now), None)
        names[chosen.id if chosen else ""] += 1
    return names


def test_random_routing_draws_evenly() -> None:
    """Each instance gets its part."""
    assert chosen_from(fleet("RANDOM")) == {"i0": 100, "i1": 100, "i2": 100, "i3": 100}


def test_least_outstanding_routing_prefers_the_instance_with_fewest_calls() -> None:
    """And draws among equals."""
    found = fleet("LEAST_OUTSTANDING_REQUESTS")
    for one, count in zip(found.instances, (2, 1, 3, 1), strict=True):
        one.outstanding = count
    assert chosen_from(found) == {"i1": 200, "i3": 200}


@pytest.mark.parametrize("strategy", ["RANDOM", "LEAST_OUTSTANDING_REQUESTS"])
def test_an_instance_that_refused_is_chosen_only_when_there_is_no_other(strategy: str) -> None:
    """For a second."""
    found = fleet(strategy, 2)
    bad, good = found.instances
    bad.avoid_until = 10.0
    assert set(chosen_from(found, now=9.0)) == {"i1"}
    assert "i0" in chosen_from(found, now=10.0)
    assert choice.choose_instance(found, lambda: 0.5, lambda: 9.0, [good]) is bad
    assert choice.choose_instance(found, lambda: 0.5, lambda: 9.0, [good, bad]) is None


def test_an_instance_that_left_the_table_is_chosen_by_nobody() -> None:
    """A call that tries again goes by what is true now, not when it began."""
    found = fleet("RANDOM", 2)
    found.instances[0].is_retired = True
    assert set(chosen_from(found)) == {"i1"}
