"""Who may invoke what, where there are keys: signatures, policies, and what strangers learn."""

import random
import re
import time
from typing import Any

import pytest
from botocore.credentials import Credentials
from msgspec.structs import replace

from gateway.fakes import ACCOUNT, OK, REGION, Reply, World, direct, endpoint, instance, invoke, single, variant
from gateway.signed import signed
from polyport.access.tokens import Sealer, Session
from polyport.access.vault import Vault
from polyport.domain.access import Grantee, PrincipalKind
from polyport.gateway.clients import heads
from support.people import ALLOW_ALL, OTHER, User, allow, arn, deny, policy, table

ALICE = User("alice", ALLOW_ALL)
BOB = User("bob")


def world(*users: User, **fields: Any) -> World:
    """With a single and a direct endpoint."""
    options = fields.pop("options", {})
    return World(single(), direct(), access=table(*(users or (ALICE, BOB)), **fields), **options)


def ask(there: World, request: bytes) -> Reply:
    """An answer that comes without any container."""
    client = there.connect()
    client.receive(request)
    assert untouched(there)
    return Reply(client.take())


def untouched(there: World) -> bool:
    """Whether no container is asked for anything, not even for a connection."""
    return not any(pool.users or len(pool.idle) < len(pool.upstreams) for pool in there.pools.values())


def refused(there: World, request: bytes) -> tuple[int, str, str]:
    """Status, code and message of a refusal; no container has seen anything."""
    reply = ask(there, request)
    return reply.status, reply.headers["x-amzn-errortype"], reply.error["Message"]


def served(there: World, request: bytes, port: int = 1) -> bool:
    """Whether the request reaches the container on that port."""
    return Reply(there.call(request, (port, OK))).status == 200


def changed(request: bytes, old: bytes, new: bytes) -> bytes:
    assert request.count(old) == 1
    return request.replace(old, new)


# --- signatures


def test_a_signed_call_is_served() -> None:
    """Small and large, with headers of the API, in one piece and in many."""
    there = world()
    assert served(there, signed(ALICE))
    assert served(there, signed(ALICE, body=b"x" * 200_000, Content_Type="text/csv", Accept="text/*"))
    assert served(there, signed(ALICE, name="direct", X_Amzn_SageMaker_Target_Container_Hostname="second"), 12)
    request = signed(ALICE, body=bytes(range(256)) * 500)
    client = there.connect()
    for at in range(0, len(request), 1000):
        client.receive(request[at : at + 1000])
    there.busy(1).receive(OK)
    assert Reply(client.take()).status == 200


def test_a_presigned_url_is_served_until_it_expires() -> None:
    """The signature is in the query, and good for the time that it says."""
    there = world()
    assert served(there, signed(ALICE, body=b"", presigned=True))
    late = refused(there, signed(ALICE, body=b"", presigned=True, at=time.time() - 3700))
    assert late[:2] == (403, "InvalidSignatureException")
    assert late[2].startswith("Signature expired: ")


