"""Instances that fall ill, on a whole plane: who leaves the tables, who stays in them, who is replaced."""

import asyncio
import contextlib
from collections.abc import Callable

import msgspec
import pytest

from control.gateways import until
from control.plane import RULES, Plane, ids
from control.values import variant
from polyport.control import plan
from polyport.domain.endpoints import Endpoint, Status
from polyport.engines.contract import Ping
from polyport.engines.fake import Machine, Script
from polyport.errors import StaleWrite

HASTY = msgspec.structs.replace(RULES, replace_after=0.2)
PATIENT = msgspec.structs.replace(RULES, replace_after=1e6)
TIMEOUT, ERROR = Ping(error="timeout"), Ping(status=500)


async def healed(plane: Plane, *gone: str) -> Endpoint:
    """Wait until these are gone, and the endpoint is as it should be."""
    async with asyncio.timeout(15):
        while True:
            row = await plane.get()
            whole = not row.state.retired and not any(each.condemned for each in plan.instances(row.state.active))
            if whole and not ids(row) & set(gone) and plane.live() == [ids(row)]:
                return row
            await asyncio.sleep(0.005)


def test_an_instance_that_hangs_leaves_the_tables_and_is_replaced(run: Callable[..., None]) -> None:
    """The other one serves on all the time, and the endpoint is InService all the time."""

    async def body(plane: Plane) -> None:
        await plane.create(variant(instances=2))
        row = await plane.reaches(Status.IN_SERVICE)
        gateway, lost = plane.gateways[0], min(ids(row))
        first, written = len(gateway.tables), len(plane.rows.statuses)
        plane.answers[lost] = TIMEOUT
        await until(lambda: plane.live() == [ids(row) - {lost}])
        row = await healed(plane, lost)
        assert len(ids(row)) == 2
        await plane.runs(*ids(row))
        assert set(plane.rows.statuses[written:]) == {Status.IN_SERVICE}
        assert all(table.endpoints[0].variants[0].instances for table in gateway.tables[first:])

    run(body, rules=HASTY)


def test_what_is_only_slow_stays_when_there_is_nothing_better(run: Callable[..., None]) -> None:
    """All instances time out at once: perhaps they are at work. None of them leaves until another one is there."""

    async def body(plane: Plane) -> None:
        await plane.create(variant(instances=2))
        row = await plane.reaches(Status.IN_SERVICE)
        gateway = plane.gateways[0]
        plane.answers |= dict.fromkeys(ids(row), TIMEOUT)
        await until(lambda: all(not plane.reconciler.monitor.is_healthy(each) for each in ids(row)))
        await until(lambda: plane.live() == [ids(row)])
        first = len(gateway.tables)
        # One of them answers again: the other one has to leave now.
        well = max(ids(row))
        del plane.answers[well]
        await until(lambda: plane.live() == [{well}])
        assert all(table.endpoints[0].variants[0].instances for table in gateway.tables[first:])

    run(body, rules=PATIENT)


def test_a_restart_of_control_takes_no_slow_instance_out_of_the_tables(run: Callable[..., None]) -> None:
    """What is in service has been healthy, though this control has never seen it."""

    async def body(plane: Plane) -> None:
        await plane.create(variant())
        row = await plane.reaches(Status.IN_SERVICE)
        plane.answers |= dict.fromkeys(ids(row), TIMEOUT)
        monitor = plane.reconciler.monitor
        await until(lambda: not monitor.is_healthy(*ids(row)) and plane.live() == [ids(row)])
        await plane.kill()
        first = len(plane.gateways[0].tables)
        await plane.begin()
        await until(lambda: plane.reconciler.publisher.is_ready)
        await asyncio.sleep(0.2)
        assert len(plane.gateways[0].tables) > first
        assert all(table.endpoints[0].variants[0].instances for table in plane.gateways[0].tables[first:])

    run(body, rules=PATIENT)


def test_what_says_that_it_is_ill_does_not_stay(run: Callable[..., None]) -> None:
    """A status other than 200 is the container's own word."""

    async def body(plane: Plane) -> None:
        await plane.create(variant())
        row = await plane.reaches(Status.IN_SERVICE)
        plane.answers |= dict.fromkeys(ids(row), ERROR)
        await until(lambda: plane.live() == [set()])
        plane.answers.clear()
        await until(lambda: plane.live() == [ids(row)])

    run(body, rules=PATIENT)


