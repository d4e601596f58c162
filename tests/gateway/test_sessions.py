"""Sessions: a container issues an id, and later calls with it reach the instance that did."""

import re
from itertools import count
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway import workers
from gateway.fakes import Reply, World, answer, endpoint, instance, invoke, variant
from gateway.workers import Lab, Visit, wait_for
from polyport.domain.routes import Acknowledge, EndpointRoute
from polyport.gateway.calls import sessions

INSTANCES = {"a": 1, "b": 2, "c": 3}
EXPIRES = "; Expires=2030-01-01T00:00:00Z"


def spread(*names: str, **fields: Any) -> EndpointRoute:
    return endpoint("e", variant(*(instance(name, INSTANCES[name]) for name in names), **fields))


@pytest.fixture
def world() -> World:
    return World(spread("a", "b", "c"))


def opened(world: World, name: str) -> str:
    """A new session in that instance: what the client has of its id."""
    world.draws.append(list(INSTANCES).index(name) / len(INSTANCES))
    reply = Reply(
        world.call(
            invoke("e", X_Amzn_SageMaker_Session_Id="NEW_SESSION"),
            (INSTANCES[name], answer(X_Amzn_SageMaker_Session_Id=f"s-{name}{EXPIRES}")),
        )
    )
    session, _, expires = reply.headers["x-amzn-sagemaker-new-session-id"].partition(";")
    assert f";{expires}" == EXPIRES
    return session


@pytest.mark.parametrize("operation", ["invocations", "invocations-response-stream"])
def test_a_session_s_calls_reach_the_instance_that_opened_it(world: World, operation: str) -> None:
    """Whatever the draw; the container sees the id that it gave."""
    ids = {name: opened(world, name) for name in INSTANCES}
    for name, session in ids.items():
        for draw in (0.0, 0.5, 0.9):
            world.draws.append(draw)
            client = world.connect()
            client.receive(invoke("e", operation=operation, X_Amzn_SageMaker_Session_Id=session))
            container = world.busy(INSTANCES[name])
            assert f"X-Amzn-SageMaker-Session-Id: s-{name}\r\n".encode() in container.take()
            container.receive(answer())
            assert Reply(client.take()).status == 200
            world.draws.clear()


def test_a_closed_session_is_told_by_the_id_that_the_client_knows(world: World) -> None:
    """It compares the two."""
    session = opened(world, "b")
    raw = world.call(
        invoke("e", X_Amzn_SageMaker_Session_Id=session), (2, answer(X_Amzn_SageMaker_Closed_Session_Id="s-b"))
    )
    assert Reply(raw).headers["x-amzn-sagemaker-closed-session-id"] == session


def test_a_worker_that_never_saw_a_session_brings_it_to_its_place(world: World) -> None:
    """The id says enough: nothing is remembered."""
    session = opened(world, "c")
    other = World(spread("c", "a", "b"))
    raw = other.call(invoke("e", X_Amzn_SageMaker_Session_Id=session), (3, answer(b"known")))
    assert raw.endswith(b"known")


def test_a_session_whose_instance_is_gone_is_told_so(world: World) -> None:
    """It is not tried in another, which knows nothing of it."""
    session = opened(world, "b")
    world.publish(spread("a", "c"), version=2)
    reply = Reply(world.call(invoke("e", X_Amzn_SageMaker_Session_Id=session)))
    assert (reply.status, reply.headers["x-amzn-errortype"]) == (400, "ValidationError")
    assert reply.error["ErrorCode"] == "SESSION_NOT_FOUND"
    assert f"Session {session} of endpoint e is gone" in reply.error["Message"]


def test_a_session_whose_instance_refuses_goes_to_no_other(world: World) -> None:
    """An error is better than a container that does not know it."""
    session = opened(world, "b")
    world.pool(2).idle.clear()
    client = world.connect()
    client.receive(invoke("e", X_Amzn_SageMaker_Session_Id=session))
    world.pool(2).refuse()
    assert Reply(client.take()).status == 424
    assert not world.pool(1).users
    assert not world.pool(3).users


