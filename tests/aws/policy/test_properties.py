"""What must hold for every document and every call."""

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from aws.policy.policies import ENDPOINT, INVOKE, OTHER, OWN, ROLE_ARN, ROOT, SERVICE, SESSION, STRANGER, USER
from polyport.aws.policy import compiled, document, evaluate, trace
from polyport.aws.policy.document import Document, Kind
from polyport.aws.policy.evaluate import Decision, Request
from polyport.aws.policy.principals import Principal
from polyport.errors import PolicyError

#: A busy machine is no failure.
PATIENT = settings(deadline=None)

KEYS = {
    "aws:username": ["ann", "a*", ""],
    "aws:TagKeys": ["a", "b"],
    "sagemaker:TargetContainerHostname": ["first", "second", "first*"],
    "aws:RequestTag/Size": ["1", "2.5", "x"],
    "aws:SourceIp": ["10.0.0.1", "::ffff:10.0.0.1", "nowhere"],
    "aws:SecureTransport": ["true", "false"],
    "aws:CurrentTime": ["2026-01-01", "soon", "5"],
    "aws:PrincipalArn": [USER.arn, ROLE_ARN, "x"],
}
FITTING = {
    "String": ("StringEquals", "StringNotEquals", "StringEqualsIgnoreCase", "StringLike", "StringNotLike"),
    "aws:RequestTag/Size": ("NumericEquals", "NumericNotEquals", "NumericLessThan", "BinaryEquals"),
    "aws:SourceIp": ("IpAddress", "NotIpAddress"),
    "aws:SecureTransport": ("Bool",),
    "aws:CurrentTime": ("DateLessThan", "DateNotEquals", "DateGreaterThanEquals"),
    "aws:PrincipalArn": ("ArnLike", "ArnNotEquals"),
}
VALUES = {
    "String": ["first", "*", "s?cond", "${aws:username}", "${aws:userid, 'x'}*", "${*}", ""],
    "aws:RequestTag/Size": [1, "2.5", 2e0],
    "aws:SourceIp": ["10.0.0.0/8", "::1"],
    "aws:SecureTransport": [True, "false"],
    "aws:CurrentTime": ["2026-01-01T00:00:00Z", 5],
    "aws:PrincipalArn": ["*", "arn:aws:iam::*:user/${aws:username}", ROLE_ARN],
}


def some(of: list[Any]) -> st.SearchStrategy[Any]:
    return st.sampled_from(of) | st.lists(st.sampled_from(of), min_size=1, max_size=3)


@st.composite
def conditions(draw: st.DrawFn) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key in draw(st.lists(st.sampled_from(list(KEYS)), max_size=3, unique=True)):
        if draw(st.integers(0, 5)) == 0:
            found.setdefault("Null", {})[key] = draw(some([True, "false"]))
            continue
        family = draw(st.sampled_from([name for name in ("String", key) if name in FITTING]))
        operator = draw(st.sampled_from(FITTING[family]))
        operator = draw(st.sampled_from(["", "", "ForAnyValue:", "ForAllValues:"])) + operator
        operator += draw(st.sampled_from(["", "IfExists"]))
        found.setdefault(operator, {})[key] = draw(some(["AAAA"] if "Binary" in operator else VALUES[family]))
    return found


PRINCIPALS = st.just("*") | st.fixed_dictionaries(
    {"AWS": some(["*", OWN, OTHER, USER.arn, ROLE_ARN, SESSION.arn, STRANGER.arn])},
    optional={"Service": some(["sagemaker.amazonaws.com", "s3.amazonaws.com"])},
)


