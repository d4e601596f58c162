"""A real worker process: real sockets, real clients, a control that comes and goes, containers that die."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError, EventStreamError

from gateway.fakes import ACCOUNT, Reply, endpoint, invoke, variant
from gateway.sites import Site, is_cut_short, read_all, resident_megabytes
from gateway.workers import DEADLINE, Lab, Visit, instance, wait_for
from polyport.domain.routes import Acknowledge, Hello, Unreachable
from polyport.gateway.channel import Channel
from polyport.gateway.options import command
from polyport.gateway.worker import EXIT_USAGE, Worker, bind


def refusal(call: Any, **arguments: Any) -> Any:
    with pytest.raises(ClientError) as caught:
        call(**{"Body": b"{}"} | arguments)
    assert caught.value.response["ResponseMetadata"]["RequestId"]
    return caught.value.response


# --- boto3, as it is


def test_boto3_invokes_a_single_container(site: Site) -> None:
    """Body, type, variant and request id arrive where the SDK puts them."""
    response = site.runtime.invoke_endpoint(
        EndpointName="single", Body=b'{"a": 1}', ContentType="application/json", Accept="text/plain"
    )
    assert response["Body"].read() == b'{"a": 1}'
    assert response["ContentType"] == "text/plain"
    assert response["InvokedProductionVariant"] == "AllTraffic"
    assert len(response["ResponseMetadata"]["RequestId"]) == 36
    assert b"Content-Type: application/json\r\nAccept: text/plain\r\n" in site.first.visits[0].head


def test_boto3_invokes_containers_directly_and_in_sequence(site: Site) -> None:
    """By name, and through all of them."""
    runtime = site.runtime
    for name, container in (("first", site.first), ("second", site.second)):
        response = runtime.invoke_endpoint(EndpointName="direct", TargetContainerHostname=name, Body=name.encode())
        assert response["Body"].read() == name.encode()
        assert container.visits[-1].body == name.encode()

    async def append(visit: Visit) -> None:
        await visit.answer(visit.body + b"+", b"text/csv; charset=utf-8")

    for container in (site.first, site.second, site.third):
        container.behaviour = append
    response = runtime.invoke_endpoint(EndpointName="serial", Body=b"x", CustomAttributes="a=b")
    assert response["Body"].read() == b"x+++"
    assert response["ContentType"] == "text/csv; charset=utf-8"
    assert b"X-Amzn-SageMaker-Custom-Attributes: a=b" in site.third.visits[-1].head


def test_boto3_reads_every_error_as_what_it_is(site: Site) -> None:
    """Codes, statuses and members, from the unmodified client's parser."""
    invoke_endpoint = site.runtime.invoke_endpoint
    response = refusal(invoke_endpoint, EndpointName="nobody")
    assert response["Error"] == {
        "Code": "ValidationError",
        "Message": f"Endpoint nobody of account {ACCOUNT} not found.",
    }
    for arguments in (
        {"EndpointName": "direct"},
        {"EndpointName": "direct", "TargetContainerHostname": "third"},
        {"EndpointName": "single", "TargetContainerHostname": "first"},
        {"EndpointName": "serial", "TargetContainerHostname": "one"},
        {"EndpointName": "single", "TargetVariant": "other"},
        {"EndpointName": "single", "TargetModel": "m.tar.gz"},
        {"EndpointName": "single", "InferenceComponentName": "c"},
        {"EndpointName": "not_a_name"},
        {"EndpointName": "single", "TargetVariant": "-"},
    ):
        response = refusal(invoke_endpoint, **arguments)
        assert response["Error"]["Code"] == "ValidationError", arguments
        assert response["ResponseMetadata"]["HTTPStatusCode"] == 400
    with pytest.raises(site.runtime.exceptions.ValidationError):
        site.runtime.invoke_endpoint_async(EndpointName="single", InputLocation="s3://b/k")
    assert not site.first.visits

    async def fail(visit: Visit) -> None:
        await visit.answer(b"no such column", status=b"400 Bad Request")

    site.first.behaviour = fail
    response = refusal(invoke_endpoint, EndpointName="single")
    assert response["Error"]["Code"] == "ModelError"
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 424
    assert response["OriginalStatusCode"] == 400
    assert response["OriginalMessage"] == "no such column"
    assert response["LogStreamArn"].endswith(":log-group:/aws/sagemaker/Endpoints/single")
    assert len(site.first.visits) == 1