def guards() -> dict[str, tuple[bytes, int, str]]:
    """What is refused, with status and code. Signed when it is needed: a signature is good for minutes."""
    return {
        "not signed": (invoke("single"), 403, "MissingAuthenticationTokenException"),
        "wrong secret": (signed(Credentials("AKIAALICE", "guess")), 403, "InvalidSignatureException"),
        "unknown key": (signed(User("mallory")), 403, "UnrecognizedClientException"),
        "wrong service in the scope": (signed(ALICE, service="s3"), 403, "InvalidSignatureException"),
        "old date": (signed(ALICE, at=time.time() - 420), 403, "InvalidSignatureException"),
        "future date": (signed(ALICE, at=time.time() + 420), 403, "InvalidSignatureException"),
        "host not signed": (
            changed(signed(ALICE), b"SignedHeaders=host;x-amz-date", b"SignedHeaders=x-amz-date"),
            403,
            "InvalidSignatureException",
        ),
        "another body": (signed(ALICE, body=b"[1]", sent=b"[2]"), 403, "InvalidSignatureException"),
        "a longer body": (signed(ALICE, body=b"[1]", sent=b"[1] "), 403, "InvalidSignatureException"),
        "no body": (signed(ALICE, body=b"[1]", sent=b""), 403, "InvalidSignatureException"),
        "a header added after signing": (
            signed(ALICE, name="direct", after=[("X-Amzn-SageMaker-Target-Container-Hostname", "second")]),
            403,
            "InvalidSignatureException",
        ),
        "a session token added after signing": (
            signed(ALICE, after=[("X-Amz-Security-Token", "token")]),
            403,
            "InvalidSignatureException",
        ),
        "a signed header twice": (
            signed(ALICE, X_Amzn_SageMaker_Inference_Id="a", after=[("X-Amzn-SageMaker-Inference-Id", "b")]),
            400,
            "MalformedHttpRequestException",
        ),
        "Authorization twice": (
            signed(ALICE, after=[("Authorization", "AWS4-HMAC-SHA256 Credential=x")]),
            400,
            "MalformedHttpRequestException",
        ),
        "signed by header and query": (
            changed(signed(ALICE), b"/invocations HTTP", b"/invocations?X-Amz-Signature=0 HTTP"),
            400,
            "IncompleteSignatureException",
        ),
        "a query parameter of the signature twice": (
            changed(
                signed(ALICE, body=b"", presigned=True), b"&X-Amz-Date=", b"&X-Amz-Date=20260101T000000Z&X-Amz-Date="
            ),
            400,
            "IncompleteSignatureException",
        ),
        "an overlong Authorization": (
            changed(signed(ALICE), b"Signature=", b"Signature=" + b"0" * 5000),
            400,
            "IncompleteSignatureException",
        ),
        "an unknown algorithm": (
            changed(signed(ALICE), b"AWS4-HMAC-SHA256", b"AWS4-HMAC-SHA1"),
            400,
            "IncompleteSignatureException",
        ),
        "a password": (invoke("single", Authorization="Basic cm9vdDpyb290"), 400, "IncompleteSignatureException"),
        "an unsigned payload in the clear": (
            signed(ALICE, X_Amz_Content_SHA256="UNSIGNED-PAYLOAD"),
            403,
            "InvalidSignatureException",
        ),
        "a payload in signed chunks": (
            signed(ALICE, X_Amz_Content_SHA256="STREAMING-AWS4-HMAC-SHA256-PAYLOAD"),
            403,
            "InvalidSignatureException",
        ),
    }


@pytest.mark.parametrize("case", guards())
def test_each_guard_of_a_signature_fires(case: str) -> None:
    """Whatever is wrong: AWS's own code, a request id, an accurate date, and no container hears of it."""
    request, status, code = guards()[case]
    reply = ask(world(), request)
    assert (reply.status, reply.headers["x-amzn-errortype"]) == (status, code)
    assert reply.headers["x-amzn-requestid"]
    assert reply.headers["date"].endswith(" GMT")
    assert "secret" not in reply.body.decode()


def test_a_key_that_is_gone_disabled_or_expired_is_unknown() -> None:
    """Gone and disabled keys are not in the table; an expired one is judged at each call. Nobody learns which."""
    old = User("old", ALLOW_ALL, expires_at=time.time() - 1)
    there = world(ALICE, old)
    assert served(there, signed(ALICE))
    there = world(BOB, old)
    answers = {refused(there, signed(user)) for user in (ALICE, old, User("never"))}
    assert answers == {(403, "UnrecognizedClientException", "The security token included in the request is invalid.")}


def test_a_new_table_takes_effect_with_the_next_call() -> None:
    """Also on a connection that is open: a key that was disabled, and a policy that changed."""
    there = world(ALICE)
    client = there.connect()
    for version, user, status in ((2, ALICE, 200), (3, BOB, 403), (4, User("alice"), 403), (5, ALICE, 200)):
        there.access = table(user)
        there.publish(single(), direct(), version=version)
        client.receive(signed(ALICE))
        if status == 200:
            pool = there.pool(1)
            (pool.accept() if pool.users else pool.upstreams[0].transport).receive(OK)  # type: ignore[union-attr]
        assert Reply(client.take()).status == status


