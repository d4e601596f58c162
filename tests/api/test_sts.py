"""STS: what SDKs begin with, and temporary credentials that work."""

import time
from typing import Any

import pytest
from botocore.exceptions import ClientError
from msgspec.structs import replace

from api.harness import Plane, Wire
from api.test_access import ALICE, client, denial
from polyport.access.vault import Vault
from polyport.domain.access import AccessTable, Grantee, PrincipalKind
from support.people import ACCOUNT, ALLOW_ALL, OTHER, User, allow, arn, policy, table

TOKEN_KEY = Vault(None, bytes(32)).token_key  # type: ignore[arg-type]  # a vault without a file
BATCH = f"arn:aws:iam::{ACCOUNT}:role/batch"


def trusting(*principals: str, **conditions: Any) -> str:
    """A trust policy."""
    statement: dict[str, Any] = {"Effect": "Allow", "Principal": {"AWS": list(principals)}, "Action": "sts:AssumeRole"}
    return policy(statement | ({"Condition": conditions} if conditions else {})).document


def role(trust: str, *statements: dict[str, Any]) -> Grantee:
    texts = (policy(*statements),) if statements else ()
    return Grantee(ACCOUNT, PrincipalKind.ROLE, "batch", "AROABATCH", texts, trust, max_session=3600)


def admit(plane: Plane, *users: User, **fields: Any) -> None:
    plane.gate.take(table(*users, token_key=TOKEN_KEY, **fields))


def of(credentials: dict[str, Any]) -> tuple[str, ...]:
    """For a client."""
    return credentials["AccessKeyId"], credentials["SecretAccessKey"], credentials["SessionToken"]


def code(call: Any, **arguments: Any) -> str:
    with pytest.raises(ClientError) as refused:
        call(**arguments)
    assert refused.value.response["ResponseMetadata"]["RequestId"]
    return str(refused.value.response["Error"]["Code"])


@pytest.fixture(autouse=True)
def real_time(plane: Plane) -> None:
    """Sessions last by the clock that their calls are judged by."""
    plane.clock = time.time


def test_a_caller_learns_who_it_is(plane: Plane, wire: Wire) -> None:
    """Rule: whoever signs right may ask, without any permission."""
    bob = User("bob")
    admit(plane, bob)
    answer = client(wire, bob, "sts").get_caller_identity()
    assert (answer["UserId"], answer["Account"], answer["Arn"]) == (
        "AIDABOB",
        ACCOUNT,
        f"arn:aws:iam::{ACCOUNT}:user/bob",
    )
    assert code(wire.client("sts", credentials=("AKIABOB", "guess")).get_caller_identity) == "SignatureDoesNotMatch"
    assert code(wire.client("sts", credentials=("AKIANONE", "x")).get_caller_identity) == "InvalidClientTokenId"


def test_a_server_without_keys_answers_too(plane: Plane, wire: Wire) -> None:
    """Rule: SDKs that begin with STS work; what they get is accepted as anything is."""
    plane.gate.take(AccessTable(is_open=True, account=ACCOUNT, token_key=TOKEN_KEY))
    sts = wire.client("sts")
    assert sts.get_caller_identity()["Arn"] == f"arn:aws:iam::{ACCOUNT}:root"
    for answer in (
        sts.get_session_token(),
        sts.assume_role(RoleArn=f"arn:aws:iam::{OTHER}:role/any", RoleSessionName="me"),
    ):
        made = wire.client(credentials=of(answer["Credentials"]))
        assert made.list_models()["Models"] == []


def test_a_session_token_is_its_user(plane: Plane, wire: Wire) -> None:
    """Rule: with the user's permissions, until it expires; it cannot make another."""
    admit(plane, ALICE, User("bob"))
    answer = client(wire, ALICE, "sts").get_session_token(DurationSeconds=900)["Credentials"]
    assert answer["AccessKeyId"].startswith("ASIA")
    assert 890 < answer["Expiration"].timestamp() - time.time() <= 901
    session = of(answer)
    assert wire.client(credentials=session).list_models()["Models"] == []
    sts = wire.client("sts", credentials=session)
    assert sts.get_caller_identity()["Arn"] == f"arn:aws:iam::{ACCOUNT}:user/alice"
    assert code(sts.get_session_token) == "AccessDenied"
    admit(plane, User("bob"))
    assert code(wire.client(credentials=session).list_models) == "UnrecognizedClientException"


def test_an_expired_session_is_told_so(plane: Plane, wire: Wire) -> None:
    """Rule: so that SDKs fetch new credentials."""
    plane.clock = lambda: time.time() - 1000
    admit(plane, ALICE)
    session = of(client(wire, ALICE, "sts").get_session_token(DurationSeconds=900)["Credentials"])
    assert code(wire.client(credentials=session).list_models) == "ExpiredTokenException"
    assert code(wire.client("sts", credentials=session).get_caller_identity) == "ExpiredToken"


def test_a_role_is_assumed_by_whom_it_trusts(plane: Plane, wire: Wire) -> None:
    """Rule: the user named in the trust policy, without a policy of its own; with the role's permissions, no others."""
    bob, carol = User("bob"), User("carol", ALLOW_ALL)
    admit(
        plane,
        bob,
        carol,
        roles=(role(trusting(f"arn:aws:iam::{ACCOUNT}:user/bob"), allow(action="sagemaker:List*")),),
    )
    answer = client(wire, bob, "sts").assume_role(RoleArn=BATCH, RoleSessionName="nightly")
    session = f"arn:aws:sts::{ACCOUNT}:assumed-role/batch/nightly"
    assert answer["AssumedRoleUser"] == {"AssumedRoleId": "AROABATCH:nightly", "Arn": session}
    sagemaker = wire.client(credentials=of(answer["Credentials"]))
    assert sagemaker.list_models()["Models"] == []
    assert denial(sagemaker.describe_model, ModelName="m").startswith(f"User: {session} is not authorized to perform")
    assert plane.records[-1].user_identity.type == "AssumedRole"
    assert code(client(wire, carol, "sts").assume_role, RoleArn=BATCH, RoleSessionName="nightly") == "AccessDenied"


