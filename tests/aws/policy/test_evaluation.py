"""Whole decisions, one line a case: the rule of IAM, the policies, the caller, the reason that decided."""

from typing import Any

import pytest

from aws.policy.policies import (
    ENDPOINT,
    INVOKE,
    OTHER,
    OTHER_ROOT,
    OWN,
    ROLE_ARN,
    ROOT,
    SERVICE,
    SESSION,
    STRANGER,
    USER,
    allow,
    decided,
    deny,
    policies,
    request,
    statement,
    text,
)
from polyport.aws.policy import compiled, document, evaluate
from polyport.aws.policy.document import Kind
from polyport.aws.policy.evaluate import Reason
from polyport.aws.policy.principals import Principal

E = f"arn:aws:sagemaker:eu-west-1:{OWN}:endpoint/"


@pytest.mark.parametrize(
    ("rule", "wanted", "action", "matches"),
    [
        ("the action", INVOKE, INVOKE, True),
        ("another action", INVOKE, "sagemaker:InvokeEndpointAsync", False),
        ("case does not matter", "SageMaker:INVOKEendpoint", INVOKE, True),
        ("nor in the call", INVOKE, "SAGEMAKER:invokeendpoint", True),
        ("every action", "*", INVOKE, True),
        ("every action of a service", "sagemaker:*", INVOKE, True),
        ("of another service", "iam:*", INVOKE, False),
        ("a star at the end", "sagemaker:Invoke*", "sagemaker:InvokeEndpointAsync", True),
        ("a star in the middle", "sagemaker:*Endpoint", INVOKE, True),
        ("a star in the middle, other", "sagemaker:*Endpoint", "sagemaker:CreateEndpointConfig", False),
        ("a question mark", "sagemaker:InvokeEndpoin?", INVOKE, True),
        ("a question mark, other", "sagemaker:InvokeEndpoint?", INVOKE, False),
        ("one of several", ["sagemaker:List*", INVOKE], INVOKE, True),
        ("none of several", ["sagemaker:List*", "sagemaker:Describe*"], INVOKE, False),
    ],
)
def test_actions(rule: str, wanted: Any, action: str, matches: bool) -> None:
    """Action and its opposite NotAction."""
    assert decided(policies(allow(wanted)), action=action).allowed is matches
    opposite = statement("Allow", NotAction=wanted, Resource="*")
    assert decided(policies(opposite), action=action).allowed is not matches


@pytest.mark.parametrize(
    ("rule", "wanted", "resource", "matches"),
    [
        ("the resource", ENDPOINT, ENDPOINT, True),
        ("another resource", E + "team-b", ENDPOINT, False),
        ("case matters", E + "TEAM-A-MAIN", ENDPOINT, False),
        ("every resource", "*", ENDPOINT, True),
        ("a star at the end", E + "team-a-*", ENDPOINT, True),
        ("a star at the end, other", E + "team-b-*", ENDPOINT, False),
        ("a star reaches over colons", "arn:aws:sagemaker:*:endpoint/*", ENDPOINT, True),
        ("a star reaches over slashes", f"arn:aws:sagemaker:*:{OWN}:*main", ENDPOINT, True),
        ("question marks", E + "team-?-main", ENDPOINT, True),
        ("question marks, other", E + "team-??-main", ENDPOINT, False),
        ("one of several", ["arn:aws:s3:::b", E + "*"], ENDPOINT, True),
        ("operations without a resource have *", E + "*", "*", False),
        ("and need *", "*", "*", True),
        ("a variable", E + "${aws:PrincipalAccount}-main", E + f"{OWN}-main", True),
        ("a variable, other", E + "${aws:username}-*", ENDPOINT, False),
        ("a variable's default", E + "${aws:userid, 'team'}-a-*", ENDPOINT, True),
        ("a value's star is none", E + "${aws:ResourceTag/star}", ENDPOINT, False),
    ],
)
def test_resources(rule: str, wanted: Any, resource: str, matches: bool) -> None:
    """Resource and its opposite NotResource."""
    context = {"aws:username": "ann", "aws:principalaccount": OWN, "aws:resourcetag/star": "*"}
    assert decided(policies(allow("*", wanted)), resource=resource, context=context).allowed is matches
    opposite = statement("Allow", Action="*", NotResource=wanted)
    assert decided(policies(opposite), resource=resource, context=context).allowed is not matches


