"""Containers that are killed, hang or flap, and supervisors that are killed: real processes under load."""

import contextlib
import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.calls import SteadyCaller
from support.server import MODEL_SERVER, Server, call, create_endpoint, wait_for, wait_for_status

pytestmark = pytest.mark.slow

THREADS = 3
#: A container that does not answer is noticed and replaced within seconds.
QUICK = {"ping_interval": 0.2, "ping_timeout": 1.5, "unhealthy_after": 2, "replace_after": 2, "invocation_timeout": 12}
#: It is ill for as long as there is a file of that name in its working folder.
FLAPPING = MODEL_SERVER.replace('int(os.environ.get("PING_STATUS", "200"))', '500 if os.path.exists("ill") else 200')


def instances(server: Server) -> dict[str, dict[str, Any]]:
    """What the supervisors wrote last, by instance."""
    found = {}
    for path in server.home.glob("run/instances/i-*/state.json"):
        with contextlib.suppress(OSError, ValueError):
            found[path.parent.name] = json.loads(path.read_text())
    return found


def pid_of(server: Server, instance: str) -> int:
    """The main process of its only container."""
    [container] = instances(server)[instance]["containers"]
    return int(container["pid"])


def family(pid: int) -> Iterator[int]:
    """A process and all below it: the sandbox has its own."""
    yield pid
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(path.read_text().rpartition(")")[2].split()[1]) == pid:
                yield from family(int(path.parent.name))


def in_service(server: Server, name: str, count: int = 2, image: str = "first:1") -> list[str]:
    """An endpoint with so many instances; their ids."""
    create_endpoint(server, name, {"Image": image}, mode="Single", InitialInstanceCount=count)
    wait_for_status(server.client("sagemaker"), name, "InService", deadline=60)
    return sorted(instances(server))


def healthy_count(server: Server, name: str) -> int:
    """How many instances take calls."""
    [variant] = server.client("sagemaker").describe_endpoint(EndpointName=name)["ProductionVariants"]
    return int(variant["CurrentInstanceCount"])


def test_a_killed_container_costs_only_the_calls_in_flight_in_it(make_server: Callable[..., Server]) -> None:
    """Two instances under load; the container of one is killed. It is restarted in place, and not replaced."""
    server = make_server(**QUICK).start()
    runtime = server.client("sagemaker-runtime", max_pool_connections=10)
    before = in_service(server, "pair")
    with SteadyCaller(lambda: call(runtime, "pair"), threads=THREADS) as caller:
        wait_for(lambda: len(caller.answers) > 100, "calls")
        victim = pid_of(server, before[0])
        os.kill(victim, signal.SIGKILL)
        wait_for(lambda: instances(server)[before[0]]["containers"][0]["restarts"] == 1, "the restart")
        wait_for(lambda: healthy_count(server, "pair") == 2, "both to be healthy")
        done = len(caller.answers)
        wait_for(lambda: len(caller.answers) > done + 100, "calls after it")
    assert len(caller.failures) <= THREADS, caller.failures
    assert sorted(instances(server)) == before


def test_a_killed_supervisor_costs_only_the_calls_in_flight_in_its_instance(make_server: Callable[..., Server]) -> None:
    """Its containers end with it; another supervisor starts them again."""
    server = make_server(**QUICK).start()
    runtime = server.client("sagemaker-runtime", max_pool_connections=10)
    before = in_service(server, "pair")
    with SteadyCaller(lambda: call(runtime, "pair"), threads=THREADS) as caller:
        wait_for(lambda: len(caller.answers) > 100, "calls")
        supervisor = int(instances(server)[before[0]]["supervisor"])
        os.kill(supervisor, signal.SIGKILL)
        wait_for(lambda: instances(server)[before[0]]["supervisor"] != supervisor, "another supervisor")
        wait_for(lambda: healthy_count(server, "pair") == 2, "both to be healthy")
        done = len(caller.answers)
        wait_for(lambda: len(caller.answers) > done + 100, "calls after it")
    assert len(caller.failures) <= THREADS, caller.failures
    assert sorted(instances(server)) == before