def test_a_server_without_keys_becomes_one_with_keys() -> None:
    """And the other way round, without a restart."""
    there = World(single())
    assert served(there, invoke("single"))
    there = World(single())
    there.access = table(ALICE)
    there.publish(single(), version=2)
    assert refused(there, invoke("single"))[1] == "MissingAuthenticationTokenException"
    assert served(there, signed(ALICE))


def test_nobody_may_call_before_the_first_table() -> None:
    """Closed until told otherwise."""
    there = World(single())
    closed = World.__new__(World)
    closed.__dict__.update(there.__dict__)
    assert there.gateway.guard is None
    fresh = World(single(), access=table())
    assert refused(fresh, signed(ALICE))[1] == "UnrecognizedClientException"


# --- heads that are known


def from_sdk(identity: str, body: bytes = b"{}", user: User | Credentials = ALICE, **changes: Any) -> bytes:
    """As boto3 sends it: with an id of its own that is not signed."""
    after = [("amz-sdk-invocation-id", identity), ("amz-sdk-request", "attempt=1")]
    return signed(user, body=body, after=after, **changes)


ONE, TWO = "8b1f0a52-5d39-4f8e-9d0c-0a1b2c3d4e5f", "00000000-5d39-4f8e-9d0c-0a1b2c3d4e5f"


def test_a_signed_head_that_is_known_is_verified_as_any_other() -> None:
    """With another time, another body of the same length, another id of the SDK's; each signature is its own."""
    there = world()
    now = time.time()
    for number in range(5):
        body = b"[%d]" % number
        assert served(there, from_sdk(ONE if number % 2 else TWO, body, at=now - number))
        assert len(heads._signed) == 1
    good = from_sdk(ONE, b"[7]", at=now - 9)
    for bad in (
        good[:-3] + b"[8]",
        changed(good, b"Signature=", b"Signature=0")[:-4] + b"[7]",
        from_sdk(ONE, b"[7]", Credentials("AKIAALICE", "guess")),
        from_sdk(ONE, b"[7]", at=now - 1000),
        from_sdk(ONE, b"[7]", at=now + 1000),
        from_sdk(ONE, b"[7]", sent=b"[9]"),
    ):
        assert refused(there, bad)[0] in {400, 403}
    assert served(there, good)


def test_a_known_head_goes_by_the_latest_table() -> None:
    """A key that is gone, a policy that changed."""
    there = world()
    assert served(there, from_sdk(ONE))
    there.access = table(User("alice"))
    there.publish(single(), direct(), version=2)
    assert refused(there, from_sdk(TWO))[1] == "AccessDeniedException"
    there.access = table(BOB)
    there.publish(single(), direct(), version=3)
    assert refused(there, from_sdk(ONE))[1] == "UnrecognizedClientException"


def test_only_what_was_found_right_is_known() -> None:
    """A stranger's heads take no room."""
    there = world()
    refused(there, from_sdk(ONE, user=Credentials("AKIAALICE", "guess")))
    refused(there, signed(User("mallory")))
    assert heads._signed == {}


def test_what_else_looks_like_a_signature_does_no_harm() -> None:
    """A header with the same words before the real one, and an SDK that signs its id: neither is taken for another."""
    there = world()
    fake = f"a, Signature={'0' * 64}"
    for _ in range(3):
        assert served(there, signed(ALICE, X_Amzn_SageMaker_Custom_Attributes=fake))
        assert served(there, signed(ALICE, amz_sdk_invocation_id=ONE))
        assert served(there, signed(ALICE, amz_sdk_invocation_id=TWO))


def test_known_heads_are_bounded() -> None:
    """However many a client has."""
    there = world()
    for number in range(heads.MOST + 10):
        assert served(there, signed(ALICE, X_Amzn_SageMaker_Inference_Id=f"id-{number}"))
        assert len(heads._signed) <= heads.MOST