def test_a_variable_without_a_value_matches_nothing_and_excepts_nothing() -> None:
    """`aws:username` is there for users only: a session gets nothing by it, neither by Resource nor by NotResource."""
    mine = E + "${aws:username}*"
    assert not decided(policies(allow("*", mine))).allowed
    assert not decided(policies(statement("Allow", Action="*", NotResource=mine))).allowed
    assert not decided(policies(allow(), statement("Deny", Action="*", NotResource=mine))).allowed
    assert decided(policies(allow(), deny("*", mine))).allowed


ON = {"Action": INVOKE, "Resource": "*"}
FOR = {
    "everyone": "*",
    "everyone of AWS": {"AWS": "*"},
    "user": {"AWS": USER.arn},
    "role": {"AWS": ROLE_ARN},
    "session": {"AWS": SESSION.arn},
    "own": {"AWS": OWN},
    "own root": {"AWS": f"arn:aws:iam::{OWN}:root"},
    "other": {"AWS": OTHER},
    "stranger": {"AWS": STRANGER.arn},
    "service": {"Service": "sagemaker.amazonaws.com"},
    "other service": {"Service": "lambda.amazonaws.com"},
}


def granting(*whom: str, effect: str = "Allow") -> list[dict[str, Any]]:
    return [statement(effect, Principal=FOR[name], **ON) for name in whom]


def excepting(effect: str, *listed: str) -> list[dict[str, Any]]:
    return [statement(effect, NotPrincipal={"AWS": list(listed)}, **ON)]


NO_ID, NO_RES, NO_SES = Reason.NO_IDENTITY_ALLOWS, Reason.NO_RESOURCE_ALLOWS, Reason.NO_SESSION_ALLOWS
BY_ID, BY_RES = Reason.ALLOWED_BY_IDENTITY, Reason.ALLOWED_BY_RESOURCE
DENY_ID, DENY_RES, DENY_SES = Reason.DENIED_BY_IDENTITY, Reason.DENIED_BY_RESOURCE, Reason.DENIED_BY_SESSION
YES, NO, ELSE = [allow()], [deny()], [allow("sagemaker:List*")]

