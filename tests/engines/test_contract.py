"""What every engine promises. One suite for all of them."""

import signal

import pytest

from engines.labs import (
    DEADLINE,
    Lab,
    container_of,
    find,
    instance,
    pids,
    run,
    spare_ports,
    until,
    until_healthy,
    until_true,
)
from polyport.domain.instances import ContainerPhase, ContainerState, InstanceState
from polyport.engines.contract import Engine
from polyport.errors import CannotChangeInstance


def test_an_applied_instance_is_observed_at_once_and_its_addresses_before_it_listens(lab: Lab) -> None:
    """`apply` returns once the engine has taken note: the planner never sees a gap in between. No two containers have
    one address."""

    async def story(engine: Engine) -> None:
        await engine.apply(instance(lab.container("first"), lab.container("second")))
        state = find(await engine.observe())
        assert state is not None
        assert not state.stopping
        assert [container.hostname for container in state.containers] == ["first", "second"]
        states = await until(engine, lambda states: all(container.port for container in find_all(states)))
        assert len({(container.host, container.port) for container in find_all(states)}) == 2

    run(lab.make(), story)


def test_applying_twice_is_applying_once(lab: Lab) -> None:
    """`apply` is idempotent: what runs as specified is left alone."""

    async def story(engine: Engine) -> None:
        wanted = instance(lab.container("first"), lab.container("second"))
        await engine.apply(wanted)
        before = await until_healthy(engine)
        await engine.apply(wanted)
        assert pids(await until_healthy(engine)) == pids(before)
        assert len(await engine.observe()) == 1

    run(lab.make(), story)


def test_a_ping_reports_the_status_and_200_alone_is_healthy(lab: Lab) -> None:
    """Health is exactly status 200."""

    async def story(engine: Engine) -> None:
        await engine.apply(instance(lab.container("sick", ping_status=500)))

        async def answers() -> bool:
            return (await engine.ping("i-1", "sick", 1.0)).status is not None

        await until_true(answers)
        ping = await engine.ping("i-1", "sick", 1.0)
        assert ping.status == 500
        assert not ping.healthy

    run(lab.make(), story)


def test_a_container_that_exits_is_started_again_and_its_exit_is_told(lab: Lab) -> None:
    """Exits are counted, kept with their code and time, and followed by a new start."""

    async def story(engine: Engine) -> None:
        await engine.apply(instance(lab.container("first", exits_after=0.3, exit_code=3), lab.container("second")))
        other = container_of(await until_healthy(engine), "second")
        state = await until(engine, lambda states: container_of(find(states), "first").restarts >= 1)
        exited = container_of(find(state), "first")
        assert exited.last_exit is not None
        assert (exited.last_exit.code, exited.last_exit.signal) == (3, None)
        assert exited.last_exit.at > 0
        assert container_of(find(state), "second") == other

    run(lab.make(), story)


def test_a_killed_container_comes_back_under_the_same_address(lab: Lab) -> None:
    """The signal that ended it is told; the address stays, so that gateways need no news."""

    async def story(engine: Engine) -> None:
        await engine.apply(instance(lab.container("first")))
        before = await until_healthy(engine)
        lab.kill(before, "first")
        await until(engine, lambda states: container_of(find(states), "first").restarts == 1)
        after = container_of(await until_healthy(engine), "first")
        assert (after.host, after.port) == address_of(before, "first")
        assert after.pid != container_of(before, "first").pid
        assert after.last_exit is not None
        assert after.last_exit.signal == signal.SIGKILL

    run(lab.make(), story)


def test_a_container_that_cannot_be_started_says_why(lab: Lab) -> None:
    """An entry point that is not there is no error of the engine but a state with a reason."""

    async def story(engine: Engine) -> None:
        await engine.apply(instance(lab.container("first", broken=True)))
        states = await until(engine, lambda states: container_of(find(states), "first").last_exit)
        last = container_of(find(states), "first").last_exit
        assert last is not None
        assert "entrypoint not found" in last.reason
        assert (last.code, last.signal) == (None, None)

    run(lab.make(), story)


def test_changing_one_container_leaves_the_others_alone(lab: Lab) -> None:
    """Containers are replaced, added and dropped one by one; an engine that cannot says so."""

    async def story(engine: Engine) -> None:
        await engine.apply(instance(lab.container("same"), lab.container("other"), lab.container("dropped")))
        before = await until_healthy(engine)
        wanted = instance(lab.container("same"), lab.container("other", output=["new"]), lab.container("added"))
        try:
            await engine.apply(wanted)
        except CannotChangeInstance:
            assert pids(find(await engine.observe())) == pids(before)
            return
        replaced = container_of(find(await engine.observe()), "other")
        assert (replaced.pid, replaced.phase) != (container_of(before, "other").pid, ContainerPhase.RUNNING)
        await until(engine, lambda states: set(pids(find(states))) == {"same", "other", "added"})
        after = await until_healthy(engine)
        assert container_of(after, "same") == container_of(before, "same")
        assert container_of(after, "other").pid != container_of(before, "other").pid
        assert container_of(after, "other").restarts == 0

    run(lab.make(), story)