@st.composite
def statements(draw: st.DrawFn, kind: Kind, effect: str | None = None) -> dict[str, Any]:
    actions = ["*", INVOKE, "sagemaker:Invoke*", "sagemaker:?nvokeEndpoint", "iam:*"]
    if kind is Kind.TRUST:
        actions = ["sts:AssumeRole", "sts:*"]
    found = {
        "Effect": effect or draw(st.sampled_from(["Allow", "Allow", "Deny"])),
        draw(st.sampled_from(["Action", "Action", "NotAction"])): draw(some(actions)),
    }
    if kind is not Kind.TRUST:
        resources = ["*", ENDPOINT, "arn:aws:sagemaker:*:endpoint/*", "arn:aws:s3:::b", f"{ENDPOINT}${{aws:username}}"]
        found[draw(st.sampled_from(["Resource", "Resource", "NotResource"]))] = draw(some(resources))
    if kind in (Kind.RESOURCE, Kind.TRUST):
        names = ["Principal", "NotPrincipal"] if kind is Kind.RESOURCE else ["Principal"]
        found[draw(st.sampled_from(names))] = draw(PRINCIPALS)
    return found | ({"Condition": draw(conditions())} if draw(st.booleans()) else {})


@st.composite
def sources(draw: st.DrawFn, kind: Kind) -> dict[str, Any]:
    version = draw(st.sampled_from(["2012-10-17", "2008-10-17"]))
    return {"Version": version, "Statement": draw(st.lists(statements(kind), min_size=1, max_size=4))}


def documents(kind: Kind) -> st.SearchStrategy[Document]:
    return sources(kind).map(lambda source: document.parse(json.dumps(source), kind))


CALLERS = st.sampled_from([USER, SESSION, ROOT, STRANGER, SERVICE])
CONTEXTS = st.fixed_dictionaries(
    {},
    optional={
        key.lower(): st.sampled_from(values) | st.lists(st.sampled_from(values), max_size=3).map(tuple)
        for key, values in KEYS.items()
    },
)
REQUESTS = st.builds(
    Request,
    st.sampled_from([INVOKE, "sagemaker:InvokeEndpointAsync", "iam:PassRole", "sts:AssumeRole"]),
    st.sampled_from([ENDPOINT, "*", "arn:aws:s3:::b", ENDPOINT + "ann"]),
    CONTEXTS,
)


@st.composite
def places(draw: st.DrawFn, last: Kind = Kind.RESOURCE) -> list[list[Document]]:
    """Identity, session and resource (or trust) documents."""
    identity = draw(st.lists(documents(Kind.IDENTITY), max_size=2))
    session = draw(st.lists(documents(Kind.SESSION), max_size=1))
    return [identity, session, draw(st.lists(documents(last), min_size=int(last is Kind.TRUST), max_size=1))]


def made(found: list[Document]) -> compiled.Policies:
    return compiled.compile([(f"p{index}", each) for index, each in enumerate(found)])


def decide(request: Request, caller: Principal, found: list[list[Document]]) -> Decision:
    identity, session, resource = found
    return evaluate.decide(
        request, caller, made(identity), made(session) if session else None, made(resource) if resource else None, OWN
    )


def refused_or_taken(text: str) -> None:
    for kind in Kind:
        try:
            found = document.parse(text, kind)
        except PolicyError as refused:
            error = refused
        else:
            compiled.compile([("p", found)])
            continue
        assert error.position
        assert 1 <= error.line <= text.count("\n") + 1
        assert 1 <= error.column <= len(text) + 1


@PATIENT
@given(st.text() | st.text('{}[]",:\\u0 tfn1eE-.*', max_size=60))
def test_any_text_is_taken_or_refused(text: str) -> None:
    """Nothing but `PolicyError` comes out of `parse`, and it says where."""
    refused_or_taken(text)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["*", "Allow", "${"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["AWS", "Effect", "StringLike", "aws:username", "Action"]), inner, max_size=3)
    ),
    max_leaves=6,
)


def spots(value: Any) -> list[tuple[Any, Any]]:
    """Every place in a tree of dicts and lists: the container and the key or index."""
    pairs = (
        list(value.items()) if isinstance(value, dict) else list(enumerate(value)) if isinstance(value, list) else []
    )
    return [(value, key) for key, _ in pairs] + [spot for _, inner in pairs for spot in spots(inner)]


