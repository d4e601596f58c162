"""Deployments on the real reconciler, store and channel; `test_rollout` has their steps one by one."""

import asyncio
from collections.abc import Callable
from typing import Any

from control.gateways import until
from control.plane import RULES, Plane, ids
from control.test_strategy import blue_green, percent, rolling, size
from control.values import variant
from polyport.control import plan
from polyport.domain.alarms import AlarmState
from polyport.domain.endpoints import Endpoint, Phase, Status
from polyport.engines.fake import Script

ALARMED = {"AutoRollbackConfiguration": {"Alarms": [{"AlarmName": "errors"}]}}
FOREVER = 3600
#: What a batch bakes, in seconds.
BATCH = 7


async def reaches(plane: Plane, phase: Phase, step: int) -> Endpoint:
    """Wait until the update is there."""
    async with asyncio.timeout(20):
        while True:
            row = await plane.get()
            if row.state.rollout and (row.state.rollout.phase, row.state.rollout.step) == (phase, step):
                return row
            await asyncio.sleep(0.005)


def shown(plane: Plane) -> list[tuple[int, float]]:
    """What gateways serve by: instances and weight of each entry."""
    entries = plane.gateways[0].tables[-1].endpoints[0].variants
    return [(len(entry.instances), round(entry.weight, 2)) for entry in entries]


def messages(plane: Plane, row: Endpoint) -> list[tuple[str, str]]:
    return [(status, text) for status, text, _ in plane.reconciler.view.activity(row.id)["A"]]


def test_a_canary_bakes_and_then_takes_over(run: Callable[..., None]) -> None:
    """Only when every gateway worker has the canary does its time begin; the statuses tell each step."""

    async def body(plane: Plane) -> None:
        await plane.create(variant("A", 2))
        old = await plane.reaches(Status.IN_SERVICE)
        plane.gateways[1].hold = True
        config = blue_green("CANARY", FOREVER, CanarySize=size(1), TerminationWaitInSeconds=FOREVER)
        await plane.want(variant("A", 2), config=config)
        row = await reaches(plane, Phase.SHIFTING, 1)
        await until(lambda: shown(plane) == [(2, 0.5), (1, 0.5)])
        assert messages(plane, row) == [
            ("ActivatingTraffic", "Activating traffic on canary capacity of 1 instance(s).")
        ]
        plane.gateways[1].hold = False
        plane.gateways[1].acknowledge()
        row = await reaches(plane, Phase.BAKING, 1)
        baking = (
            "Baking for 3600 seconds (WaitIntervalInSeconds) with traffic enabled on canary capacity of 1 instance(s)."
        )
        await until(lambda: messages(plane, row) == [("Baking", baking)])
        plane.skip(FOREVER)
        row = await reaches(plane, Phase.BAKING, 2)
        await until(lambda: shown(plane) == [(2, 1.0)])
        assert ids(old) <= plane.running
        assert messages(plane, row)[0][1] == (
            "Baking for 3600 seconds (TerminationWaitInSeconds) with traffic enabled on full capacity of 2 instance(s)."
        )
        plane.skip(FOREVER)
        row = await plane.reaches(Status.IN_SERVICE)
        assert not ids(row) & ids(old)
        assert plane.running == ids(row)

    run(body, workers=2)


def test_an_alarm_that_is_set_meanwhile_returns_the_traffic(run: Callable[..., None]) -> None:
    """Nobody tells control of the row; it looks while it bakes. No table is without targets."""

    async def body(plane: Plane) -> None:
        await plane.create(variant("A", 2))
        old = await plane.reaches(Status.IN_SERVICE)
        await plane.alarm(AlarmState.OK)
        first = len(plane.gateways[0].tables)
        config = blue_green("CANARY", FOREVER, CanarySize=percent(10)) | ALARMED
        await plane.want(variant("A", 3), config=config)
        row = await reaches(plane, Phase.BAKING, 1)
        assert "Watching alarms: errors." in messages(plane, row)[0][1]
        await plane.alarm(AlarmState.ALARM)
        await plane.passes(Status.ROLLING_BACK)
        row = await plane.reaches(Status.IN_SERVICE)
        assert ids(row) == ids(old) == plane.running
        assert row.state.failure_reason == "The alarm errors was in ALARM while step 1 of 2 of the update baked."
        tables = plane.gateways[0].tables[first:]
        assert all(sum(len(entry.instances) for entry in each.endpoints[0].variants) >= 2 for each in tables)

    run(body)


