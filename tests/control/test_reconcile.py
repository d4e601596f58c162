"""The reconciler: what becomes of endpoints. `test_trouble` has what befalls them, `test_kill` what befalls control."""

import asyncio
from collections.abc import Callable

from control.gateways import until
from control.plane import Plane, ids
from control.values import fix_of, variant
from polyport.domain.endpoints import Status
from polyport.engines.fake import Script
from polyport.errors import ArtifactError


def test_an_endpoint_is_in_service_once_all_gateways_acknowledged_it_and_not_before(run: Callable[..., None]) -> None:
    """Healthy is not enough: InService means that every worker can already send a call to it."""

    async def body(plane: Plane) -> None:
        last = plane.gateways[1]
        last.hold = True
        await plane.create(variant("A", 2), variant("B"))
        await until(lambda: last.tables and last.tables[-1].endpoints)
        assert (await plane.get()).status is Status.CREATING
        last.hold = False
        last.acknowledge()
        row = await plane.reaches(Status.IN_SERVICE)
        assert len(ids(row)) == 3
        assert plane.live() == [ids(row), ids(row)]
        assert plane.running == ids(row)
        assert plane.reconciler.view.healthy_counts(row.id) == {"A": 2, "B": 1}
        assert plane.reconciler.view.activity(row.id) == {}

    run(body, workers=2)


def test_an_update_switches_the_traffic_and_then_drains_the_old_fleet(run: Callable[..., None]) -> None:
    """At no time is there a table without targets, and the old fleet goes only when its last call has ended."""

    async def body(plane: Plane) -> None:
        await plane.create(variant(instances=2))
        old = await plane.reaches(Status.IN_SERVICE)
        gateway = plane.gateways[0]
        first = len(gateway.tables)
        gateway.draining = tuple(ids(old))
        await plane.want(variant(hosts=("three",)))
        await until(lambda: gateway.tables[-1].endpoints[0].variants[0].hostnames == ("three",))
        assert ids(old) <= plane.running
        assert (await plane.get()).status is Status.UPDATING
        gateway.draining = ()
        gateway.acknowledge()
        new = await plane.reaches(Status.IN_SERVICE)
        assert not ids(new) & ids(old)
        assert plane.running == ids(new)
        assert new.state.active is not None
        assert new.state.active.config_name == "config-2"
        assert all(table.endpoints[0].variants[0].instances for table in gateway.tables[first:])

    run(body)


def test_an_update_that_fails_rolls_back_and_says_why(run: Callable[..., None]) -> None:
    """The old fleet serves all the time; the endpoint is InService again with the reason of the failure."""

    async def body(plane: Plane) -> None:
        # It never listens: an answer in its short life would make it healthy, and the update a success.
        script = Script(listens=False, exits_after=0.01, exit_code=3, output=("no such file: model.pkl",))
        plane.machine.scripts["bad"] = script
        await plane.create(variant())
        old = await plane.reaches(Status.IN_SERVICE)
        gateway = plane.gateways[0]
        before = list(gateway.tables)
        plane.pace = 20.0
        await plane.want(variant(hosts=("good", "bad")))
        await plane.passes(Status.ROLLING_BACK)
        row = await plane.reaches(Status.IN_SERVICE)
        assert ids(row) == ids(old) == plane.running
        assert row.state.active == old.state.active
        reason = row.state.failure_reason
        assert reason.startswith("The container bad for production variant A did not pass the ping health check.")
        assert "exited with code 3 and was restarted 3 times" in reason
        assert reason.endswith("no such file: model.pkl")
        assert [table.endpoints for table in gateway.tables[len(before) :]] == []

    run(body)


def test_a_container_that_never_gets_healthy_fails_its_new_endpoint(run: Callable[..., None]) -> None:
    """Nothing of it is left running, and its reason stands in the row."""

    async def body(plane: Plane) -> None:
        plane.machine.scripts["one"] = Script(listens_on=8000)
        plane.pace = 200.0
        key = await plane.create(variant())
        await until(lambda: plane.reconciler.view.activity(key))
        row = await plane.reaches(Status.FAILED)
        assert "It listens on 8000, expected 1" in row.state.failure_reason
        await plane.runs()
        await plane.delete()
        await plane.is_gone()

    run(body)


def test_weights_and_counts_change_without_new_fleets(run: Callable[..., None]) -> None:
    """A scale-out adds, a scale-in takes away, a weight moves; the instances that stay are the same."""

    async def body(plane: Plane) -> None:
        await plane.create(variant("A"), variant("B", 2))
        first = await plane.reaches(Status.IN_SERVICE)
        await plane.want(variant("A", 3, weight=5.0), variant("B", 1), new=False)
        second = await plane.reaches(Status.IN_SERVICE)
        assert second.state.active is not None
        assert [len(fleet.instances) for fleet in second.state.active.fleets] == [3, 1]
        assert len(ids(first) & ids(second)) == 2
        assert plane.running == ids(second)
        assert plane.gateways[0].tables[-1].endpoints[0].variants[0].weight == 5.0
        await plane.want(variant("A", 0), variant("B", 1), new=False)
        third = await plane.reaches(Status.IN_SERVICE)
        await plane.runs(*ids(third))
        assert len(ids(third)) == 1

    run(body)


