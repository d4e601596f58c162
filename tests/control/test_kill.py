"""Control is killed at each moment of its work: before and after everything it does to the outside."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest

from control.plane import Plane, ids
from control.values import variant
from polyport.domain.alarms import AlarmState
from polyport.domain.endpoints import Endpoint, Status
from polyport.engines.fake import Script
from polyport.errors import StaleWrite

LINEAR = {
    "Type": "LINEAR",
    "WaitIntervalInSeconds": 0,
    "LinearStepSize": {"Type": "CAPACITY_PERCENT", "Value": 50},
}
ROLLING = {
    "RollingUpdatePolicy": {
        "MaximumBatchSize": {"Type": "INSTANCE_COUNT", "Value": 1},
        "WaitIntervalInSeconds": 0,
    }
}

Scenario = Callable[[Plane], Awaitable[None]]


async def create(plane: Plane) -> None:
    await plane.create(variant("A"), variant("B"))


async def update(plane: Plane) -> None:
    await want(plane, new=True)


async def scale(plane: Plane) -> None:
    await want(plane, new=False)


async def want(plane: Plane, *, new: bool) -> None:
    # The old fleet keeps a call for a while.
    plane.gateways[0].draining = tuple(plane.running)
    await plane.want(variant("A", 2), variant("B", 1), new=new)
    plane.gateways[0].draining = ()


async def shift(plane: Plane) -> None:
    config = {"BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": LINEAR}}
    await plane.want(variant("A", 2), variant("B", 1), config=config)


async def roll(plane: Plane) -> None:
    await plane.want(variant("A", 2), variant("B", 1), config=ROLLING)


async def turn_back(plane: Plane) -> None:
    await plane.alarm(AlarmState.ALARM)
    alarms = {"AutoRollbackConfiguration": {"Alarms": [{"AlarmName": "errors"}]}}
    await plane.want(variant("A", 2), variant("B", 1), config={**ROLLING, **alarms})


async def fail(plane: Plane) -> None:
    await plane.want(variant("A", hosts=("broken",)))


async def delete(plane: Plane) -> None:
    await plane.delete()


async def play(folder: Path, scenario: Scenario, kill_at: float) -> tuple[Endpoint | None, int]:
    """The scenario (all but `create` from an endpoint in service), killed at a moment of it: where it ends all
    the same, and how many moments there were."""
    async with Plane(folder) as plane:
        plane.machine.scripts["broken"] = Script(broken="there is no entry point", exits_after=0)
        plane.pace = 20.0
        if scenario is not create:
            await plane.create(variant("A"), variant("B"))
            await plane.reaches(Status.IN_SERVICE)
        before = plane.fuse.count
        plane.fuse.kill_at = before + kill_at
        await scenario(plane)
        rest = asyncio.create_task(plane.rests())
        blown = asyncio.create_task(plane.fuse.blown.wait())
        await asyncio.wait({rest, blown}, return_when=asyncio.FIRST_COMPLETED)
        moments = plane.fuse.count - before
        if plane.fuse.blown.is_set():
            served = plane.live()
            await plane.kill()
            assert plane.live() == served, "gateways go on serving without control"
            await plane.begin()
        blown.cancel()
        end = await rest
        with suppress(StaleWrite):
            end = await plane.rests()
        await plane.runs(*(ids(end) if end else ()))
        assert plane.live() == [plane.running]
        return end, moments


def check(scenario: Scenario, end: Endpoint | None) -> None:
    """What the scenario comes to, however often control was killed."""
    if scenario is delete:
        assert end is None
        return
    assert end is not None
    assert end.status is Status.IN_SERVICE
    assert end.state.active is not None
    counts = [len(each.instances) for each in end.state.active.fleets]
    new = {update, shift, roll}
    assert counts == ([2, 1] if scenario in {*new, scale} else [1, 1])
    assert end.state.active.revision == (2 if scenario in new else 1)
    assert ("alarm errors was in ALARM" in end.state.failure_reason) == (scenario is turn_back)
    assert ("there is no entry point" in end.state.failure_reason) == (scenario is fail)


@pytest.mark.parametrize("scenario", [create, update, shift, roll, turn_back, scale, fail, delete])
def test_a_control_killed_at_any_moment_is_taken_over_by_the_next(folder: Path, scenario: Scenario) -> None:
    """Before and after each write and each order to the engine: the next control comes to the same end, and nothing
    is stopped that a gateway may use."""
    kill_at = moments = 1
    while kill_at <= moments:
        home = folder / str(kill_at)
        home.mkdir()
        end, counted = asyncio.run(play(home, scenario, kill_at))
        check(scenario, end)
        # As long as the fuse blew there may be moments behind it.
        moments = max(moments, counted + 1) if counted >= kill_at else moments
        kill_at += 1
    assert kill_at > 4