def test_a_bake_ends_when_it_is_over_and_not_a_poll_later(run: Callable[..., None], monkeypatch: Any) -> None:
    """Control sleeps until the moment that the planner names."""
    from polyport.control import reconcile

    monkeypatch.setattr(reconcile, "POLL_INTERVAL", 1000.0)

    async def body(plane: Plane) -> None:
        await plane.create(variant("A", 2))
        await plane.reaches(Status.IN_SERVICE)
        await plane.want(variant("A", 2), config=blue_green("LINEAR", 1, LinearStepSize=percent(50)))
        row = await plane.reaches(Status.IN_SERVICE)
        assert row.state.active is not None
        assert row.state.active.revision == 2

    run(body)


def test_a_rolling_update_replaces_one_after_the_other(run: Callable[..., None]) -> None:
    """Never more than one beyond the old count, never fewer than it in a table."""

    async def body(plane: Plane) -> None:
        await plane.create(variant("A", 3))
        old = await plane.reaches(Status.IN_SERVICE)
        first, most = len(plane.gateways[0].tables), 0
        await plane.want(variant("A", 3), config=rolling(size(1)) | {"AutoRollbackConfiguration": {}})
        plane.pace = 30.0
        while (row := await plane.get()).status is not Status.IN_SERVICE:
            most = max(most, len(plan.instances(row.state.active)) + len(plan.instances(row.state.pending)))
            await asyncio.sleep(0.002)
        assert most == 4
        assert not ids(row) & ids(old)
        assert plane.running == ids(row)
        tables = plane.gateways[0].tables[first:]
        assert min(sum(len(entry.instances) for entry in each.endpoints[0].variants) for each in tables) == 3

    run(body)


def test_a_rollback_that_fails_leaves_a_mix_that_can_be_updated_and_deleted(run: Callable[..., None]) -> None:
    """The old fleet cannot be started again: old and new serve side by side; the next update brings order."""

    async def body(plane: Plane) -> None:
        await plane.create(variant("A", 3, hosts=("old",)))
        await plane.reaches(Status.IN_SERVICE)
        config = rolling(size(1)) | ALARMED
        await plane.want(variant("A", 3, hosts=("new",)), config=config)
        await reaches(plane, Phase.BAKING, 1)
        plane.skip(BATCH)
        await reaches(plane, Phase.BAKING, 2)
        plane.machine.scripts["old"] = Script(listens=False)
        before = plane.running
        await plane.alarm(AlarmState.ALARM)
        await reaches(plane, Phase.RETURNING, 0)
        await until(lambda: any(plane.reconciler.monitor.hints(each) for each in plane.running - before))
        plane.skip(RULES.startup_timeout)
        row = await plane.reaches(Status.UPDATE_ROLLBACK_FAILED)
        assert row.state.failure_reason.startswith("The alarm errors was in ALARM while step 2 of 3")
        assert "The rollback failed too: The container old for production variant A" in row.state.failure_reason
        assert row.state.active is not None
        assert row.state.active.mixed
        await plane.alarm(AlarmState.OK)
        await plane.want(variant("A", 2, hosts=("new",)))
        row = await plane.reaches(Status.IN_SERVICE)
        assert row.state.active is not None
        assert not row.state.active.mixed
        await plane.runs(*ids(row))
        assert len(ids(row)) == 2
        await plane.delete()
        await plane.is_gone()

    run(body)


def test_new_weights_are_in_force_while_new_instances_still_start(run: Callable[..., None]) -> None:
    """And each new instance gets calls as soon as it is healthy."""

    async def body(plane: Plane) -> None:
        await plane.create(variant("A", 1), variant("B", 1, hosts=("slow",)))
        row = await plane.reaches(Status.IN_SERVICE)
        plane.machine.scripts["slow"] = Script(ready_after=1e9)
        await plane.want(variant("A", 2, weight=5), variant("B", 2, weight=2, hosts=("slow",)), new=False)
        await until(lambda: [weight for _, weight in shown(plane)] == [5.0, 2.0])
        await until(lambda: shown(plane)[0] == (2, 5.0))
        assert (await plane.get()).status is Status.UPDATING
        assert plane.reconciler.view.healthy_counts(row.id)["A"] == 2
        plane.machine.scripts["slow"] = Script()
        await plane.reaches(Status.IN_SERVICE)
        assert shown(plane) == [(2, 5.0), (2, 2.0)]

    run(body)
