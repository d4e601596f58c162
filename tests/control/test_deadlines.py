"""Nothing gets stuck: each phase of an endpoint has a limit of time, and something that happens then."""

import asyncio
import math
from collections.abc import Callable

import msgspec
import pytest
from msgspec.structs import replace

from control.gateways import until
from control.plane import RULES, Plane, ids
from control.values import deployment, endpoint, fix_of, fleet, new_id, new_ids, variant, wanted
from polyport.control import limits as limits_module
from polyport.control import plan, reconcile
from polyport.control.limits import Limits
from polyport.control.plan import Seen
from polyport.domain.endpoints import EndpointState, Phase, Status
from polyport.domain.instances import Instance, InstanceState
from polyport.engines.contract import Ping
from polyport.engines.fake import Script

SHORT = Limits(image_pull=0.1, download=0.1, startup=0.5, engine=0.2, stop=0.1, gateway=0.3, drain=0.5)
Run = Callable[..., None]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loops look often, and nothing is added to the limits."""
    monkeypatch.setattr(limits_module, "MARGIN", 0.0)
    monkeypatch.setattr(reconcile, "SWEEP_INTERVAL", 0.05)
    monkeypatch.setattr(reconcile, "POLL_INTERVAL", 0.05)


def test_images_that_are_never_found_fail_the_endpoint(run: Run) -> None:
    """A registry that hangs: Failed, with the reason."""

    async def body(plane: Plane) -> None:
        plane.preparer.open.clear()
        await plane.create(variant())
        row = await plane.reaches(Status.FAILED)
        assert row.state.failure_reason == (
            "The images were not found within 0.2 seconds. " + fix_of("image-not-found")
        )

    run(body, limits=SHORT)


def test_model_data_that_never_arrives_fails_the_endpoint(run: Run) -> None:
    """A store that hangs: Failed, with the reason; the download is called off."""

    async def body(plane: Plane) -> None:
        plane.preparer.stuck = {"A"}
        await plane.create(variant())
        row = await plane.reaches(Status.FAILED)
        assert row.state.failure_reason == (
            "The model data was not there within 0.1 seconds. " + fix_of("model-data-not-fetched")
        )
        assert plane.preparer.cancelled

    run(body, limits=SHORT)


def test_an_engine_that_takes_no_order_fails_the_endpoint(run: Run) -> None:
    """A daemon that hangs: Failed, with the reason."""

    async def body(plane: Plane) -> None:
        plane.engine.obeys.clear()
        await plane.create(variant())
        row = await plane.reaches(Status.FAILED)
        assert row.state.failure_reason == "The engine gave no answer within 0.2 seconds."

    run(body, limits=SHORT)


def test_an_instance_that_never_shows_fails_the_endpoint(run: Run) -> None:
    """The engine took it, and there is nothing: it is given the start-up time, no more."""

    async def body(plane: Plane) -> None:
        async def nothing() -> tuple[InstanceState, ...]:
            return ()

        plane.engine.observe = nothing  # type: ignore[method-assign]
        await plane.create(variant())
        row = await plane.reaches(Status.FAILED)
        assert row.state.failure_reason == "The engine took the instance, and it was not there for 0.5 seconds."

    run(body, limits=SHORT)


def test_an_instance_that_is_lost_later_is_given_its_time_again(run: Run) -> None:
    """Also when the engine had shown it before it said that it took the order: that order was not in vain."""

    async def body(plane: Plane) -> None:
        apply = plane.engine.apply

        async def slow(instance: Instance) -> None:
            await apply(instance)
            await until(lambda: instance.id in plane.reconciler.view.states)

        plane.engine.apply = slow  # type: ignore[method-assign]
        await plane.create(variant())
        row = await plane.reaches(Status.IN_SERVICE)
        # Longer than a start may take.
        await asyncio.sleep(SHORT.startup)
        plane.machine.homes[plane.home].clear()
        await plane.passes(Status.SYSTEM_UPDATING)
        assert ids(await plane.reaches(Status.IN_SERVICE)) == ids(row)

    run(body, limits=SHORT)


def test_an_instance_that_does_not_get_healthy_fails_the_endpoint(run: Run) -> None:
    """The start-up time-out."""

    async def body(plane: Plane) -> None:
        plane.machine.scripts["one"] = Script(ping_status=503)
        await plane.create(variant())
        row = await plane.reaches(Status.FAILED)
        assert "GET /ping answered 503" in row.state.failure_reason

    run(body, rules=msgspec.structs.replace(RULES, startup_timeout=0.3))


def test_an_update_whose_new_instances_fall_ill_while_it_bakes_is_rolled_back(run: Run) -> None:
    """It would bake for an hour, and wait for them after that: it waits `replace_after` seconds."""
    config = {"BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": {}, "TerminationWaitInSeconds": 3600}}

    async def body(plane: Plane) -> None:
        await plane.create(variant())
        old = await plane.reaches(Status.IN_SERVICE)
        row = await plane.get()
        await plane.store.want(row, replace(wanted(2, variant()), deployment_config=config), 5.0)
        while not (row.state.rollout and row.state.rollout.phase is Phase.BAKING):
            await asyncio.sleep(0.005)
            row = await plane.get()
        plane.answers |= {each.id: Ping(status=500) for each in plan.instances(row.state.pending)}
        await plane.passes(Status.ROLLING_BACK)
        row = await plane.reaches(Status.IN_SERVICE)
        assert ids(row) == ids(old)
        assert "its last ping: answered 500" in row.state.failure_reason

    run(body, rules=msgspec.structs.replace(RULES, replace_after=0.2))


@pytest.mark.parametrize("what", ["create", "update"])
def test_a_gateway_worker_that_does_not_acknowledge_is_ended(run: Run, what: str) -> None:
    """Nothing is in service and nothing drains while it hangs. Another one takes its place, and things go on."""

    async def body(plane: Plane) -> None:
        if what == "update":
            await plane.create(variant())
            await plane.reaches(Status.IN_SERVICE)
        mute = plane.gateways[1]
        mute.hold = True
        await (plane.create(variant()) if what == "create" else plane.want(variant(hosts=("three",))))
        await until(lambda: plane.ended == [1])
        await until(lambda: mute.is_cut_off)
        await mute.close()
        mute.hold = False
        await mute.connect()
        await plane.reaches(Status.IN_SERVICE)

    run(body, limits=SHORT, workers=2)


def test_a_gateway_worker_that_stays_away_is_ended(run: Run) -> None:
    """It hung when control was started: nobody knows its process but as one that is none of the others."""

    async def body(plane: Plane) -> None:
        away = plane.gateways[1]
        await away.close()
        await plane.create(variant())
        await until(lambda: plane.spared)
        assert plane.spared[0] == [0]
        assert (await plane.get()).status is Status.CREATING
        await away.connect()
        await plane.reaches(Status.IN_SERVICE)
        seen = len(plane.spared)
        await asyncio.sleep(0.5)
        assert len(plane.spared) == seen
        assert plane.ended == []

    run(body, limits=SHORT, workers=2)


def test_a_gateway_worker_that_answers_is_left_alone(run: Run) -> None:
    """However long nothing has changed, and however many tables it got."""

    async def body(plane: Plane) -> None:
        await plane.create(variant())
        await plane.reaches(Status.IN_SERVICE)
        await asyncio.sleep(0.6)
        for number in range(3):
            await plane.create(variant(), name=f"E{number}")
            await plane.reaches(Status.IN_SERVICE, f"E{number}")
            await asyncio.sleep(0.15)
        assert plane.ended == []

    run(body, limits=SHORT)


def test_a_call_that_never_ends_does_not_keep_an_endpoint(run: Run) -> None:
    """After `drain_timeout`, which is longer than any call, the instance goes all the same."""

    async def body(plane: Plane) -> None:
        await plane.create(variant())
        row = await plane.reaches(Status.IN_SERVICE)
        plane.gateways[0].draining = tuple(ids(row))
        plane.gateways[0].acknowledge()
        await plane.delete()
        await plane.is_gone()
        assert not plane.running
        # The engine of the tests takes it amiss, and it is meant here.
        assert plane.engine.wrongs
        plane.engine.wrongs.clear()

    run(body, limits=SHORT)


@pytest.mark.parametrize("how", ["takes no order", "does not end"])
def test_an_instance_that_cannot_be_ended_does_not_keep_an_endpoint(run: Run, how: str) -> None:
    """The endpoint goes on without it; what is left of it is an orphan, and goes as soon as that can be done."""

    async def body(plane: Plane) -> None:
        await plane.create(variant())
        row = await plane.reaches(Status.IN_SERVICE)
        if how == "takes no order":
            plane.engine.obeys.clear()
        else:
            plane.machine.scripts["one"] = Script(stops_after=math.inf)
        await plane.delete()
        await plane.is_gone()
        assert plane.running == ids(row)
        plane.engine.obeys.set()
        plane.machine.scripts.clear()
        await plane.runs()

    run(body, limits=SHORT)


def _deleting() -> EndpointState:
    active = deployment(1, fleet(variant(instances=2), *new_ids(2)))
    return EndpointState(status=Status.IN_SERVICE, settled=1, active=active)


def test_an_instance_that_an_engine_ends_in_vain_is_an_orphan_at_last() -> None:
    """Stuck is who is not gone `stop_timeout` and `engine_timeout` after the order to end it."""
    state = _deleting()
    row = endpoint(replace(wanted(1, variant()), deleted=True), state)
    seen = {each.id: Seen(present=True, stopping=True) for each in plan.all_instances(state)}
    assert not plan.plan(row, seen, {}, 1.0, new_id).gone
    lingering = {key: replace(each, drained=False, lingers=True) for key, each in seen.items()}
    assert not plan.plan(row, lingering, {}, 1.0, new_id).gone
    stuck = {key: replace(each, stuck=True) for key, each in seen.items()}
    assert plan.plan(row, stuck, {}, 1.0, new_id).gone
