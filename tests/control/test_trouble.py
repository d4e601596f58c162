"""The reconciler when something goes wrong around it."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

import msgspec
import pytest

from control.gateways import until
from control.plane import RULES, Plane, ids
from control.values import fix_of, variant
from polyport.control import reconcile, routes
from polyport.domain.endpoints import Endpoint, Status
from polyport.domain.instances import Container, Image, Instance, InstanceState
from polyport.domain.routes import Unreachable
from polyport.engines.fake import FakeEngine, Script
from polyport.errors import ArtifactError, EngineError, StaleWrite
from polyport.settings import Settings


@pytest.mark.parametrize("where", ["resolve", "prepare", "apply"])
def test_a_bug_in_an_action_fails_the_endpoint_and_does_not_hang_it(run: Callable[..., None], where: str) -> None:
    """Whatever an action raises becomes the reason; other endpoints are not touched, and it can be deleted."""

    async def body(plane: Plane) -> None:
        await plane.create(variant(), name="Good")
        await plane.reaches(Status.IN_SERVICE, "Good")
        bug = ZeroDivisionError("division by zero")
        if where == "resolve":
            plane.preparer.resolve_error = bug
        elif where == "prepare":
            plane.preparer.error = bug
        else:
            plane.engine.error = bug
        await plane.create(variant())
        row = await plane.reaches(Status.FAILED)
        assert row.state.failure_reason == "Internal error: ZeroDivisionError: division by zero"
        plane.engine.error = None
        await plane.delete()
        await plane.is_gone()
        assert (await plane.get("Good")).status is Status.IN_SERVICE

    run(body)


def test_an_engine_that_cannot_remove_is_asked_again(run: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    """A daemon that is away for a moment delays a deletion, no more."""
    monkeypatch.setattr(reconcile, "POLL_INTERVAL", 0.05)

    async def body(plane: Plane) -> None:
        await plane.create(variant())
        await plane.reaches(Status.IN_SERVICE)
        plane.engine.error = EngineError("the daemon is away")
        await plane.delete()
        await until(lambda: not plane.gateways[0].tables[-1].endpoints)
        assert plane.running
        plane.engine.error = None
        await plane.is_gone()
        assert not plane.running

    run(body)


def test_orphans_are_removed_and_others_untouched(run: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    """An instance that no row wants goes; those of endpoints stay, and those of other homes are none of ours."""
    monkeypatch.setattr(reconcile, "SWEEP_INTERVAL", 0.05)

    async def body(plane: Plane) -> None:
        other = FakeEngine(Settings(home=plane.folder / "other"), plane.machine)
        await other.open()
        image = Image("one:1", "one:1", 1.0)
        await other.apply(Instance("i-foreign", {}, (Container("one", image),)))
        await plane.create(variant())
        row = await plane.reaches(Status.IN_SERVICE)
        await FakeEngine.apply(plane.engine, Instance("i-orphan", {}, (Container("one", image),)))
        assert "i-orphan" in plane.running
        await plane.runs(*ids(row))
        assert [state.id for state in await other.observe()] == ["i-foreign"]
        await other.close()
        assert (await plane.get()).version == row.version

    run(body)


def test_an_orphan_stays_while_a_gateway_may_use_it(run: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    """After a restart of control a gateway may hold a table that nobody remembers: it has to get a new one first."""
    monkeypatch.setattr(reconcile, "SWEEP_INTERVAL", 0.02)

    async def body(plane: Plane) -> None:
        gateway = plane.gateways[0]
        await gateway.receives(1)
        gateway.draining = ("i-orphan",)
        gateway.acknowledge()
        await until(lambda: any(worker.draining for worker in plane.reconciler.publisher.workers))
        image = Image("one:1", "one:1", 1.0)
        await FakeEngine.apply(plane.engine, Instance("i-orphan", {}, (Container("one", image),)))
        await asyncio.sleep(0.2)
        assert plane.running == {"i-orphan"}
        gateway.draining = ()
        gateway.acknowledge()
        await plane.runs()

    run(body)


def test_a_row_that_vanished_is_dropped(run: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that was put back to an older state: what it does not know leaves the tables, then stops."""
    monkeypatch.setattr(reconcile, "SWEEP_INTERVAL", 0.05)

    async def body(plane: Plane) -> None:
        await plane.create(variant())
        await plane.store.remove_endpoint(await plane.reaches(Status.IN_SERVICE))
        await plane.runs()
        assert not plane.gateways[0].tables[-1].endpoints

    run(body)