#: rule, caller, identity, session (None: none), resource (None: none), reason
CASES: list[tuple[str, Principal, list[Any], list[Any] | None, list[Any] | None, Reason]] = [
    ("nothing is denied by default", USER, [], None, None, NO_ID),
    ("an identity policy is enough", USER, YES, None, None, BY_ID),
    ("of another action it is not", USER, ELSE, None, None, NO_ID),
    ("any of several statements", USER, ELSE + YES, None, None, BY_ID),
    ("a Deny wins over an Allow before", USER, YES + NO, None, None, DENY_ID),
    ("a Deny wins over an Allow after", USER, NO + YES, None, None, DENY_ID),
    ("a Deny of something else does not", USER, [deny("sagemaker:Delete*"), *YES], None, None, BY_ID),
    ("own account: the resource naming the user is enough", USER, [], None, granting("user"), BY_RES),
    ("own account: everyone is enough", USER, [], None, granting("everyone"), BY_RES),
    ("own account: everyone, the other way", USER, [], None, granting("everyone of AWS"), BY_RES),
    ("own account: the account is not enough", USER, [], None, granting("own"), NO_ID),
    ("own account: its root is not enough", USER, [], None, granting("own root"), NO_ID),
    ("own account: somebody else is not enough", USER, [], None, granting("stranger"), NO_ID),
    ("own account: the account and an identity policy", USER, YES, None, granting("own"), BY_ID),
    ("own account: no word of the resource is needed", USER, YES, None, granting("stranger"), BY_ID),
    ("the closest grant counts", USER, [], None, granting("own", "user"), BY_RES),
    ("the resource's Deny wins", USER, YES, None, granting("user", effect="Deny"), DENY_RES),
    ("the resource's Deny of an account", USER, YES, None, granting("own", effect="Deny"), DENY_RES),
    ("the resource's Deny of everyone", USER, YES, None, granting("everyone", effect="Deny"), DENY_RES),
    ("the resource's Deny of somebody else", USER, YES, None, granting("stranger", effect="Deny"), BY_ID),
    ("the identity's Deny beats the resource's Allow", USER, NO, None, granting("user"), DENY_ID),
    ("a session is its role", SESSION, [], None, granting("role"), BY_RES),
    ("a session is itself", SESSION, [], None, granting("session"), BY_RES),
    ("a session is not a user", SESSION, [], None, granting("user"), NO_ID),
    ("a user is not a role", USER, [], None, granting("role", "session"), NO_ID),
    ("a session has its role's policies", SESSION, YES, None, None, BY_ID),
    ("a Deny of the role", SESSION, YES, None, granting("role", effect="Deny"), DENY_RES),
    ("a Deny of the session", SESSION, YES, None, granting("session", effect="Deny"), DENY_RES),
    ("a Deny of the session's account", SESSION, YES, None, granting("own root", effect="Deny"), DENY_RES),
    ("a session policy that allows too", SESSION, YES, YES, None, BY_ID),
    ("a session policy that does not", SESSION, YES, ELSE, None, NO_SES),
    ("a session policy gives nothing by itself", SESSION, [], YES, None, NO_ID),
    ("a session policy that denies", SESSION, YES, YES + NO, None, DENY_SES),
    ("a session policy limits what the role was given", SESSION, [], ELSE, granting("role"), NO_SES),
    ("and what everyone was given", SESSION, [], ELSE, granting("everyone"), NO_SES),
    ("but not what the session was given", SESSION, [], ELSE, granting("session"), BY_RES),
    ("unless it denies", SESSION, [], NO, granting("session"), DENY_SES),
    ("the role was given it, the session policy allows it", SESSION, [], YES, granting("role"), BY_RES),
    ("other account: an identity policy is not enough", STRANGER, YES, None, None, NO_RES),
    ("other account: nor the resource's", STRANGER, [], None, granting("stranger"), NO_ID),
    ("other account: both are", STRANGER, YES, None, granting("stranger"), BY_ID),
    ("other account: the account is named", STRANGER, YES, None, granting("other"), BY_ID),
    ("other account: everyone is named", STRANGER, YES, None, granting("everyone"), BY_ID),
    ("other account: everyone is not enough alone", STRANGER, [], None, granting("everyone"), NO_ID),
    ("other account: another one is named", STRANGER, YES, None, granting("own", "user"), NO_RES),
    ("other account: the resource denies", STRANGER, YES, None, granting("everyone", effect="Deny"), DENY_RES),
    ("other account: the resource denies its account", STRANGER, YES, None, granting("other", effect="Deny"), DENY_RES),
    ("other account: the identity denies", STRANGER, YES + NO, None, granting("stranger"), DENY_ID),
    ("other account: a session policy does not allow", STRANGER, YES, ELSE, granting("stranger"), NO_SES),
    ("the root user needs no policy", ROOT, [], None, None, Reason.ALLOWED_TO_ROOT),
    ("the root user is the account", ROOT, [], None, granting("own"), BY_RES),
    ("the root user can be denied", ROOT, [], None, granting("everyone", effect="Deny"), DENY_RES),
    ("another account's root needs the resource", OTHER_ROOT, [], None, None, NO_RES),
    ("and then needs no more", OTHER_ROOT, [], None, granting("other"), Reason.ALLOWED_TO_ROOT),
    ("a service needs the resource", SERVICE, [], None, None, NO_RES),
    ("a service that is named", SERVICE, [], None, granting("service"), BY_RES),
    ("another service is named", SERVICE, [], None, granting("other service", "own"), NO_RES),
    (
        "a service is denied with everyone",
        SERVICE,
        [],
        None,
        granting("service") + granting("everyone", effect="Deny"),
        DENY_RES,
    ),
    ("all but the listed are denied", USER, YES, None, excepting("Deny", STRANGER.arn, OTHER), DENY_RES),
    ("the listed is spared, with its account", USER, YES, None, excepting("Deny", USER.arn, OWN), BY_ID),
    ("without its account it is not", USER, YES, None, excepting("Deny", USER.arn), DENY_RES),
    ("the account alone spares no user", USER, YES, None, excepting("Deny", OWN), DENY_RES),
    ("but the root user", ROOT, [], None, excepting("Deny", OWN), Reason.ALLOWED_TO_ROOT),
    ("a session needs role and account too", SESSION, YES, None, excepting("Deny", SESSION.arn, ROLE_ARN, OWN), BY_ID),
    ("session and account are not enough", SESSION, YES, None, excepting("Deny", SESSION.arn, OWN), DENY_RES),
    ("a Deny except everyone is about nobody", USER, YES, None, excepting("Deny", "*"), BY_ID),
    ("all but the listed are allowed", USER, [], None, excepting("Allow", STRANGER.arn), BY_RES),
    ("the listed are not", USER, [], None, excepting("Allow", USER.arn), NO_ID),
    ("nor those of a listed account", USER, [], None, excepting("Allow", OWN), NO_ID),
    ("a Deny except for services of AWS", SERVICE, [], None, granting("service") + excepting("Deny", OWN), DENY_RES),
]