def test_weights_alone_are_in_service_only_when_acknowledged(run: Callable[..., None]) -> None:
    """No instance changes, and still the update ends only when all gateways go by the new weight."""

    async def body(plane: Plane) -> None:
        await plane.create(variant(weight=1.0))
        await plane.reaches(Status.IN_SERVICE)
        gateway = plane.gateways[0]
        gateway.hold = True
        await plane.want(variant(weight=0.25), new=False)
        await until(lambda: gateway.tables[-1].endpoints[0].variants[0].weight == 0.25)
        assert (await plane.get()).status is Status.UPDATING
        gateway.acknowledge()
        await plane.reaches(Status.IN_SERVICE)

    run(body)


def test_a_deleted_endpoint_leaves_nothing(run: Callable[..., None]) -> None:
    """Out of the tables first, then the instances, then the row; and nothing stays in memory."""

    async def body(plane: Plane) -> None:
        key = await plane.create(variant(instances=2))
        await plane.reaches(Status.IN_SERVICE)
        await plane.delete()
        await plane.is_gone()
        assert not plane.running
        await until(lambda: not plane.gateways[0].tables[-1].endpoints)
        await until(lambda: not plane.gateways[0].tables[-1].unavailable)
        held = [
            value
            for value in [*vars(plane.reconciler).values(), *vars(plane.reconciler.view).values()]
            if isinstance(value, dict)
        ]
        assert not any(key in value for value in held)
        assert not plane.reconciler._actions._attempts
        assert not plane.reconciler.view.owners
        assert plane.reconciler.view.healthy_counts(key) == {}

    run(body)


def test_model_data_that_cannot_be_had_fails_the_endpoint_with_the_text(run: Callable[..., None]) -> None:
    """What the preparer says is for the user, word for word; then comes what to do."""

    async def body(plane: Plane) -> None:
        plane.preparer.error = ArtifactError("Could not find model data at s3://bucket/key.")
        await plane.create(variant(instances=2))
        row = await plane.reaches(Status.FAILED)
        assert row.state.failure_reason == (
            "Could not find model data at s3://bucket/key. " + fix_of("model-data-not-fetched")
        )
        await plane.rests()
        assert not plane.running

    run(body)


def test_an_unknown_image_fails_the_endpoint_with_the_text(run: Callable[..., None]) -> None:
    """Known ones are named, and what to do; nothing was started."""

    async def body(plane: Plane) -> None:
        await plane.create(variant("A"), variant("B", hosts=("unknown",)))
        row = await plane.reaches(Status.FAILED)
        assert row.state.failure_reason == (
            "There is no image unknown:1. Known are: one:1. " + fix_of("image-not-found")
        )
        assert not plane.preparer.preparing

    run(body)


def test_after_a_clean_stop_every_endpoint_comes_back_by_itself(run: Callable[..., None]) -> None:
    """`stop_instances` leaves the rows alone; the next start goes through SystemUpdating to InService."""

    async def body(plane: Plane) -> None:
        plane.machine.scripts["one"] = Script(ready_after=0.2)
        await plane.create(variant(instances=2))
        row = await plane.reaches(Status.IN_SERVICE)
        for gateway in plane.gateways:
            await gateway.close()
            gateway.tables.clear()
        await plane.reconciler.stop_instances(5.0)
        assert not plane.running
        assert (await plane.get()).version == row.version
        await plane.kill()
        await plane.begin()
        await plane.passes(Status.SYSTEM_UPDATING)
        assert set(plane.reconciler.view.activity(row.id)) == {"A"}
        again = await plane.reaches(Status.IN_SERVICE)
        assert ids(again) == ids(row) == plane.running

    run(body)


def test_stopping_instances_waits_no_longer_than_it_may(run: Callable[..., None]) -> None:
    """A container that does not end does not keep the server from ending."""

    async def body(plane: Plane) -> None:
        plane.machine.scripts["one"] = Script(stops_after=100.0)
        await plane.create(variant())
        await plane.reaches(Status.IN_SERVICE)
        for gateway in plane.gateways:
            await gateway.close()
            gateway.tables.clear()
        begun = asyncio.get_running_loop().time()
        await plane.reconciler.stop_instances(0.2)
        assert asyncio.get_running_loop().time() - begun < 2
        # What comes too late is not begun.
        key = await plane.create(variant(), name="Late")
        plane.reconciler.wake(key)
        assert len(plane.running) == 1

    run(body)


def test_settled_endpoints_cost_no_steps(run: Callable[..., None]) -> None:
    """In steady state nothing is read, planned or pushed for an endpoint, whatever its status."""

    async def body(plane: Plane) -> None:
        for number in range(5):
            hosts = ("unknown",) if number == 4 else ("one",)
            await plane.create(variant(hosts=hosts), name=f"E{number}")
        for number in range(5):
            await plane.rests(f"E{number}")
        await asyncio.sleep(0.1)
        steps, tables = plane.rows.steps, len(plane.gateways[0].tables)
        plane.gateways[0].acknowledge()
        await asyncio.sleep(1.2)
        assert plane.rows.steps == steps
        assert len(plane.gateways[0].tables) == tables

    run(body)


def test_a_hundred_endpoints_at_once(run: Callable[..., None]) -> None:
    """All get into service, and the cost grows with their number, not with its square."""

    async def body(plane: Plane) -> None:
        names = [f"E{number}" for number in range(100)]
        await asyncio.gather(*(plane.create(variant(hosts=("one",)), name=name) for name in names))
        for name in names:
            await plane.rests(name, seconds=60)
        assert len(plane.running) == 100
        assert plane.rows.steps < 1500

    run(body)
