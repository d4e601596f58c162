"""The fake beyond the contract: virtual time, scripts, and real answers."""

import asyncio
import http.client
from pathlib import Path

import pytest
import uvloop

from engines.labs import container_of, find, instance
from polyport.domain.instances import Container, ContainerPhase, Image
from polyport.engines import fake, ping
from polyport.engines.contract import Ping
from polyport.errors import CannotChangeInstance
from polyport.settings import Settings

CONTAINER = Container("first", Image("x", "x", 0.0))


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_time_is_moved_by_hand(tmp_path: Path) -> None:
    """Readiness, exits and pauses follow from the machine's clock alone: nothing waits."""
    clock = Clock()
    machine = fake.Machine(clock)
    machine.scripts["first"] = fake.Script(ready_after=3.0, exits_after=10.0, exit_code=7)

    async def story() -> None:
        engine = fake.FakeEngine(Settings(home=tmp_path), machine)
        await engine.open()
        await engine.apply(instance(CONTAINER))
        assert await engine.ping("i-1", "first", 1.0) == Ping(error="refused")
        clock.now = 1003.0
        assert await engine.ping("i-1", "first", 1.0) == Ping(status=200)
        clock.now = 1020.5  # ended at 1010, again at 1020, and pauses until 1021
        state = container_of(find(await engine.observe()), "first")
        assert (state.phase, state.restarts) == (ContainerPhase.BACKOFF, 1)
        assert state.last_exit is not None
        assert (state.last_exit.at, state.last_exit.code) == (1020.0, 7)
        clock.now = 1024.0
        assert (await engine.ping("i-1", "first", 1.0)).healthy
        await engine.close()

    asyncio.run(story())


def test_an_engine_that_cannot_change_instances_can_be_played(tmp_path: Path) -> None:
    """For planners: such engines exist, and an instance is replaced then."""

    async def story() -> None:
        engine = fake.FakeEngine(Settings(home=tmp_path), fake.Machine(can_change=False))
        await engine.open()
        await engine.apply(instance(CONTAINER))
        await engine.apply(instance(CONTAINER))
        with pytest.raises(CannotChangeInstance):
            await engine.apply(instance(CONTAINER, stop_timeout=1.0))
        await engine.close()

    asyncio.run(story())


def test_an_answering_machine_answers_at_its_addresses(tmp_path: Path) -> None:
    """`--engine fake` in a real server: gateways reach /ping and an echo, also after the engine was opened again."""

    async def story(machine: fake.Machine) -> None:
        engine = fake.FakeEngine(Settings(home=tmp_path), machine)
        await engine.open()
        await engine.apply(instance(CONTAINER))
        state = container_of(find(await engine.observe()), "first")
        assert (await ping.ping(state.host, state.port, 2.0)).healthy
        assert await asyncio.to_thread(call, state.port) == [
            (200, "text/x", b"hello"),
            (200, "text/x", b"hello"),
            (404, "text/plain", b""),
        ]
        machine.scripts["first"] = fake.Script(listens=False)
        assert (await ping.ping(state.host, state.port, 2.0)).error == "closed"
        machine.scripts.clear()
        await engine.close()
        assert (await ping.ping(state.host, state.port, 2.0)).error == "refused"

    machine = fake.Machine(answers=True)
    uvloop.run(story(machine))
    asyncio.run(story(machine))


def call(port: int) -> list[tuple[int, str | None, bytes]]:
    """Three requests over one connection."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    answers = []
    for path in ("/invocations", "/invocations", "/other"):
        connection.request("POST", path, b"hello", {"Content-Type": "text/x"})
        response = connection.getresponse()
        answers.append((response.status, response.getheader("Content-Type"), response.read()))
    connection.close()
    return answers