# --- sessions

VAULT_KEY = bytes(range(32))


def session(**changes: Any) -> tuple[Credentials, str]:
    """Temporary credentials of a role, and the key that opens their token."""
    key = Vault(None, VAULT_KEY).token_key  # type: ignore[arg-type]  # a vault without a file
    made = Session(
        key_id="ASIASESSION",
        secret="secret of a session",
        account=ACCOUNT,
        kind=PrincipalKind.ROLE,
        name="batch",
        principal_id="AROABATCH",
        issued_at=time.time() - 10,
        expires_at=time.time() + 900,
        session_name="nightly",
    )
    made = replace(made, **changes)
    return Credentials(made.key_id, made.secret, Sealer(key).seal(made)), key


ROLE = Grantee(ACCOUNT, PrincipalKind.ROLE, "batch", "AROABATCH", (policy(ALLOW_ALL),), trust="{}")


def test_temporary_credentials_are_served_while_they_last() -> None:
    """By the role's policies; a token that has expired says so."""
    credentials, key = session()
    there = world(roles=(ROLE,), token_key=key)
    assert served(there, signed(credentials))
    old, _ = session(expires_at=time.time() - 1)
    assert refused(there, signed(old))[:2] == (403, "ExpiredTokenException")


def test_temporary_credentials_end_with_their_role() -> None:
    """Also when another role of that name is made."""
    credentials, key = session()
    for roles in ((), (replace(ROLE, id="AROAOTHER"),)):
        assert refused(world(roles=roles, token_key=key), signed(credentials))[1] == "UnrecognizedClientException"


@pytest.mark.parametrize("fault", ["another token", "no token", "another key id", "a token of another server"])
def test_temporary_credentials_are_one(fault: str) -> None:
    """Key id, secret and token belong together."""
    credentials, key = session()
    other, _ = session(key_id="ASIAOTHER")
    if fault == "another token":
        credentials.token = other.token
    elif fault == "no token":
        credentials.token = None
    elif fault == "another key id":
        credentials.access_key = "ASIAOTHER"
    else:
        key = Vault(None, bytes(32)).token_key  # type: ignore[arg-type]  # a vault without a file
    assert refused(world(roles=(ROLE,), token_key=key), signed(credentials))[1] == "UnrecognizedClientException"


def test_a_session_policy_limits_its_role() -> None:
    """What the session was made for, and no more."""
    credentials, key = session(policies=(policy(allow(arn("direct")), name="session"),))
    there = world(roles=(ROLE,), token_key=key)
    assert refused(there, signed(credentials))[1] == "AccessDeniedException"
    assert served(there, signed(credentials, name="direct", X_Amzn_SageMaker_Target_Container_Hostname="first"), 11)


# --- policies


def test_without_a_policy_nothing_is_allowed() -> None:
    """In AWS's words, which name the caller, the action and the resource."""
    text = (
        f"User: arn:aws:iam::{ACCOUNT}:user/bob is not authorized to perform: sagemaker:InvokeEndpoint on resource: "
        f"{arn('single')} because no identity-based policy allows the sagemaker:InvokeEndpoint action"
    )
    assert refused(world(), signed(BOB)) == (403, "AccessDeniedException", text)


def test_a_forbidden_endpoint_and_one_that_is_not_there_look_alike() -> None:
    """But for the name that the caller has given; whoever may invoke it is told that it is not there."""
    there = world()
    forbidden, missing = refused(there, signed(BOB, "single")), refused(there, signed(BOB, "nothing"))
    assert [part.replace("nothing", "single") if isinstance(part, str) else part for part in missing] == [*forbidden]
    assert refused(there, signed(ALICE, "nothing"))[1:] == (
        "ValidationError",
        f"Endpoint nothing of account {ACCOUNT} not found.",
    )