def test_a_restarted_control_publishes_nothing_before_it_knows_all(run: Callable[..., None]) -> None:
    """What is known of one endpoint is not pushed while another is still being asked: no target leaves the tables
    because control was started again."""

    async def body(plane: Plane) -> None:
        await plane.create(variant(hosts=("slow",)), name="Slow")
        await plane.create(variant(), name="Quick")
        rows = [await plane.reaches(Status.IN_SERVICE, name) for name in ("Slow", "Quick")]
        await plane.kill()
        gateway = plane.gateways[0]
        tables = len(gateway.tables)
        begun = asyncio.create_task(plane.begin(asleep=True))
        await until(lambda: plane.reconciler.publisher.workers)
        await until(lambda: any(plane.reconciler.monitor.is_healthy(each) for row in rows for each in ids(row)))
        # What somebody wants meanwhile has to wait, too.
        plane.reconciler.wake(rows[1].id)
        await plane.create(variant(), name="New")
        await asyncio.sleep(0.1)
        assert len(gateway.tables) == tables
        plane.engine.awake.set()
        await begun
        table = await gateway.receives(tables + 1)
        live = {each for entry in table.endpoints for each in routes.live_ids(entry)}
        assert live == {each for row in rows for each in ids(row)}
        await plane.reaches(Status.IN_SERVICE, "New")
        for row in rows:
            assert (await plane.get(row.name)).version == row.version

    run(body)


def test_an_instance_that_vanishes_is_started_again(run: Callable[..., None]) -> None:
    """A reboot takes instances without asking: the endpoint is SystemUpdating until they are back and routed."""

    async def body(plane: Plane) -> None:
        await plane.create(variant(instances=2))
        row = await plane.reaches(Status.IN_SERVICE)
        lost = min(ids(row))
        plane.machine.scripts["one"] = Script(ready_after=0.3)
        del plane.machine.homes[plane.home][lost]
        plane.machine.tell()
        await plane.passes(Status.SYSTEM_UPDATING)
        await until(lambda: plane.live() == [ids(row) - {lost}])
        row = await plane.reaches(Status.IN_SERVICE)
        assert plane.live() == [ids(row)]

    run(body)


def test_a_container_that_exits_leaves_the_tables_and_comes_back(run: Callable[..., None]) -> None:
    """The endpoint stays InService; its instance gets no calls until all its containers are healthy again."""

    async def body(plane: Plane) -> None:
        await plane.create(variant(instances=2))
        row = await plane.reaches(Status.IN_SERVICE)
        hurt = min(ids(row))
        plane.machine.scripts["two"] = Script(ready_after=0.3)
        plane.machine.kill(hurt, "two")
        await until(lambda: hurt not in plane.live()[0])
        assert (await plane.get()).status is Status.IN_SERVICE
        await until(lambda: hurt in plane.live()[0])
        assert (await plane.get()).version == row.version

    run(body)


def test_what_gateways_cannot_reach_is_asked_at_once(run: Callable[..., None]) -> None:
    """A report from a gateway does not wait for the next ping, and one failed ping confirms it."""
    patient = msgspec.structs.replace(RULES, ping_interval=1000.0, unhealthy_after=3)

    async def body(plane: Plane) -> None:
        await plane.create(variant())
        row = await plane.reaches(Status.IN_SERVICE)
        plane.machine.scripts["one"] = Script(ping_status=500)
        plane.gateways[0].send(Unreachable(*ids(row), "one", "refused"))
        await until(lambda: plane.live() == [set()])

    run(body, rules=patient)