def test_boto3_reads_a_response_stream(site: Site) -> None:
    """As parts while they come; a break in the middle as EventStreamError."""

    async def stream(visit: Visit) -> None:
        await visit.say(b"HTTP/1.1 200 OK\r\nContent-Type: text/x\r\nTransfer-Encoding: chunked\r\n\r\n")
        for part in (b"one ", b"two ", b"three"):
            await visit.say(b"%x\r\n%b\r\n" % (len(part), part))
        if visit.body == b"break":
            visit.reset()
        else:
            await visit.say(b"0\r\n\r\n")

    site.first.behaviour = stream
    call = site.runtime.invoke_endpoint_with_response_stream
    response = call(EndpointName="single", Body=b"")
    assert response["ContentType"] == "text/x"
    assert response["InvokedProductionVariant"] == "AllTraffic"
    assert b"".join(event["PayloadPart"]["Bytes"] for event in response["Body"]) == b"one two three"

    parts = []
    response["Body"].close()
    broken = call(EndpointName="single", Body=b"break")["Body"]
    with pytest.raises(EventStreamError, match="ModelStreamError"):
        parts += [event["PayloadPart"]["Bytes"] for event in broken]
    broken.close()


def test_bodies_up_to_the_limit_pass_and_larger_ones_are_refused_clearly(lab: Lab, port: int) -> None:
    """The SDK gets the answer although it is still sending; no container sees any of it."""
    site = Site(lab, port, max_body_bytes=3_000_000)
    body = os.urandom(3_000_000)
    assert site.runtime.invoke_endpoint(EndpointName="single", Body=body)["Body"].read() == body
    response = refusal(site.runtime.invoke_endpoint, EndpointName="single", Body=body + b"x")
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 413
    assert response["Error"]["Message"].startswith("HTTP content length exceeded 3000000 bytes.")
    assert len(site.first.visits) == 1


def test_a_call_beyond_its_time_is_a_model_error(lab: Lab, port: int) -> None:
    """And the container's connection is closed."""
    site = Site(lab, port, invocation_timeout=0.3)

    async def sleep(visit: Visit) -> None:
        await visit.until_gone()

    site.first.behaviour = sleep
    started = time.monotonic()
    response = refusal(site.runtime.invoke_endpoint, EndpointName="single")
    assert 0.25 < time.monotonic() - started < 3
    assert response["OriginalStatusCode"] == 0
    assert response["OriginalMessage"].startswith("Your invocation timed out while waiting for a response")
    wait_for(site.first.visits[0].gone.is_set, "the container to be told")


def test_everything_else_is_control_s(site: Site) -> None:
    """And says so when control is away, while invocations go on."""
    reply = site.raw(b"GET /healthz?x HTTP/1.1\r\nHost: h\r\n\r\n")
    assert reply.body == b"control saw GET /healthz?x HTTP/1.1"
    site.lab.control.hang_up()
    reply = site.raw(b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n")
    assert (reply.status, reply.error["__type"]) == (503, "ServiceUnavailable")
    assert site.raw(invoke("single", b"on")).body == b"on"


# --- tables


def test_a_worker_listens_only_once_it_has_a_table(lab: Lab, port: int) -> None:
    """Whoever connects finds its endpoints; the acknowledgement comes when the port is open."""
    lab.start(port)
    wait_for(lambda: lab.control.of(Hello), "Hello")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), DEADLINE)
    lab.control.publish(version=7)
    wait_for(lambda: lab.control.of(Acknowledge), "the acknowledgement")
    socket.create_connection(("127.0.0.1", port), DEADLINE).close()
    assert lab.control.of(Acknowledge) == [Acknowledge(7)]
    (hello,) = lab.control.of(Hello)
    assert (hello.worker, hello.pid) == ("worker-0", lab.processes[0].pid)