def test_strangers_learn_nothing_of_endpoints() -> None:
    """Before the signature is found right, every name is answered in the same way, whatever else is wrong."""
    there = world()
    paths = ["/endpoints/single/invocations", "/endpoints/nothing/invocations", "/endpoints/%00/x", "/endpoints/"]
    for make in (lambda path: invoke("", path=path), lambda path: signed(User("mallory"), path=path)):
        assert len({refused(there, make(path)) for path in paths}) == 1


TARGET = "X_Amzn_SageMaker_Target_Container_Hostname"


@pytest.mark.parametrize(
    ("statements", "allowed"),
    [
        ([allow(StringLike={"sagemaker:TargetContainerHostname": ["first"]})], {"first"}),
        ([allow(StringLike={"sagemaker:TargetContainerHostname": ["f*", "x"]})], {"first"}),
        ([allow(StringLike={"sagemaker:TargetContainerHostname": ["*"]})], {"first", "second"}),
        ([allow(), deny(StringLike={"sagemaker:TargetContainerHostname": ["second"]})], {"first", None}),
        ([allow(), deny(Null={"sagemaker:TargetContainerHostname": "true"})], {"first", "second"}),
        ([allow(arn("direct"))], {"first", "second", None}),
        ([allow(arn("other"))], set()),
        ([allow(action="sagemaker:Describe*")], set()),
    ],
)
def test_a_policy_allows_containers_one_by_one(statements: list[dict[str, Any]], allowed: set[str | None]) -> None:
    """SageMaker's documented policies: some containers, all but some, none without a name. Asked twice, for what was
    decided is remembered."""
    there = world(User("carol", *statements))
    carol = User("carol")
    for _ in range(2):
        for name, port in (("first", 11), ("second", 12), (None, 0)):
            request = signed(carol, "direct", **({TARGET: name} if name else {}))
            if name and name in allowed:
                assert served(there, request, port)
                continue
            client = there.connect()
            client.receive(request)
            code = Reply(client.take()).headers["x-amzn-errortype"]
            # Who may call without a name is told that one is needed.
            assert code == ("ValidationError" if name in allowed else "AccessDeniedException")


def test_conditions_that_differ_from_call_to_call_are_judged_at_each() -> None:
    """An address is the client's own, whatever it was the call before."""
    there = world(User("dora", allow(IpAddress={"aws:SourceIp": "192.0.2.0/24"})))
    for address, status in (("192.0.2.7", 200), ("198.51.100.1", 403), ("192.0.2.8", 200)):
        client = there.connect()
        client.extra["peername"] = (address, 4711)
        client.receive(signed(User("dora")))
        if status == 200:
            pool = there.pool(1)
            (pool.accept() if pool.users else there.busy(1)).receive(OK)
        assert Reply(client.take()).status == status


def test_time_and_transport_are_conditions_too() -> None:
    """`aws:CurrentTime`, and `aws:SecureTransport`, which is so only where the port speaks TLS."""
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ")
    early = world(User("erin", allow(DateLessThan={"aws:CurrentTime": "2020-01-01T00:00:00Z"})))
    assert refused(early, signed(User("erin")))[1] == "AccessDeniedException"
    assert served(world(User("erin", allow(DateGreaterThanEquals={"aws:CurrentTime": now}))), signed(User("erin")))
    secure = User("fred", allow(Bool={"aws:SecureTransport": "true"}))
    assert refused(world(secure), signed(secure))[1] == "AccessDeniedException"
    assert served(world(secure, options={"tls_cert": "c"}), signed(secure))


def test_tags_of_an_endpoint_are_conditions() -> None:
    """They come with the table."""
    gina = User("gina", allow(StringEquals={"aws:ResourceTag/team": "red"}))
    assert served(world(gina, endpoint_tags={arn("single"): {"team": "red"}}), signed(gina))
    for tags in ({}, {arn("single"): {"team": "blue"}}):
        assert refused(world(gina, endpoint_tags=tags), signed(gina))[1] == "AccessDeniedException"


