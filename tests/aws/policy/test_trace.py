"""What `polyport policy simulate` shows: of every statement whether it matched, and if not, what did not."""

from aws.policy.policies import (
    ENDPOINT,
    INVOKE,
    OTHER,
    OWN,
    SESSION,
    STRANGER,
    USER,
    allow,
    deny,
    policies,
    request,
    statement,
)
from polyport.aws.policy import trace
from polyport.aws.policy.document import Kind
from polyport.aws.policy.principals import Grant

HOST = "sagemaker:TargetContainerHostname"


def test_every_element_that_can_fail_is_named_with_what_the_call_has() -> None:
    """The first that does not match, in the order principal, action, resource, conditions."""
    identity = policies(
        allow(),
        allow("sagemaker:List*", Sid="Lists"),
        statement("Allow", NotAction="sagemaker:*", Resource="*"),
        allow(INVOKE, "arn:aws:s3:::b"),
        statement("Allow", Action="*", NotResource=ENDPOINT),
        deny(Condition={"Null": {"aws:username": False}, "StringLike": {HOST: ["a*", "b"]}}),
        deny(Condition={"StringLike": {HOST: "c"}, "ForAnyValue:StringEquals": {"aws:TagKeys": "x"}}),
        allow(Condition={"ForAllValues:StringEquals": {"aws:TagKeys": "x"}}),
    )
    context = {"aws:username": "ann", HOST.lower(): "c", "aws:tagkeys": ("y", "z")}
    found = trace.trace(request(context=context), USER, identity, None)
    assert [(each.statement, each.element, each.found) for each in found] == [
        (0, None, None),
        (1, "Action", ("sagemaker:invokeendpoint",)),
        (2, "NotAction", ("sagemaker:invokeendpoint",)),
        (3, "Resource", (ENDPOINT,)),
        (4, "NotResource", (ENDPOINT,)),
        (5, f"Condition.StringLike.{HOST}", ("c",)),
        (6, "Condition.ForAnyValue:StringEquals.aws:TagKeys", ("y", "z")),
        (7, "Condition.ForAllValues:StringEquals.aws:TagKeys", ("y", "z")),
    ]
    assert [each.matched for each in found] == [True] + [False] * 7
    assert found[0].explain() == "identity-based policy p, statement 1, Allow: matches"
    assert found[1].explain() == (
        "identity-based policy p, statement 2 (Lists), Allow: Action does not match: it is 'sagemaker:invokeendpoint'"
    )
    assert found[6].explain().endswith("aws:TagKeys does not match: it is 'y', 'z'")


def test_a_missing_key_is_told_from_an_empty_one() -> None:
    """`is not in the request` is what explains most surprises."""
    identity = policies(allow(Condition={"StringLike": {HOST: "?*"}}))
    (missing,) = trace.trace(request(), USER, identity)
    (empty,) = trace.trace(request(context={HOST.lower(): ""}), USER, identity)
    assert (missing.found, empty.found) == (None, ("",))
    assert missing.explain().endswith(f"{HOST} does not match: it is not in the request")
    assert empty.explain().endswith("it is ''")


def test_principals_are_traced_with_how_closely_they_are_named() -> None:
    """A resource's policy that names only the account leaves it to the account."""
    resource = policies(
        statement("Allow", Principal={"AWS": OWN}, Action=INVOKE, Resource="*"),
        statement("Allow", Principal={"AWS": STRANGER.arn}, Action=INVOKE, Resource="*"),
        statement("Allow", Principal={"AWS": SESSION.arn}, Action=INVOKE, Resource="*"),
        statement("Deny", NotPrincipal={"AWS": [SESSION.arn, SESSION.role_arn, OWN]}, Action="*", Resource="*"),
        statement("Deny", Principal={"AWS": OTHER}, Action="*", Resource="*"),
        kind=Kind.RESOURCE,
    )
    found = trace.trace(request(), SESSION, None, policies(), resource)
    assert [each.grant for each in found] == [Grant.ACCOUNT, Grant.NONE, Grant.SESSION, Grant.NONE, Grant.NONE]
    assert [each.element for each in found] == [None, "Principal", None, "NotPrincipal", "Principal"]
    assert found[0].explain() == "resource-based policy p, statement 1, Allow: matches, the account only"
    assert found[1].found == (SESSION.role_arn, SESSION.arn)