def test_trust_in_an_account_leaves_it_to_the_account(plane: Plane, wire: Wire) -> None:
    """Rule: then the caller's own policies must allow it, in this account and in another."""
    may_assume = allow(BATCH, action="sts:AssumeRole")
    users = [
        User("bob", may_assume),
        User("carol"),
        User("zoe", may_assume, account=OTHER),
        User("yves", account=OTHER),
    ]
    admit(plane, *users, roles=(role(trusting(ACCOUNT, OTHER)),))
    for user, allowed in zip(users, (True, False, True, False), strict=True):
        assume = client(wire, user, "sts").assume_role
        if allowed:
            assert assume(RoleArn=BATCH, RoleSessionName="nightly")["Credentials"]
        else:
            assert code(assume, RoleArn=BATCH, RoleSessionName="nightly") == "AccessDenied"


def test_a_role_that_is_not_there_looks_like_one_that_may_not_be_assumed(plane: Plane, wire: Wire) -> None:
    """Rule: nobody can find out which roles there are."""
    admit(plane, ALICE, roles=(role(trusting(OTHER)),))
    sts = client(wire, ALICE, "sts")
    texts = set()
    for arn_ in (BATCH, BATCH + "2"):
        with pytest.raises(ClientError) as refused:
            sts.assume_role(RoleArn=arn_, RoleSessionName="nightly")
        texts.add(refused.value.response["Error"]["Message"].replace("batch2", "batch"))
    assert len(texts) == 1


def test_conditions_of_trust(plane: Plane, wire: Wire) -> None:
    """Rule: the external id is asked for by name."""
    bob = User("bob")
    trust = trusting(f"arn:aws:iam::{ACCOUNT}:user/bob", StringEquals={"sts:ExternalId": "42"})
    admit(plane, bob, roles=(role(trust),))
    assume = client(wire, bob, "sts").assume_role
    assert assume(RoleArn=BATCH, RoleSessionName="nightly", ExternalId="42")
    assert code(assume, RoleArn=BATCH, RoleSessionName="nightly", ExternalId="43") == "AccessDenied"
    assert code(assume, RoleArn=BATCH, RoleSessionName="nightly") == "AccessDenied"


def test_a_session_policy_limits_the_session(plane: Plane, wire: Wire) -> None:
    """Rule: both the role's and the session's must allow; a malformed one is refused with its position."""
    bob = User("bob")
    admit(plane, bob, roles=(role(trusting(f"arn:aws:iam::{ACCOUNT}:user/bob"), ALLOW_ALL),))
    assume = client(wire, bob, "sts").assume_role
    limit = policy(allow(arn("m", "model"), action="sagemaker:DescribeModel")).document
    answer = assume(RoleArn=BATCH, RoleSessionName="nightly", Policy=limit)
    assert answer["PackedPolicySize"] > 0
    sagemaker = wire.client(credentials=of(answer["Credentials"]))
    assert code(sagemaker.describe_model, ModelName="m") == "ValidationException"
    assert "no session policy allows" in denial(sagemaker.list_models)
    assert (
        code(assume, RoleArn=BATCH, RoleSessionName="nightly", Policy='{"Statement": 5}') == "MalformedPolicyDocument"
    )
    assert code(assume, RoleArn=BATCH, RoleSessionName="nightly", Policy=limit + " " * 2048) == "PackedPolicyTooLarge"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"DurationSeconds": 3601}, "ValidationError"),
        ({"DurationSeconds": 899}, "ValidationError"),
        ({"RoleArn": "arn:aws:iam::1:role/x-very-odd"}, "ValidationError"),
        ({"PolicyArns": [{"arn": "arn:aws:iam::aws:policy/ReadOnlyAccess"}]}, "ValidationError"),
        ({"Tags": [{"Key": "a", "Value": "b"}]}, "ValidationError"),
        ({"RoleSessionName": "has blanks"}, "ValidationError"),
    ],
)
def test_what_cannot_be_done_is_refused(plane: Plane, wire: Wire, arguments: dict[str, Any], expected: str) -> None:
    """Rule: what would limit a session is never just passed over."""
    bob = User("bob")
    admit(plane, bob, roles=(role(trusting(f"arn:aws:iam::{ACCOUNT}:user/bob")),))
    call = wire.client("sts", careless=True, credentials=(bob.key.id, bob.key.secret)).assume_role
    assert code(call, **{"RoleArn": BATCH, "RoleSessionName": "nightly"} | arguments) == expected


def test_a_role_that_was_deleted_ends_its_sessions(plane: Plane, wire: Wire) -> None:
    """Rule: with the next call; a new role of that name is another one."""
    bob = User("bob")
    trusted = role(trusting(f"arn:aws:iam::{ACCOUNT}:user/bob"), ALLOW_ALL)
    admit(plane, bob, roles=(trusted,))
    session = of(client(wire, bob, "sts").assume_role(RoleArn=BATCH, RoleSessionName="nightly")["Credentials"])
    assert wire.client(credentials=session).list_models()["Models"] == []
    admit(plane, bob, roles=(replace(trusted, id="AROANEW"),))
    assert code(wire.client(credentials=session).list_models) == "UnrecognizedClientException"