def test_a_stream_is_authorised_as_a_call() -> None:
    """IAM knows one action for both."""
    there = world()
    assert refused(there, signed(BOB, operation="invocations-response-stream"))[1] == "AccessDeniedException"
    client = there.connect()
    client.receive(signed(ALICE, operation="invocations-response-stream"))
    there.pool(1).accept().receive(OK)
    assert Reply(client.take()).headers["content-type"] == "application/vnd.amazon.eventstream"


# --- accounts


def test_two_accounts_may_have_an_endpoint_of_the_same_name() -> None:
    """A caller reaches that of its own account."""
    zoe = User("zoe", ALLOW_ALL, account=OTHER)
    there = World(single(), endpoint("single", variant(instance("z", 9)), account=OTHER), access=table(ALICE, zoe))
    assert served(there, signed(ALICE), 1)
    assert served(there, signed(zoe), 9)


def test_a_region_is_another_place() -> None:
    """The one that the call is signed for."""
    there = World(endpoint("single", variant(instance("w", 8)), region="eu-west-1"), access=table(ALICE))
    assert served(there, signed(ALICE, region="eu-west-1"), 8)
    assert refused(there, signed(ALICE))[1] == "ValidationError"


def by_arn(name: str = "single") -> str:
    return f"/endpoints/{arn(name).replace(':', '%3A').replace('/', '%2F')}/invocations"


def test_another_account_needs_leave_of_both() -> None:
    """Its endpoint is named by its ARN: the endpoint's policy must allow it, and the caller's own."""
    grant = policy(
        {
            "Effect": "Allow",
            "Principal": {"AWS": OTHER},
            "Action": "sagemaker:InvokeEndpoint",
            "Resource": arn("single"),
        }
    ).document
    zoe, yves = User("zoe", ALLOW_ALL, account=OTHER), User("yves", account=OTHER)
    granted = {"endpoint_policies": {arn("single"): grant}}
    assert served(world(zoe, yves, **granted), signed(zoe, path=by_arn()))
    assert refused(world(zoe, yves), signed(zoe, path=by_arn()))[1] == "AccessDeniedException"
    assert refused(world(zoe, yves, **granted), signed(yves, path=by_arn()))[1] == "AccessDeniedException"
    assert refused(world(zoe, yves, **granted), signed(zoe, path=by_arn("direct")))[1] == "AccessDeniedException"
    assert refused(world(zoe, yves, **granted), signed(zoe))[1] == "ValidationError"


def test_an_arn_names_an_endpoint_of_ones_own_too() -> None:
    """With the caller's own policies alone; one that is not there is told as by its name."""
    there = world()
    assert served(there, signed(ALICE, path=by_arn()))
    assert refused(there, signed(ALICE, path=by_arn("nothing")))[1] == "ValidationError"
    assert refused(there, signed(BOB, path=by_arn()))[1] == "AccessDeniedException"


@pytest.mark.parametrize(
    "name", ["%2e%2e", "a%2Fb", "single%2F", "%73ingle%00", "%00", "..%2Fsingle", "single%0d%0aX", "arn%3Aaws", "%"]
)
def test_names_with_encoded_slashes_dots_and_nuls_reach_nothing(name: str) -> None:
    """They are names that no endpoint can have; the path is never taken apart again."""
    reply = ask(world(), signed(ALICE, path=f"/endpoints/{name}/invocations"))
    assert reply.headers["x-amzn-errortype"] in {"ValidationError", "InvalidSignatureException"}


# --- bodies


def test_a_signed_body_reaches_no_container_before_it_is_whole() -> None:
    """However much of it came: its last byte may be another than the one that was signed."""
    body = bytes(range(256)) * 4000
    for last, status in ((body[-1:], 200), (b"\x00", 403)):
        there = world()
        request = signed(ALICE, body=body, sent=body[:-1] + last)
        client = there.connect()
        for at in range(0, len(request) - 1, 64 * 1024):
            client.receive(request[at : min(at + 64 * 1024, len(request) - 1)])
            assert untouched(there)
        client.receive(request[-1:])
        if status == 200:
            there.pool(1).accept().receive(OK)
        assert Reply(client.take()).status == status
        assert status == 200 or untouched(there)