def test_a_removed_instance_is_stopping_and_then_gone(lab: Lab) -> None:
    """`remove` may be repeated, and forgets the instance when its last process is gone."""

    async def story(engine: Engine) -> None:
        await engine.apply(
            instance(lab.container("first"), lab.container("second", ignores_sigterm=True), stop_timeout=0.5)
        )
        await until_healthy(engine)
        await engine.remove("i-1")
        state = find(await engine.observe())
        assert state is not None
        assert state.stopping
        with pytest.raises(CannotChangeInstance):
            await engine.apply(instance(lab.container("first")))
        await engine.remove("i-1")
        await until(engine, lambda states: not states)
        await engine.remove("i-1")

    run(lab.make(), story)


def test_an_instance_may_be_removed_before_it_runs(lab: Lab) -> None:
    """Every verb may come at any time."""

    async def story(engine: Engine) -> None:
        await engine.apply(instance(lab.container("first")))
        await engine.remove("i-1")
        await until(engine, lambda states: not states)

    run(lab.make(), story)


def test_an_id_may_be_used_again_once_it_is_gone(lab: Lab) -> None:
    """Nothing of the earlier instance is left to be mistaken for the new one's."""

    async def story(engine: Engine) -> None:
        for _ in range(2):
            await engine.apply(instance(lab.container("first")))
            state = await until_healthy(engine)
            assert container_of(state, "first").restarts == 0
            await engine.remove("i-1")
            await until(engine, lambda states: not states)

    run(lab.make(), story)


def test_a_new_engine_adopts_what_an_earlier_one_started(lab: Lab) -> None:
    """Instances outlive the engine object; `open` finds them again, as they are."""
    seen = {}

    async def first(engine: Engine) -> None:
        await engine.apply(instance(lab.container("first"), lab.container("second")))
        seen["before"] = pids(await until_healthy(engine))

    async def second(engine: Engine) -> None:
        assert pids(find(await engine.observe())) == seen["before"]
        await engine.apply(instance(lab.container("first"), lab.container("second")))
        assert pids(await until_healthy(engine)) == seen["before"]
        await engine.remove("i-1")
        await until(engine, lambda states: not states)

    run(lab.make(), first)
    run(lab.make(), second)


def test_two_homes_do_not_see_each_other(lab: Lab) -> None:
    """Each home has its own instances, even under one id; ports differ all the same."""

    async def story(engine: Engine) -> None:
        async def inner(other: Engine) -> None:
            assert await other.observe() == ()
            await other.apply(instance(lab.container("first")))
            there = await until_healthy(other)
            assert address_of(there, "first") != address_of(here, "first")
            await other.remove("i-1")
            await until(other, lambda states: not states)

        await engine.apply(instance(lab.container("first")))
        here = await until_healthy(engine)
        other = lab.make("elsewhere")
        await other.open()
        try:
            await inner(other)
        finally:
            await other.close()
        assert pids(await until_healthy(engine)) == pids(here)

    run(lab.make(), story)


def test_unknown_ids_and_names_are_answered(lab: Lab) -> None:
    """Nothing known is no error: a ping without a status, an empty diagnosis, a removal that has happened."""

    async def story(engine: Engine) -> None:
        await engine.remove("nothing")
        assert (await engine.ping("nothing", "first", 1.0)).status is None
        assert await engine.explain("nothing", "first") == type(await engine.explain("nothing", "first"))()
        await engine.apply(instance(lab.container("first")))
        await until_healthy(engine)
        ping = await engine.ping("i-1", "nobody", 1.0)
        assert ping.status is None
        assert ping.error
        assert (await engine.explain("i-1", "nobody")).output == ()

    run(lab.make(), story)


def test_explain_tells_where_a_container_listens_and_what_it_said(lab: Lab) -> None:
    """A container at the wrong port, and the last 20 lines of its output, oldest first."""
    elsewhere = spare_ports(3)
    lines = [f"line {number}" for number in range(30)]

    async def story(engine: Engine) -> None:
        await engine.apply(instance(lab.container("lost", listens_on=elsewhere, output=lines)))
        await until(engine, lambda states: container_of(find(states), "lost").phase is ContainerPhase.RUNNING)

        async def listens() -> bool:
            return bool((await engine.explain("i-1", "lost")).listening)

        await until_true(listens)
        diagnosis = await engine.explain("i-1", "lost")
        assert diagnosis.listening == (elsewhere,)
        assert list(diagnosis.output)[-10:] == lines[-10:]
        assert (await engine.ping("i-1", "lost", DEADLINE)).status is None

    run(lab.make(), story)


def find_all(states: tuple[InstanceState, ...]) -> list[ContainerState]:
    """All containers."""
    return [container for state in states for container in state.containers]


def address_of(state: InstanceState | None, hostname: str) -> tuple[str, int]:
    """Where it is reached."""
    container = container_of(state, hostname)
    return container.host, container.port