@pytest.mark.parametrize(
    ("rule", "caller", "identity", "session", "resource", "reason"), CASES, ids=[case[0] for case in CASES]
)
def test_who_decides(
    rule: str,
    caller: Principal,
    identity: list[Any],
    session: list[Any] | None,
    resource: list[Any] | None,
    reason: Reason,
) -> None:
    """Identity, session and resource policies of the own and of another account."""
    decision = evaluate.decide(
        request(),
        caller,
        policies(*identity),
        None if session is None else policies(*session, kind=Kind.SESSION),
        None if resource is None else policies(*resource, kind=Kind.RESOURCE),
        OWN,
    )
    assert decision.reason is reason
    assert decision.allowed is reason.value.startswith("allowed")


ASSUME = [allow("sts:AssumeRole")]
TRUST_YES, TRUST_NO = Reason.ALLOWED_BY_TRUST, Reason.NO_TRUST_ALLOWS


def trusting(*whom: str, effect: str = "Allow") -> list[dict[str, Any]]:
    return [statement(effect, Action="sts:AssumeRole", Principal=FOR[name]) for name in whom]


@pytest.mark.parametrize(
    ("rule", "caller", "identity", "trust", "reason"),
    [
        ("the user is trusted", USER, [], trusting("user"), TRUST_YES),
        ("the user's account: its policies decide, no", USER, [], trusting("own root"), NO_ID),
        ("the user's account: its policies decide, yes", USER, ASSUME, trusting("own"), BY_ID),
        ("an identity policy without trust", USER, ASSUME, trusting("stranger"), TRUST_NO),
        ("another role's session", SESSION, [], trusting("role"), TRUST_YES),
        ("everyone", USER, [], trusting("everyone"), TRUST_YES),
        ("other account: trusted, but no policy of its own", STRANGER, [], trusting("stranger"), NO_ID),
        ("other account: both", STRANGER, ASSUME, trusting("stranger"), BY_ID),
        ("other account: its root is trusted", STRANGER, ASSUME, trusting("other"), BY_ID),
        ("other account: not trusted", STRANGER, ASSUME, trusting("own"), TRUST_NO),
        ("the service", SERVICE, [], trusting("service"), TRUST_YES),
        ("another service", SERVICE, [], trusting("other service"), TRUST_NO),
        ("the identity's Deny", USER, [deny("sts:*")], trusting("user"), DENY_ID),
        (
            "the trust policy's Deny",
            USER,
            ASSUME,
            trusting("user") + trusting("own", effect="Deny"),
            Reason.DENIED_BY_TRUST,
        ),
        ("the root user, trusted", ROOT, [], trusting("own"), TRUST_YES),
        ("the root user, not trusted", ROOT, [], trusting("user"), TRUST_NO),
    ],
)
def test_who_may_assume_a_role(
    rule: str, caller: Principal, identity: list[Any], trust: list[Any], reason: Reason
) -> None:
    """A role's trust policy is always asked."""
    wanted = request("sts:AssumeRole", f"arn:aws:iam::{OWN}:role/wanted")
    trusted = policies(*trust, kind=Kind.TRUST)
    assert evaluate.decide_trust(wanted, caller, policies(*identity), None, trusted, OWN).reason is reason


def test_the_external_id_guards_a_role() -> None:
    """The confused deputy: a trust policy with `sts:ExternalId`."""
    condition = {"StringEquals": {"sts:ExternalId": "secret"}}
    trust = policies(*[each | {"Condition": condition} for each in trusting("other")], kind=Kind.TRUST)
    for context, allowed in (({"sts:externalid": "secret"}, True), ({"sts:externalid": "x"}, False), ({}, False)):
        wanted = request("sts:AssumeRole", f"arn:aws:iam::{OWN}:role/wanted", context)
        assert evaluate.decide_trust(wanted, STRANGER, policies(*ASSUME), None, trust, OWN).allowed is allowed


HOSTNAME = "sagemaker:TargetContainerHostname"
HOSTS = ["secondContainer", "customIps*"]
ONLY_SOME = [allow(INVOKE, E + "*", Condition={"StringLike": {HOSTNAME: HOSTS}})]
ALL_BUT_SOME = [*YES, deny(INVOKE, E + "*", Condition={"StringLike": {HOSTNAME: HOSTS}})]
ANY_NAMED = [allow(INVOKE, E + "*", Condition={"StringLike": {HOSTNAME: ["*"]}})]