def test_the_body_of_a_stranger_is_not_waited_for() -> None:
    """A larger body is refused at its head: nobody can fill memory who has no key."""
    for request in (signed(User("mallory"), body=b"x" * 100_000), invoke("single", b"x" * 100_000)):
        there = world()
        client = there.connect()
        client.receive(request[: request.index(b"\r\n\r\n") + 4])
        reply = Reply(client.take())
        assert (reply.status, reply.headers["connection"]) == (403, "close")
        assert client.wrote_eof
        assert untouched(there)


def test_a_chunked_body_is_hashed_as_it_comes() -> None:
    """The signature is one of the content, not of its chunks."""
    for content, status in ((b"abcdef", 200), (b"abcdeF", 403)):
        there = world()
        head, _, _ = signed(ALICE, body=b"abcdef").partition(b"Content-Length")
        client = there.connect()
        pieces = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (content[:2], content[2:]))
        client.receive(head + b"Transfer-Encoding: chunked\r\n\r\n" + pieces + b"0\r\n\r\n")
        if status == 200:
            there.pool(1).accept().receive(OK)
        assert Reply(client.take()).status == status


def test_over_tls_an_unsigned_body_may_go_on_while_it_comes() -> None:
    """The client said so under its signature; nothing has to be waited for."""
    there = world(options={"tls_cert": "c"})
    request = signed(ALICE, body=b"x" * 400_000, X_Amz_Content_SHA256="UNSIGNED-PAYLOAD")
    client = there.connect()
    client.receive(request[:300_000])
    container = there.pool(1).accept()
    client.receive(request[300_000:])
    assert container.take().endswith(b"x" * 1000)
    container.receive(OK)
    assert Reply(client.take()).status == 200


def test_over_tls_a_wrong_signature_without_a_body_s_hash_is_refused_at_once() -> None:
    """Before any of the body goes anywhere."""
    there = world(options={"tls_cert": "c"})
    mallory = Credentials("AKIAALICE", "guess")
    client = there.connect()
    client.receive(signed(mallory, body=b"x" * 400_000, X_Amz_Content_SHA256="UNSIGNED-PAYLOAD")[:300_000])
    assert Reply(client.take()).status == 403
    assert untouched(there)


# --- a server without keys


def test_web_pages_cannot_use_a_server_without_keys() -> None:
    """A browser says whose page asks; no AWS client does. With a signature it is of no matter."""
    there = World(single())
    reply = ask(there, invoke("single", Origin="https://evil.example"))
    assert (reply.status, reply.headers["x-amzn-errortype"]) == (403, "AccessDeniedException")
    assert served(world(), signed(ALICE, after=[("Origin", "https://console.example")]))


# --- the audit log


def test_a_refusal_is_told_to_the_audit_log() -> None:
    """CloudTrail's fields: who, what, on what, from where, why; no body, no secret."""
    there = world()
    client = there.connect()
    client.extra["peername"] = ("192.0.2.7", 4711)
    request = signed(BOB, "direct", b'{"password": 1}', **{TARGET: "first"}, after=[("User-Agent", "Boto3/1")])
    client.receive(request)
    reply = Reply(client.take())
    (record,) = there.records
    assert record["userIdentity"] == {
        "type": "IAMUser",
        "principalId": "AIDABOB",
        "arn": f"arn:aws:iam::{ACCOUNT}:user/bob",
        "accountId": ACCOUNT,
        "accessKeyId": "AKIABOB",
        "userName": "bob",
    }
    assert record["eventVersion"]
    assert (record["eventSource"], record["eventName"]) == ("sagemaker.amazonaws.com", "InvokeEndpoint")
    assert (record["awsRegion"], record["sourceIPAddress"], record["userAgent"]) == (REGION, "192.0.2.7", "Boto3/1")
    assert record["errorCode"] == "AccessDeniedException"
    assert record["requestParameters"] == {"endpointName": "direct", "targetContainerHostname": "first"}
    assert record["resources"] == [{"type": "AWS::SageMaker::Endpoint", "ARN": arn("direct")}]
    assert record["requestID"] == reply.headers["x-amzn-requestid"]
    assert "no identity-based policy allows" in record["additionalEventData"]["decision"]
    assert "password" not in str(record)
    assert "secret" not in str(record)