def test_lost_hints_only_make_it_slower(run: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody tells the reconciler of rows: polling finds them all the same, new ones, changed ones and deleted ones."""
    monkeypatch.setattr(reconcile, "SWEEP_INTERVAL", 0.05)

    async def body(plane: Plane) -> None:
        await plane.create(variant())
        await plane.reaches(Status.IN_SERVICE)
        await plane.want(variant(hosts=("three",)))
        await plane.reaches(Status.IN_SERVICE)
        await plane.delete()
        await plane.is_gone()

    run(body, subscribe=False)


def test_a_write_that_lost_the_race_is_decided_again(run: Callable[..., None]) -> None:
    """The row is changed under each of the reconciler's writes; it reads again and gets there."""

    async def body(plane: Plane) -> None:
        left = 5

        async def meddle(row: Endpoint) -> None:
            nonlocal left
            if left:
                left -= 1
                await plane.store.advance(await plane.get(row.name), row.state, 1.0)

        plane.rows.meddle = meddle
        await plane.create(variant())
        row = await plane.reaches(Status.IN_SERVICE)
        assert left == 0
        assert plane.running == ids(row)

    run(body)


def test_a_failed_instance_that_is_still_being_prepared_is_called_off(run: Callable[..., None]) -> None:
    """One variant fails while another downloads: the download is ended, and nothing starts after the fact."""

    async def body(plane: Plane) -> None:
        plane.preparer.stuck = {"B"}
        plane.preparer.error = ArtifactError("No space left.")
        await plane.create(variant("A"), variant("B"))
        row = await plane.reaches(Status.FAILED)
        assert row.state.failure_reason == "No space left. " + fix_of("model-data-not-fetched")
        await until(lambda: plane.preparer.cancelled)
        await plane.rests()
        assert not plane.running

    run(body)


def test_an_endpoint_that_vanishes_while_its_images_are_looked_for_leaves_nothing(run: Callable[..., None]) -> None:
    """What is found for it comes too late and is dropped."""

    async def body(plane: Plane) -> None:
        plane.preparer.open.clear()
        key = await plane.create(variant())
        await until(lambda: plane.preparer.resolving)
        while row := await plane.find():
            with suppress(StaleWrite):
                await plane.store.remove_endpoint(row)
        plane.reconciler.wake(key)
        await until(lambda: key not in plane.reconciler.view.endpoints)
        plane.preparer.open.set()
        await until(lambda: not plane.preparer.resolving)
        await asyncio.sleep(0)
        assert not plane.reconciler._actions._resolved

    run(body)


def test_a_late_look_at_the_engine_does_not_undo_a_newer_one(run: Callable[..., None]) -> None:
    """Two looks may overlap; the one that began first must not make instances vanish that the other one saw."""

    async def body(plane: Plane) -> None:
        look, gate = plane.engine.observe, asyncio.Event()

        async def look_slowly() -> tuple[InstanceState, ...]:
            seen = await look()
            await gate.wait()
            return seen

        plane.engine.observe = look_slowly  # type: ignore[method-assign]
        late = asyncio.create_task(plane.reconciler._refresh())
        await asyncio.sleep(0)
        plane.engine.observe = look  # type: ignore[method-assign]
        await plane.create(variant())
        row = await plane.reaches(Status.IN_SERVICE)
        gate.set()
        await late
        assert set(plane.reconciler.view.states) == ids(row)

    run(body)


def test_an_instance_that_cannot_be_started_again_is_tried_with_patience(run: Callable[..., None]) -> None:
    """An InService endpoint whose instance is lost for good tries again and again, ever less often, without a rush."""

    async def body(plane: Plane) -> None:
        await plane.create(variant(instances=2))
        row = await plane.reaches(Status.IN_SERVICE)
        plane.preparer.error = ArtifactError("The bucket is gone.")
        plane.pace = 100.0
        lost = min(ids(row))
        del plane.machine.homes[plane.home][lost]
        plane.machine.tell()
        await plane.passes(Status.SYSTEM_UPDATING)
        row = await plane.reaches(Status.IN_SERVICE)
        steps = plane.rows.steps
        await asyncio.sleep(1.5)
        assert plane.rows.steps - steps < 20
        assert (await plane.get()).version == row.version
        plane.preparer.error = None
        await until(lambda: plane.live() == [ids(row)])

    run(body)