def test_a_frozen_container_leaves_the_tables_and_its_instance_is_replaced(make_server: Callable[..., Server]) -> None:
    """Pings time out. Only calls that were sent to it before that was noticed fail, by their time-out."""
    server = make_server(**QUICK, stop_timeout=1).start()
    runtime = server.client("sagemaker-runtime", max_pool_connections=10)
    before = in_service(server, "pair")
    with SteadyCaller(lambda: call(runtime, "pair"), threads=THREADS) as caller:
        wait_for(lambda: len(caller.answers) > 100, "calls")
        for pid in family(pid_of(server, before[0])):
            os.kill(pid, signal.SIGSTOP)
        wait_for(lambda: before[0] not in instances(server), "the frozen instance to be gone", deadline=60)
        wait_for(lambda: healthy_count(server, "pair") == 2, "both to be healthy")
        done = len(caller.answers)
        wait_for(lambda: len(caller.answers) > done + 100, "calls after it")
    assert len(caller.failures) <= THREADS, caller.failures
    assert len(instances(server)) == 2
    assert before[1] in instances(server)
    assert f"instance {before[0]} of variant AllTraffic is to be replaced" in server.log()


def test_a_single_frozen_container_is_replaced_too(make_server: Callable[..., Server]) -> None:
    """Meanwhile it stays in the table, since it might only be slow; then calls are answered again."""
    server = make_server(**QUICK, stop_timeout=1).start()
    runtime = server.client("sagemaker-runtime")
    [before] = in_service(server, "single", count=1)
    assert call(runtime, "single").startswith(b"x|first")
    for pid in family(pid_of(server, before)):
        os.kill(pid, signal.SIGSTOP)
    wait_for(lambda: before not in instances(server), "the frozen instance to be gone", deadline=60)
    assert call(runtime, "single").startswith(b"x|first")
    assert len(instances(server)) == 1


def test_a_flapping_container_is_replaced(make_server: Callable[..., Server]) -> None:
    """It falls ill and gets well again; no call fails, and the third time another instance takes its place."""
    server = make_server(
        **QUICK | {"ping_timeout": 5, "replace_after": 600, "replace_falls": 3, "healthy_after": 1}
    ).start()
    server.image("flapping:1", FLAPPING, NAME="flapping")
    runtime = server.client("sagemaker-runtime", max_pool_connections=10)
    before = in_service(server, "pair", image="flapping:1")
    [work] = server.home.glob(f"run/instances/{before[0]}/containers/*/work")
    with SteadyCaller(lambda: call(runtime, "pair"), threads=THREADS) as caller:
        for _ in range(2):
            (work / "ill").touch()
            wait_for(lambda: healthy_count(server, "pair") == 1, "it to be ill")
            (work / "ill").unlink()
            wait_for(lambda: healthy_count(server, "pair") == 2, "it to be well")
        (work / "ill").touch()
        wait_for(lambda: before[0] not in instances(server), "the ill instance to be gone", deadline=60)
        wait_for(lambda: healthy_count(server, "pair") == 2, "both to be healthy")
    assert caller.failures == []
    assert len(instances(server)) == 2


@pytest.mark.parametrize("restart", [False, True], ids=["control goes on", "control is killed"])
def test_a_frozen_gateway_worker_is_ended_and_another_takes_its_place(
    make_server: Callable[..., Server], restart: bool
) -> None:
    """A restart of an endpoint needs its acknowledgement, and waits for it no longer than `gateway_timeout`. A control
    that was started after it froze has never heard of it, and ends it all the same."""
    server = make_server(gateway_timeout=1).start()
    [before] = in_service(server, "single", count=1)
    frozen = pids_of(server, "polyport.gateway.worker")[0]
    os.kill(frozen, signal.SIGSTOP)
    if restart:
        [control] = pids_of(server, "polyport.server.control")
        os.kill(control, signal.SIGKILL)
    server.command("endpoints", "restart", "single")
    wait_for(lambda: len(set(pids_of(server, "polyport.gateway.worker")) - {frozen}) == 2, "another", 60)
    wait_for(lambda: len(instances(server)) == 1 and before not in instances(server), "the restart", 60)
    wait_for_status(server.client("sagemaker"), "single", "InService")


def pids_of(server: Server, module: str) -> list[int]:
    """The processes of that server that run a module."""
    assert server.process is not None
    found = []
    for pid in family(server.process.pid):
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            if module.encode() in words:
                found.append(pid)
    return sorted(found)