def test_a_stranger_s_refusal_names_nobody() -> None:
    """What was not verified is not told as if it were; calls that are served are not told."""
    there = world()
    ask(there, signed(Credentials("AKIAALICE", "guess")))
    served(there, signed(ALICE))
    ask(World(single()), invoke("nothing"))
    (record,) = there.records
    assert record["userIdentity"] == {"type": "Unknown"}
    assert record["errorCode"] == "InvalidSignatureException"


def test_refusals_wait_while_control_is_away() -> None:
    """And are bounded; what was lost is counted."""
    there = world()
    there.gateway.refusals._send = lambda _: False
    for _ in range(3):
        ask(there, invoke("single"))
    assert there.records == []
    there.gateway.refusals._send = there._hear
    assert len(there.records) == 3


# --- mutations


def mutated(chance: random.Random, request: bytes) -> bytes:
    """Another byte at one place, or one more, or one less."""
    at = chance.randrange(len(request))
    kind = chance.random()
    if kind < 0.8:
        new = chance.randrange(255)
        return request[:at] + bytes([new if new < request[at] else new + 1]) + request[at + 1 :]
    if kind < 0.9:
        return request[:at] + bytes([chance.randrange(256)]) + request[at:]
    return request[:at] + request[at + 1 :]


def means_the_same(original: bytes, other: bytes) -> bool:
    """What HTTP and AWS hold equal, and a signature does not cover: the case of a header's name, blanks where none need
    be, an empty line before the request, an empty query, how a length is written, the version, and headers that
    mean nothing to anybody."""
    return _essence(original) == _essence(other)


def _essence(request: bytes) -> tuple[bytes, ...]:
    head, _, body = request.lstrip(b"\r\n").partition(b"\r\n\r\n")
    line, *headers = head.split(b"\r\n")
    method, target, _ = line.split()
    parted = [header.partition(b":") for header in headers]
    folded = sorted((name.lower(), re.sub(rb" ?, ?", b",", b" ".join(value.split()))) for name, _, value in parted)
    meaningful = (b"x-am", b"host", b"content-type", b"accept", b"authorization", b"transfer-encoding")
    rest = [b"%b:%b" % pair for pair in folded if pair[0].startswith(meaningful)]
    size = sum(int(value) for name, value in folded if name == b"content-length")
    return (method, target.removesuffix(b"?"), *rest, body[:size])


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_hundred_thousand_mutated_requests_reach_no_container() -> None:
    """In any byte of request line, headers, body or signature: whatever is not the same request is refused."""
    chance = random.Random(7)
    there = world()
    requests = [
        signed(ALICE, body=b'{"instances": [[5.1, 3.5]]}', Content_Type="application/json", Accept="text/csv"),
        signed(ALICE, "direct", b"1,2,3", **{TARGET: "second"}, X_Amzn_SageMaker_Custom_Attributes="a=b"),
        signed(ALICE, body=b"", presigned=True),
    ]
    # Their heads are known from here on: what is like them, but for a little, takes the short way.
    for request, port in zip(requests, (1, 12, 1), strict=True):
        assert served(there, request, port)
    assert heads._signed
    counted = reached = 0
    signed_at = time.time()
    for number in range(100_000):
        if time.time() - signed_at > 120:
            pytest.fail("too slow: the signatures would expire, and refuse what a guard should")
        original = requests[number % len(requests)]
        request = mutated(chance, original)
        client = there.connect()
        client.receive(request)
        client.hang_up()
        counted += 1
        if any(pool.users for pool in there.pools.values()):
            reached += 1
            assert means_the_same(original, request), (original, request)
            for pool in there.pools.values():
                pool.users.clear()
    assert counted == 100_000
    # Nearly all are refused, and the test can tell when one is not.
    assert 0 < reached < 2000