@PATIENT
@given(st.sampled_from(list(Kind)).flatmap(sources), st.data())
def test_a_valid_document_with_a_value_replaced_is_taken_or_refused(
    source: dict[str, Any], data: st.DataObject
) -> None:
    """Any JSON anywhere."""
    container, key = data.draw(st.sampled_from(spots(source)))
    container[key] = data.draw(JSON)
    refused_or_taken(json.dumps(source))


@PATIENT
@given(st.sampled_from(list(Kind)).flatmap(sources), st.data())
def test_a_valid_document_with_its_text_cut_is_taken_or_refused(source: dict[str, Any], data: st.DataObject) -> None:
    """A piece of the text is lost, and another takes its place."""
    text = json.dumps(source)
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(start + 9, len(text))))
    refused_or_taken(text[:start] + data.draw(st.text(max_size=3) | st.text('{}[]",:*', max_size=3)) + text[end:])


@PATIENT
@given(places(), REQUESTS, CALLERS, st.data())
def test_a_further_deny_never_allows(
    found: list[list[Document]], request: Request, caller: Principal, data: st.DataObject
) -> None:
    """Denies only take away, wherever they are added; and where one matches, it decides."""
    before = decide(request, caller, found)
    index = data.draw(st.sampled_from([place for place in (0, 1, 2) if found[place]] or [0]))
    kind = (Kind.IDENTITY, Kind.SESSION, Kind.RESOURCE)[index]
    extra = document.parse(
        json.dumps({"Version": "2012-10-17", "Statement": data.draw(statements(kind, "Deny"))}), kind
    )
    more = [*found]
    more[index] = [*found[index], extra]
    after = decide(request, caller, more)
    assert not after.allowed or before.allowed
    assert after.allowed == before.allowed or after.reason.is_explicit_deny


@PATIENT
@given(places(), REQUESTS, CALLERS)
def test_a_trace_and_a_decision_agree(found: list[list[Document]], request: Request, caller: Principal) -> None:
    """An explicit deny is exactly a Deny that matched; who is allowed has an Allow that matched, or is root."""
    decision = decide(request, caller, found)
    traced = trace.trace(request, caller, *map(made, found))
    assert len(traced) == sum(len(each.statements) for place in found for each in place)
    denies = [each for each in traced if each.matched and each.effect == "Deny"]
    allows = [each for each in traced if each.matched and each.effect == "Allow"]
    assert decision.reason.is_explicit_deny is bool(denies)
    assert not decision.allowed or allows or caller is ROOT
    for each in traced:
        assert each.matched is bool(each.grant)
        assert each.explain()
    assert decision.explain()
    assert bool(decision.denial) is not decision.allowed


@PATIENT
@given(places(last=Kind.TRUST), REQUESTS, CALLERS)
def test_nobody_assumes_a_role_that_does_not_trust_them(
    found: list[list[Document]], request: Request, caller: Principal
) -> None:
    """Whatever the caller's own policies say."""
    identity, session, trust = found
    decision = evaluate.decide_trust(
        request, caller, made(identity), made(session) if session else None, made(trust), OWN
    )
    trusting = [each for each in trace.trace(request, caller, made(trust)) if each.matched and each.effect == "Allow"]
    assert trusting or not decision.allowed


@PATIENT
@given(places(), REQUESTS, CALLERS, CONTEXTS)
def test_a_decision_depends_on_nothing_else(
    found: list[list[Document]], request: Request, caller: Principal, other: dict[str, Any]
) -> None:
    """Condition keys that are not among the dependencies may be any others."""
    depends = frozenset[str]().union(*(made(place).dependencies for place in found))
    kept = {key: value for key, value in request.context.items() if key in depends}
    changed = kept | {key: value for key, value in other.items() if key not in depends}
    assert decide(Request(request.action, request.resource, changed), caller, found) == decide(request, caller, found)


@PATIENT
@given(places(), REQUESTS, CALLERS)
def test_a_session_policy_never_adds(found: list[list[Document]], request: Request, caller: Principal) -> None:
    """What is allowed with one is allowed without."""
    identity, _, resource = found
    assert not decide(request, caller, found).allowed or decide(request, caller, [identity, [], resource]).allowed