def test_a_session_is_found_in_whichever_variant_it_is() -> None:
    """Weights do not matter; a variant that is named and does not have it does."""
    one = variant(instance("a", 1), name="one")
    two = variant(instance("b", 2), name="two", weight=0.0)
    world = World(endpoint("e", one, two))
    session = f"x{sessions.mark('b').decode()}"
    reply = Reply(world.call(invoke("e", X_Amzn_SageMaker_Session_Id=session), (2, answer())))
    assert reply.headers["x-amzn-invoked-production-variant"] == "two"
    raw = world.call(invoke("e", X_Amzn_SageMaker_Session_Id=session, X_Amzn_SageMaker_Target_Variant="one"))
    assert Reply(raw).error["ErrorCode"] == "SESSION_NOT_FOUND"


def test_an_id_that_nobody_issued_is_for_a_container_to_judge(world: World) -> None:
    """It passes as it is."""
    client = world.connect()
    client.receive(invoke("e", X_Amzn_SageMaker_Session_Id="made-up"))
    assert b"Session-Id: made-up\r\n" in world.pool(1).accept().take()


@settings(deadline=None)
@given(st.from_regex(re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9])*", re.ASCII), fullmatch=True))
def test_a_marked_id_is_one_that_the_service_model_allows_and_comes_back_whole(name: str) -> None:
    """Whatever id a container invents, also one that looks marked already."""
    mark = sessions.mark("instance")
    for text in (name[:200], f"{name[:200]}-p01234567"):
        value = text.encode()
        made = sessions.marked(value + b"; Expires=x", mark)
        session, _, rest = made.partition(b";")
        assert rest == b" Expires=x"
        assert re.fullmatch(rb"[a-zA-Z0-9](-*[a-zA-Z0-9])*", session)
        assert sessions.split(session) == (value, mark)


@pytest.mark.parametrize("value", [b"", b" ; Expires=x", b"a" * 250])
def test_an_id_that_cannot_be_marked_stays_as_it_is(value: bytes) -> None:
    """Better a session that is not brought to its place than one that clients cannot send."""
    assert sessions.marked(value, sessions.mark("i")) == value


def test_boto3_keeps_a_session_over_two_workers(lab: Lab, port: int) -> None:
    """Unmodified, with a connection for each call, so that the kernel deals them out."""

    def keeper(name: str) -> Any:
        numbers = count()
        known: set[bytes] = set()

        async def keep(visit: Visit) -> None:
            asked = re.search(rb"Session-Id: (\S+)", visit.head)
            assert asked
            if asked[1] == b"NEW_SESSION":
                session = f"{name}{next(numbers)}".encode()
                known.add(session)
                await visit.say(
                    b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n"
                    b"X-Amzn-SageMaker-Session-Id: %b; Expires=2030-01-01T00:00:00Z\r\n\r\n" % session
                )
            else:
                await visit.answer(b"known" if asked[1] in known else b"unknown")

        return keep

    instances = [workers.instance(name, lab.container(keeper(name))) for name in "abc"]
    lab.control.publish(endpoint("e", variant(*instances)), version=1)
    for _ in range(2):
        lab.start(port)
    wait_for(lambda: len({id(one) for one in lab.control.of(Acknowledge)}) == 2, "both workers")

    def call(**arguments: Any) -> Any:
        config = Config(retries={"total_max_attempts": 1})
        client = boto3.client(
            "sagemaker-runtime",
            endpoint_url=f"http://127.0.0.1:{port}",
            region_name="us-east-1",
            aws_access_key_id="x",
            aws_secret_access_key="x",
            config=config,
        )
        try:
            response = client.invoke_endpoint(EndpointName="e", Body=b"", **arguments)
            return response["Body"].read(), response.get("NewSessionId", "")
        finally:
            client.close()

    ids = [call(SessionId="NEW_SESSION")[1].partition(";")[0] for _ in range(6)]
    for session in ids * 2:
        assert call(SessionId=session)[0] == b"known"
    with pytest.raises(ClientError, match="is gone"):
        call(SessionId=f"a0{sessions.mark('other').decode()}")