@pytest.mark.parametrize(
    ("rule", "identity", "hostname", "allowed"),
    [
        ("allowed by name", ONLY_SOME, "secondContainer", True),
        ("allowed by pattern", ONLY_SOME, "customIps2", True),
        ("not among the allowed", ONLY_SOME, "firstContainer", False),
        ("names are case-sensitive", ONLY_SOME, "secondcontainer", False),
        ("no container is named", ONLY_SOME, None, False),
        ("denied by name", ALL_BUT_SOME, "secondContainer", False),
        ("denied by pattern", ALL_BUT_SOME, "customIps", False),
        ("not among the denied", ALL_BUT_SOME, "firstContainer", True),
        ("no container is named, so none of the denied", ALL_BUT_SOME, None, True),
        ("any name will do", ANY_NAMED, "x", True),
        ("but there must be one", ANY_NAMED, None, False),
        ("without a condition every container", YES, "x", True),
    ],
)
def test_the_policies_of_the_multi_container_security_page(
    rule: str, identity: list[Any], hostname: str | None, allowed: bool
) -> None:
    """Reference section 15: who may call which container of an endpoint."""
    context = {} if hostname is None else {HOSTNAME.lower(): hostname}
    assert decided(policies(*identity), context=context).allowed is allowed


def test_a_decision_says_which_statement_of_which_policy() -> None:
    """The first that matches, counted through each policy by itself."""
    found = [("first", [allow("sagemaker:List*")]), ("second", [allow("iam:*"), deny(Sid="Guard")]), ("third", YES)]
    documents = [(name, parsed(*statements)) for name, statements in found]
    decision = decided(compiled.compile(documents))
    assert (decision.policy, decision.statement, decision.sid) == ("second", 1, "Guard")
    assert decision.explain() == "explicit deny in an identity-based policy: second, statement 2 (Guard)"
    allowed = decided(compiled.compile([documents[0], documents[2]]))
    assert allowed.explain() == "allowed by an identity-based policy: third, statement 1"
    assert allowed.denial == ""


def parsed(*statements: dict[str, Any]) -> document.Document:
    return document.parse(text(*statements), Kind.IDENTITY)


@pytest.mark.parametrize(
    ("caller", "identity", "session", "resource", "end"),
    [
        (USER, [], None, None, f"because no identity-based policy allows the {INVOKE} action"),
        (STRANGER, YES, None, None, f"because no resource-based policy allows the {INVOKE} action"),
        (SESSION, YES, ELSE, None, f"because no session policy allows the {INVOKE} action"),
        (USER, NO, None, None, "with an explicit deny in an identity-based policy"),
        (SESSION, YES, NO, None, "with an explicit deny in a session policy"),
        (USER, YES, None, granting("user", effect="Deny"), "with an explicit deny in a resource-based policy"),
    ],
)
def test_a_denial_has_the_words_of_aws(
    caller: Principal, identity: list[Any], session: list[Any] | None, resource: list[Any] | None, end: str
) -> None:
    """The end of ``User: ... is not authorized to perform: ... on resource: ...``."""
    decision = evaluate.decide(
        request(),
        caller,
        policies(*identity),
        policies(*session, kind=Kind.SESSION) if session else None,
        policies(*resource, kind=Kind.RESOURCE) if resource else None,
        OWN,
    )
    assert decision.denial == end
    assert decision.denial.endswith(decision.explain().partition(":")[0]) or not decision.reason.is_explicit_deny


def test_a_denial_by_a_roles_trust_policy_has_the_words_of_aws() -> None:
    """AssumeRole's own two ends of the sentence."""
    wanted = request("sts:AssumeRole", f"arn:aws:iam::{OWN}:role/wanted")
    for trust, end in (
        (trusting("stranger"), "because no role trust policy allows the sts:AssumeRole action"),
        (trusting("everyone", effect="Deny"), "with an explicit deny in the role trust policy"),
    ):
        trusted = policies(*trust, kind=Kind.TRUST)
        assert evaluate.decide_trust(wanted, USER, policies(), None, trusted, OWN).denial == end


def test_policies_say_which_condition_keys_a_decision_may_read() -> None:
    """So a caller may remember a decision while none of these varies."""
    found = policies(
        allow(INVOKE, E + "${aws:username}*", Condition={"StringLike": {"aws:RequestTag/Team": "${aws:userid, 'x'}"}}),
        deny(Condition={"Null": {HOSTNAME: True}, "ForAnyValue:StringEquals": {"aws:TagKeys": "x"}}),
    )
    assert found.dependencies == {"aws:username", "aws:requesttag/team", "aws:userid", HOSTNAME.lower(), "aws:tagkeys"}
    assert policies(*YES).dependencies == frozenset()


def test_policies_of_several_kinds_are_not_mixed() -> None:
    """A resource's policy attached to a user would be asked about the wrong things."""
    session = document.parse(text(*YES), Kind.SESSION)
    with pytest.raises(ValueError, match="several kinds"):
        compiled.compile([("a", parsed(*YES)), ("b", session)])