def test_all_of_a_fleet_are_replaced_in_turns(run: Callable[..., None]) -> None:
    """Never more than half of them at a time, and the slow ones serve until then."""

    async def body(plane: Plane) -> None:
        await plane.create(variant(instances=4))
        row = await plane.reaches(Status.IN_SERVICE)
        most = 0
        plane.answers |= dict.fromkeys(ids(row), TIMEOUT)
        task = asyncio.create_task(healed(plane, *ids(row)))
        while not task.done():
            now = await plane.get()
            most = max(most, sum(bool(each.condemned) for each in plan.instances(now.state.active)))
            await asyncio.sleep(0.002)
        assert len(ids(await task)) == 4
        assert 1 <= most <= 2

    run(body, rules=HASTY)


def test_a_container_that_is_killed_is_restarted_in_place_and_not_replaced(run: Callable[..., None]) -> None:
    """It has its start-up time, and comes back by itself."""

    async def body(plane: Plane) -> None:
        await plane.create(variant(instances=2, hosts=("one",)))
        row = await plane.reaches(Status.IN_SERVICE)
        hurt = min(ids(row))
        plane.machine.kill(hurt, "one")
        # It takes longer to load than another one may be ill.
        plane.answers[hurt] = Ping(error="refused")
        await until(lambda: plane.live() == [ids(row) - {hurt}])
        await asyncio.sleep(0.5)
        plane.answers.clear()
        await until(lambda: plane.live() == [ids(row)])
        assert (await plane.get()).version == row.version

    run(body, rules=HASTY)


def test_a_container_that_exits_again_and_again_is_replaced(run: Callable[..., None]) -> None:
    """After so many restarts in place that none of them helped (setting `startup_restarts`)."""

    async def body(plane: Plane) -> None:
        await plane.create(variant(instances=2, hosts=("one",)))
        row = await plane.reaches(Status.IN_SERVICE)
        plane.pace = 20.0
        lost = min(ids(row))
        process = plane.machine.homes[plane.home][lost].processes["one"]
        # Only this one lives by another script.
        process._machine = Machine(clock=plane.clock)
        process._machine.scripts["one"] = Script(broken="no such file", exits_after=0)
        process.end(plane.clock(), 1, None)
        plane.machine.tell()
        row = await healed(plane, lost)
        assert len(ids(row)) == 2

    run(body)


def test_a_container_that_flaps_comes_back_ever_later_and_is_replaced_in_the_end(run: Callable[..., None]) -> None:
    """Each time it needs more good pings in a row; after so many times another instance takes its place."""

    async def body(plane: Plane) -> None:
        await plane.create(variant(instances=2, hosts=("one",)))
        row = await plane.reaches(Status.IN_SERVICE)
        lost = min(ids(row))
        for _ in range(2):
            plane.answers[lost] = ERROR
            await until(lambda: lost not in plane.live()[0])
            del plane.answers[lost]
            await until(lambda: lost in plane.live()[0])
        assert (await plane.get()).version == row.version
        plane.answers[lost] = ERROR
        await healed(plane, lost)

    run(body, rules=msgspec.structs.replace(PATIENT, replace_falls=3))


@pytest.mark.parametrize("moment", range(1, 11))
def test_a_control_killed_while_an_instance_is_replaced_is_taken_over(run: Callable[..., None], moment: int) -> None:
    """Before and after each write and each order to the engine. Who is condemned stands in the row: the next control
    starts no second successor."""

    async def body(plane: Plane) -> None:
        await plane.create(variant(instances=2))
        row = await plane.reaches(Status.IN_SERVICE)
        lost = min(ids(row))
        plane.answers[lost] = TIMEOUT
        plane.fuse.kill_at = plane.fuse.count + moment
        await plane.fuse.blown.wait()
        await plane.kill()
        await plane.begin()
        row = await healed(plane, lost)
        assert len(ids(row)) == 2
        await plane.runs(*ids(row))

    run(body, rules=HASTY)


def test_an_endpoint_that_is_healing_can_be_updated_and_deleted(run: Callable[..., None]) -> None:
    """Neither waits for a successor that does not get healthy."""

    async def body(plane: Plane) -> None:
        await plane.create(variant(instances=2))
        row = await plane.reaches(Status.IN_SERVICE)
        plane.preparer.stuck = {"A"}
        plane.answers[min(ids(row))] = TIMEOUT
        await until(lambda: plane.preparer.preparing - ids(row))
        plane.preparer.stuck = set()
        while True:
            with contextlib.suppress(StaleWrite):
                await plane.want(variant("B"))
                break
        new = await plane.reaches(Status.IN_SERVICE)
        assert {each.variant for each in plan.instances(new.state.active)} == {"B"}
        await plane.runs(*ids(new))
        await plane.delete()
        await plane.is_gone()

    run(body, rules=HASTY)