def test_a_table_switch_loses_no_call_and_tells_when_the_old_instance_is_free(site: Site) -> None:
    """Calls in flight finish where they are; ``draining`` names their instance until the last has ended."""

    async def hold(visit: Visit) -> None:
        await visit.say(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n")
        await release.wait()
        await visit.say(b"done")

    release = asyncio.Event()
    site.first.behaviour = hold
    fresh = site.lab.container()
    with ThreadPoolExecutor() as pool:
        calls = [pool.submit(site.raw, invoke("single")) for _ in range(3)]
        site.visited(site.first, 3)
        site.lab.control.publish(endpoint("single", variant(instance("new", fresh))), version=2)
        wait_for(lambda: Acknowledge(2, ("s",)) in site.lab.control.received, "the acknowledgement")
        assert site.raw(invoke("single", b"new")).body == b"new"
        site.lab.background.call(release.set)
        assert [call.result().body for call in calls] == [b"done"] * 3
    wait_for(lambda: site.lab.control.received[-1] == Acknowledge(2, ()), "the end of draining")


def test_a_worker_serves_on_while_control_is_away_and_calls_again(site: Site) -> None:
    """By the last table; the new control hears Hello and an acknowledgement of what it publishes."""
    site.lab.control.hang_up()
    assert site.raw(invoke("single", b"alone")).body == b"alone"
    site.lab.control.received.clear()
    site.lab.control.listen()
    site.lab.control.publish(*site.endpoints[:1], version=2)
    wait_for(lambda: Acknowledge(2) in site.lab.control.received, "the acknowledgement")
    assert isinstance(site.lab.control.received[0], Hello)
    assert site.raw(invoke("single", b"again")).body == b"again"
    assert site.raw(invoke("serial")).status == 400


# --- containers that die


@pytest.mark.parametrize("phase", ["before the head", "in the head", "between head and body", "in the body"])
def test_a_container_killed_in_any_phase_of_a_call(site: Site, phase: str) -> None:
    """Before anything was passed on: ModelError. After: the client's connection breaks, nothing looks whole."""
    whole = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"
    said = {
        "before the head": b"",
        "in the head": whole[:20],
        "between head and body": whole,
        "in the body": whole + b"a" * 10,
    }[phase]

    async def die(visit: Visit) -> None:
        if said:
            await visit.say(said)
        await asyncio.sleep(0.05)
        visit.reset()

    site.first.behaviour = die
    if phase in ("before the head", "in the head"):
        reply = site.raw(invoke("single"))
        assert reply.status == 424
        assert "could not get a response from the single endpoint" in reply.error["OriginalMessage"]
    else:
        with site.connect() as client:
            client.sendall(invoke("single"))
            assert is_cut_short(client)
    (report,) = wait_for(lambda: site.lab.control.of(Unreachable), "the report")
    assert (report.instance, report.hostname) == ("s", "only")
    assert len(site.first.visits) == 1, "a request reaches a container at most once"

    async def well(visit: Visit) -> None:
        await visit.answer(b"well")

    site.first.behaviour = well
    assert site.raw(invoke("single")).body == b"well"


def test_a_container_that_is_gone_is_skipped_and_reported(site: Site) -> None:
    """Calls go to the other instance; with none left they fail, and say so."""
    gone, there = site.lab.container(), site.lab.container()
    gone.refuse()
    both = endpoint("both", variant(instance("gone", gone), instance("there", there)))
    site.lab.control.publish(both, version=2)
    wait_for(lambda: Acknowledge(2) in site.lab.control.received, "the acknowledgement")
    assert [site.raw(invoke("both")).status for _ in range(20)] == [200] * 20
    wait_for(lambda: site.lab.control.of(Unreachable), "the report")
    assert {report.instance for report in site.lab.control.of(Unreachable)} == {"gone"}
    there.refuse()
    assert site.raw(invoke("both")).status == 424


def test_a_kept_connection_that_the_container_closed_meanwhile_costs_no_call(site: Site) -> None:
    """As servers do after a few idle seconds, at any moment."""

    async def answer_and_leave(visit: Visit) -> None:
        await visit.answer(b"bye")
        visit.writer.close()

    site.first.behaviour = answer_and_leave
    with site.connect() as client:
        for _ in range(50):
            client.sendall(invoke("single"))
            assert Reply(client.recv(65536)).body == b"bye"


# --- clients that leave


@pytest.mark.parametrize("phase", ["before the head", "in the body"])
@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_client_that_leaves_ends_the_call_in_the_container(site: Site, phase: str, how: str) -> None:
    """Its connection is closed; the next call gets a fresh one and its own answer."""

    async def hold(visit: Visit) -> None:
        if phase == "in the body":
            await visit.say(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nabc")
        await visit.until_gone()

    site.first.behaviour = hold
    client = site.connect()
    client.sendall(invoke("single"))
    visit = site.visited(site.first)
    if phase == "in the body":
        while b"abc" not in client.recv(65536):
            pass
    if how == "reset":
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    client.close()
    wait_for(visit.gone.is_set, "the container to be told")

    async def well(visit: Visit) -> None:
        await visit.answer(b"well")

    site.first.behaviour = well
    assert site.raw(invoke("single")).body == b"well"


def test_a_slow_reader_does_not_fill_the_worker_s_memory(site: Site) -> None:
    """What the client does not take stays in the container."""

    async def pour(visit: Visit) -> None:
        await visit.say(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (200 * 2**20))
        for _ in range(200):
            await visit.say(bytes(2**20))
            sent.append(1)

    sent: list[int] = []
    site.first.behaviour = pour
    with site.connect() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        client.sendall(invoke("single"))
        wait_for(lambda: sent, "the first megabyte")
        previous = -1
        while previous != len(sent):
            previous = len(sent)
            time.sleep(0.2)
        assert len(sent) < 60, "it does not run ahead of the client"
        assert resident_megabytes(site.process.pid) < 120
        taken = 0
        while taken < 200 * 2**20:
            taken += len(client.recv(2**20))
    assert len(sent) == 200


# --- the end


def test_sigterm_lets_calls_finish_and_ends_with_status_0(site: Site) -> None:
    """No new connections, idle ones are closed, answers say that the connection ends."""

    async def hold(visit: Visit) -> None:
        await release.wait()
        await visit.answer(b"finished")

    release = asyncio.Event()
    site.first.behaviour = hold
    with site.connect() as idle, site.connect() as busy:
        busy.sendall(invoke("single"))
        site.visited(site.first)
        site.process.send_signal(signal.SIGTERM)
        assert idle.recv(10) == b""
        with pytest.raises(ConnectionRefusedError):
            site.connect()
        site.lab.background.call(release.set)
        reply = Reply(read_all(busy))
        assert (reply.body, reply.headers["connection"]) == (b"finished", "close")
    assert site.process.wait(DEADLINE) == 0


def test_a_worker_that_is_replaced_lets_clients_use_their_connections_once_more(lab: Lab, port: int) -> None:
    """A client may be about to call just then: it is answered, and told that the connection ends. One that stays idle
    is closed after some seconds."""
    site = Site(lab, port)
    with site.connect() as idle, site.connect() as about_to_call:
        for one in (idle, about_to_call):
            one.sendall(invoke("single", b"before"))
            assert Reply(one.recv(65536)).body == b"before"
        site.process.send_signal(signal.SIGUSR2)
        wait_for(lambda: refuses(port), "the port to be left")
        about_to_call.sendall(invoke("single", b"after"))
        reply = Reply(read_all(about_to_call))
        assert (reply.body, reply.headers["connection"]) == (b"after", "close")
        assert idle.recv(10) == b""
    assert site.process.wait(DEADLINE) == 0


def refuses(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), DEADLINE).close()
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:
        return False  # it came just when the socket was closed
    return False


def test_connections_outlive_a_killed_worker_in_the_queue_of_a_socket_that_its_parent_keeps(
    lab: Lab, port: int
) -> None:
    """They are served by the worker that gets the same socket."""
    container = lab.container()
    lab.control.publish(endpoint("single", variant(instance("s", container))), version=1)
    with bind("127.0.0.1", port) as kept:
        kept.set_inheritable(True)
        line = command(lab.options(port, listeners=(kept.fileno(),)))
        first = subprocess.Popen(line, pass_fds=(kept.fileno(),), stderr=subprocess.DEVNULL)
        lab.processes.append(first)
        wait_for(lambda: lab.control.of(Acknowledge), "the acknowledgement")
        first.kill()
        first.wait()
        with socket.create_connection(("127.0.0.1", port), DEADLINE) as client:
            client.settimeout(DEADLINE)
            client.sendall(invoke("single", b"patience"))
            lab.processes.append(subprocess.Popen(line, pass_fds=(kept.fileno(),), stderr=subprocess.DEVNULL))
            assert Reply(client.recv(65536)).body == b"patience"


def test_sigterm_waits_no_longer_than_its_limit(lab: Lab, port: int) -> None:
    """Then what is left is broken off."""
    site = Site(lab, port, drain_timeout=0.2)

    async def hold(visit: Visit) -> None:
        await visit.until_gone()

    site.first.behaviour = hold
    with site.connect() as busy:
        busy.sendall(invoke("single"))
        visit = site.visited(site.first)
        site.process.terminate()
        assert site.process.wait(DEADLINE) == 0
        wait_for(visit.gone.is_set, "the container to be told")


def test_sigterm_before_the_first_table_ends_it_too(lab: Lab, port: int) -> None:
    """It has promised nothing to anyone."""
    process = lab.start(port)
    wait_for(lambda: lab.control.of(Hello), "Hello")
    process.terminate()
    assert process.wait(DEADLINE) == 0


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere the worker looks once a second")
def test_a_worker_ends_with_its_parent(lab: Lab, port: int) -> None:
    """However that ends: here by SIGKILL."""
    lab.control.publish(version=1)
    script = (
        "import subprocess, sys, os, json\n"
        "command = json.loads(sys.argv[1])\n"
        "options = json.loads(command[-1]) | {'parent': os.getpid()}\n"
        "subprocess.Popen([*command[:-1], json.dumps(options)], stderr=subprocess.DEVNULL)\n"
        "sys.stdin.read()\n"
    )
    arguments = [sys.executable, "-c", script, json.dumps(command(lab.options(port)))]
    parent = subprocess.Popen(arguments, stdin=subprocess.PIPE)
    lab.processes.append(parent)
    (hello,) = wait_for(lambda: lab.control.of(Hello), "Hello")
    parent.kill()
    parent.wait()
    assert parent.stdin is not None
    parent.stdin.close()
    wait_for(lambda: not is_running(hello.pid), "the worker's end")


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_port_that_is_taken_is_said_so(lab: Lab) -> None:
    """By a status that means: starting again would not help."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        process = subprocess.run(
            command(lab.options(taken.getsockname()[1])), capture_output=True, timeout=DEADLINE, check=False
        )
    assert process.returncode == EXIT_USAGE
    assert b"cannot listen on 127.0.0.1:" in process.stderr
    assert b"Traceback" not in process.stderr


def test_a_worker_whose_channel_fails_ends_to_be_started_anew(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Serving by an old table for ever would be worse."""

    async def fail(_: Channel) -> None:
        raise RuntimeError("a mistake of ours")

    async def work() -> None:
        with bind("127.0.0.1", 0) as listener:
            await Worker(lab.options(0), asyncio.get_running_loop(), (listener,)).run()

    monkeypatch.setattr(Channel, "run", fail)
    with pytest.raises(RuntimeError, match="a mistake of ours"):
        asyncio.run(work())


def test_options_that_are_none_are_said_so() -> None:
    """Never a stack trace."""
    for arguments in ([], ["{}"], ["nonsense"]):
        process = subprocess.run(
            [sys.executable, "-m", "polyport.gateway.worker", *arguments], capture_output=True, check=False
        )
        assert process.returncode == EXIT_USAGE
        assert b"options" in process.stderr
        assert b"Traceback" not in process.stderr


def test_two_workers_share_one_port(lab: Lab, port: int) -> None:
    """And both get calls; when one goes, the other has them all."""
    site = Site(lab, port)
    second = lab.start(port)
    wait_for(lambda: len(lab.control.of(Acknowledge)) == 2, "the second worker")
    prefixes = {site.raw(invoke("single")).headers["x-amzn-requestid"][:23] for _ in range(100)}
    assert len(prefixes) == 2
    second.kill()
    second.wait()
    assert [site.raw(invoke("single")).status for _ in range(20)] == [200] * 20


async def moody(visit: Visit) -> None:
    """Does what the body says."""
    if visit.body == b"die":
        visit.reset()
    elif visit.body == b"half":
        await visit.say(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
        visit.reset()
    else:
        await visit.answer(visit.body)


def call_in_all_ways(site: Site) -> None:
    """Once well, once each with a container that dies, and with a client that does not wait."""
    for body in (b"ok", b"die", b"half", b"leave"):
        with site.connect() as client:
            client.sendall(invoke("single", body))
            if body != b"leave":
                with suppress(ConnectionResetError):
                    client.recv(65536)


def test_calls_mixed_with_faults_leave_nothing_behind(site: Site) -> None:
    """File descriptors and memory are where they were."""
    site.first.behaviour = moody

    def descriptors() -> int:
        return len(list(Path(f"/proc/{site.process.pid}/fd").iterdir()))

    with site.connect():
        for _ in range(50):
            call_in_all_ways(site)
        wait_for(lambda: descriptors() < 40, "connections to go")
        before, memory = descriptors(), resident_megabytes(site.process.pid)
        for _ in range(300):
            call_in_all_ways(site)
        wait_for(lambda: descriptors() <= before + 2, "connections to go")
        assert resident_megabytes(site.process.pid) < memory + 5
