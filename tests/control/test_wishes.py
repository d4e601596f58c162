"""What operators may ask beyond SageMaker's operations (`polyport endpoints`), and what becomes of it."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

import pytest
from msgspec.structs import replace

from control.gateways import until
from control.plane import Plane, ids
from control.values import deployment, endpoint, fleet, new_id, variant, wanted
from polyport.cli import wishes
from polyport.control import plan
from polyport.domain.endpoints import Endpoint, EndpointState, Phase, Status, Wanted
from polyport.engines.contract import Ping
from polyport.engines.fake import Script
from polyport.errors import StaleWrite, UsageError

Run = Callable[..., None]
WHY = "Cancelled."


async def wish(plane: Plane, ask: Callable[[Endpoint], Wanted]) -> None:
    """As the commands write it."""
    while True:
        row = await plane.get()
        with suppress(StaleWrite):
            await plane.store.want(row, ask(row), 7.0)
            return


def test_a_restart_replaces_all_instances_batch_by_batch(run: Run) -> None:
    """The same images in new instances; at no time do fewer take calls than before; no configuration changes."""

    async def body(plane: Plane) -> None:
        await plane.create(variant(instances=4))
        old = await plane.reaches(Status.IN_SERVICE)
        gateway, images = plane.gateways[0], plane.preparer.resolved
        first = len(gateway.tables)
        await wish(plane, lambda row: wishes.restart(row, 25))
        await plane.passes(Status.UPDATING)
        new = await plane.reaches(Status.IN_SERVICE)
        assert not ids(new) & ids(old)
        assert plane.live() == [ids(new)]
        assert plane.preparer.resolved == images, "the images were looked for again"
        assert new.state.active is not None
        assert old.state.active is not None
        assert new.state.active.config_name == old.state.active.config_name
        assert new.wanted.deployment_config is None
        counts = [sum(len(each.instances) for each in table.endpoints[0].variants) for table in gateway.tables[first:]]
        assert min(counts) >= 4
        assert len(counts) >= 4
        await plane.runs(*ids(new))

    run(body)


def test_a_restart_that_does_not_get_healthy_is_rolled_back(run: Run) -> None:
    """The old instances serve on; nothing of the restart is left, and the next one is possible."""

    async def body(plane: Plane) -> None:
        await plane.create(variant(instances=2))
        old = await plane.reaches(Status.IN_SERVICE)
        plane.machine.scripts["one"] = Script(broken="no space left")
        plane.pace = 20.0
        await wish(plane, lambda row: wishes.restart(row, 50))
        await plane.passes(Status.ROLLING_BACK)
        row = await plane.reaches(Status.IN_SERVICE)
        assert "no space left" in row.state.failure_reason
        assert ids(old) == ids(row)
        plane.machine.scripts.clear()
        await wish(plane, lambda row: wishes.restart(row, 50))
        await until(lambda: plane.live() != [ids(row)])
        row = await plane.reaches(Status.IN_SERVICE)
        assert not ids(old) & ids(row)

    run(body)


def test_a_cancelled_create_fails_with_the_reason(run: Run) -> None:
    """Whatever it waits for, be it images or a container that does not get healthy; then it can be deleted."""

    async def body(plane: Plane) -> None:
        plane.preparer.open.clear()
        await plane.create(variant())
        await until(lambda: plane.preparer.resolving)
        await wish(plane, lambda row: wishes.cancel(row, WHY))
        row = await plane.reaches(Status.FAILED)
        assert row.state.failure_reason == WHY
        await plane.delete()
        await plane.is_gone()
        plane.preparer.open.set()
        plane.machine.scripts["one"] = Script(ping_status=503)
        await plane.create(variant())
        await until(lambda: plane.running)
        await wish(plane, lambda row: wishes.cancel(row, WHY))
        row = await plane.reaches(Status.FAILED)
        assert row.state.failure_reason == WHY
        await plane.runs()

    run(body)


def test_a_create_that_waits_for_gateways_alone_can_be_cancelled(run: Run) -> None:
    """Its instances are healthy, and still it is not in service."""

    async def body(plane: Plane) -> None:
        plane.gateways[0].hold = True
        await plane.create(variant())
        await until(lambda: plane.gateways[0].tables[-1].endpoints)
        await wish(plane, lambda row: wishes.cancel(row, WHY))
        plane.gateways[0].hold = False
        row = await plane.reaches(Status.FAILED)
        assert row.state.failure_reason == WHY
        plane.gateways[0].acknowledge()
        await plane.runs()

    run(body)


@pytest.mark.parametrize("new", [True, False], ids=["update", "resize"])
def test_a_cancelled_update_is_rolled_back(run: Run, new: bool) -> None:
    """The old fleet is what it was, with its weights; the reason stays to be read; the next update is a new one."""

    async def body(plane: Plane) -> None:
        await plane.create(variant(weight=1.0))
        old = await plane.reaches(Status.IN_SERVICE)
        plane.preparer.stuck = {"A"}
        await plane.want(variant(instances=2, weight=3.0), new=new)
        await until(lambda: plane.preparer.preparing - ids(old))
        await wish(plane, lambda row: wishes.cancel(row, WHY))
        await plane.passes(Status.ROLLING_BACK)
        row = await plane.reaches(Status.IN_SERVICE)
        assert row.state.failure_reason == WHY
        assert row.state.active == old.state.active
        await plane.runs(*ids(old))
        plane.preparer.stuck = set()
        await plane.want(variant(instances=2))
        await until(lambda: plane.live() != [ids(old)])
        row = await plane.reaches(Status.IN_SERVICE)
        assert row.state.failure_reason == ""
        assert len(ids(row)) == 2

    run(body)


def test_a_cancelled_rolling_update_goes_back_batch_by_batch(run: Run) -> None:
    """From the middle of a restart, too: what was let go is started again."""

    async def body(plane: Plane) -> None:
        await plane.create(variant(instances=4))
        old = await plane.reaches(Status.IN_SERVICE)
        await wish(plane, lambda row: wishes.restart(row, 25, wait=3600))
        while True:
            row = await plane.get()
            if row.state.rollout and row.state.rollout.phase is Phase.BAKING:
                break
            await asyncio.sleep(0.005)
        await wish(plane, lambda row: wishes.cancel(row, WHY))
        row = await plane.reaches(Status.IN_SERVICE)
        assert ids(row) == ids(old)
        assert row.state.failure_reason == WHY

    run(body)


def test_what_was_cancelled_before_it_began_never_begins() -> None:
    """The endpoint is what it was, and the call is answered for."""
    active = deployment(1, fleet(variant(), "i-1"))
    state = EndpointState(status=Status.IN_SERVICE, settled=1, active=active)
    row = endpoint(replace(wanted(2, variant("B")), cancelled=WHY), state, generation=3)
    seen = {"i-1": plan.Seen(present=True, healthy=True, routed=True, drained=False)}
    after = plan.plan(row, seen, {}, 1.0, new_id).state
    assert after == replace(state, settled=3, failure_reason=WHY)
    created = endpoint(replace(wanted(1, variant()), cancelled=WHY))
    after = plan.plan(created, {}, {}, 1.0, new_id).state
    assert (after.status, after.failure_reason, after.settled) == (Status.FAILED, WHY, 1)


@pytest.mark.parametrize("where", ["resolving", "preparing", "starting", "updating", "rolling back", "healing"])
def test_a_forced_deletion_works_in_any_status(run: Run, where: str) -> None:
    """Nothing that it waits for keeps it; nothing of it is left."""

    async def body(plane: Plane) -> None:
        if where in {"updating", "rolling back", "healing"}:
            await plane.create(variant(instances=2))
            row = await plane.reaches(Status.IN_SERVICE)
        if where == "resolving":
            plane.preparer.open.clear()
            await plane.create(variant())
            await until(lambda: plane.preparer.resolving)
        elif where == "preparing":
            plane.preparer.stuck = {"A"}
            await plane.create(variant())
            await until(lambda: plane.preparer.preparing)
        elif where == "starting":
            plane.machine.scripts["one"] = Script(ping_status=503)
            await plane.create(variant())
            await until(lambda: plane.running)
        elif where == "healing":
            plane.answers[min(ids(row))] = Ping(status=500)
            await until(lambda: plane.live() != [ids(row)])
        else:
            plane.preparer.stuck = {"A"}
            await plane.want(variant(instances=2))
            await until(lambda: plane.preparer.preparing - ids(row))
        if where == "rolling back":
            plane.gateways[0].draining = tuple(ids(row))
            await wish(plane, lambda row: wishes.cancel(row, WHY))
            await plane.passes(Status.ROLLING_BACK)
            plane.gateways[0].draining = ()
        await wish(plane, lambda row: wishes.delete(row, force=True))
        await plane.is_gone()
        await plane.runs()

    run(body)


def _in(status: Status, **state: object) -> Endpoint:
    active = deployment(1, fleet(variant(), "i-1"))
    return endpoint(wanted(1, variant()), EndpointState(status=status, settled=1, active=active, **state))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (Status.CREATING, "is Creating: wait for the end of that, or cancel it"),
        (Status.UPDATING, "is Updating: wait"),
        (Status.FAILED, "is Failed and cannot be restarted: it can only be deleted"),
        (Status.UPDATE_ROLLBACK_FAILED, "a mix of two deployments, which the next update replaces"),
    ],
)
def test_a_restart_begins_in_service_alone(status: Status, words: str) -> None:
    """Any other status is told, with what to do."""
    with pytest.raises(UsageError, match=words):
        wishes.restart(_in(status), 25)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (_in(Status.IN_SERVICE), "is InService: nothing is in progress"),
        (_in(Status.FAILED), "is Failed: nothing is in progress"),
        (_in(Status.ROLLING_BACK), "is RollingBack already"),
        (_in(Status.SYSTEM_UPDATING), "can be deleted with --force"),
        (_in(Status.UPDATING), "too late to cancel it"),
        (endpoint(replace(wanted(1, variant()), deleted=True)), "is Deleting already"),
    ],
    ids=str,
)
def test_only_what_is_in_progress_can_be_cancelled(row: Endpoint, words: str) -> None:
    """Else one line says how things are."""
    with pytest.raises(UsageError, match=words):
        wishes.cancel(row, WHY)


def test_a_deletion_without_force_waits_as_sagemakers_does() -> None:
    """And says that there is a way."""
    with pytest.raises(UsageError, match="is Creating: wait for the end of that, cancel it, or use --force"):
        wishes.delete(endpoint(wanted(1, variant())), force=False)
    assert wishes.delete(_in(Status.IN_SERVICE), force=False).deleted


def test_a_restart_watches_the_alarms_of_the_last_deployment() -> None:
    """They say what healthy means for this endpoint; the rest of that configuration is not the restart's."""
    auto = {"Alarms": [{"AlarmName": "errors"}]}
    row = _in(Status.IN_SERVICE)
    config = {"BlueGreenUpdatePolicy": {}, "AutoRollbackConfiguration": auto}
    row = replace(row, wanted=replace(row.wanted, deployment_config=config))
    wish = wishes.restart(row, 10, wait=5)
    assert wish.deployment_config == config
    assert wish.restart == {
        "RollingUpdatePolicy": {
            "MaximumBatchSize": {"Type": "CAPACITY_PERCENT", "Value": 10},
            "WaitIntervalInSeconds": 5,
        },
        "AutoRollbackConfiguration": auto,
    }
