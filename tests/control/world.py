"""One endpoint's surroundings, played step by step: rows, engine, images, gateways."""

from typing import Any

import hypothesis.strategies as st
from hypothesis import HealthCheck, settings
from msgspec.structs import replace

from control.values import new_id, running, variant
from polyport.control import plan, rollout, routes
from polyport.control.plan import NOTHING, Decision, Seen
from polyport.domain.endpoints import Endpoint, InstanceRow, Wanted
from polyport.domain.instances import ContainerState, Image, InstanceState
from polyport.domain.routes import EndpointRoute

PROFILE = settings(deadline=None, suppress_health_check=list(HealthCheck))

counts = st.integers(min_value=0, max_value=3)
names = st.lists(st.sampled_from("ABC"), min_size=1, max_size=3, unique=True)
variant_sets = names.flatmap(
    lambda chosen: st.tuples(*(st.builds(variant, st.just(name), st.integers(1, 3)) for name in chosen))
)


sizes = st.one_of(
    st.builds(lambda value: {"Type": "INSTANCE_COUNT", "Value": value}, st.integers(1, 4)),
    st.builds(lambda value: {"Type": "CAPACITY_PERCENT", "Value": value}, st.integers(10, 50)),
)
waits = st.integers(0, 3)


def _blue_green(routing: dict[str, Any], termination: int) -> dict[str, Any]:
    return {"BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": routing, "TerminationWaitInSeconds": termination}}


def _routing(kind: str, wait: int, size: dict[str, Any]) -> dict[str, Any]:
    member = {"CANARY": {"CanarySize": size}, "LINEAR": {"LinearStepSize": size}}.get(kind, {})
    return {"Type": kind, "WaitIntervalInSeconds": wait, **member}


def _rolling(size: dict[str, Any], wait: int, back: dict[str, Any] | None) -> dict[str, Any]:
    policy = {"MaximumBatchSize": size, "WaitIntervalInSeconds": wait}
    return {"RollingUpdatePolicy": policy | ({"RollbackMaximumBatchSize": back} if back else {})}


_kinds = st.sampled_from(["ALL_AT_ONCE", "CANARY", "LINEAR"])
policies = st.one_of(
    st.just({}),
    st.builds(_blue_green, st.builds(_routing, _kinds, waits, sizes), waits),
    st.builds(_rolling, sizes, waits, st.none() | sizes),
)
#: Any `DeploymentConfig`, now and then with an alarm, now and then with little time.
deployment_configs = st.builds(
    lambda policy, alarmed, hurried: {
        **{
            kind: members | ({"MaximumExecutionTimeoutInSeconds": 8} if hurried else {})
            for kind, members in policy.items()
        },
        **({"AutoRollbackConfiguration": {"Alarms": [{"AlarmName": "errors"}]}} if alarmed else {}),
    },
    policies,
    st.booleans(),
    st.sampled_from([False, False, False, True]),
)


class World:
    """One endpoint with everything around the planner: rows, engine, images, gateways; each does as it is told."""

    def __init__(self, row: Endpoint, seen: dict[str, Seen] | None = None) -> None:
        self.row: Endpoint | None = row
        #: What the engine has.
        self.engine: dict[str, Seen] = {key: each for key, each in (seen or {}).items() if each.present}
        self.resolved: dict[tuple[int, str], tuple[Image, ...] | str] = {}
        self.decision: Decision | None = None
        #: The table that control has, the one that the gateways have, and their unfinished calls.
        self.table: EndpointRoute | None = None
        self.served: EndpointRoute | None = None
        self.calls: set[str] = set()
        self.connected = True
        #: The alarms in ALARM, watched or not.
        self.alarms: frozenset[str] = frozenset()
        self.now = 100.0
        if row.state.active:
            self.publish()
            self.served = self.table

    @property
    def endpoint(self) -> Endpoint:
        assert self.row is not None
        return self.row

    def see(self, key: str) -> Seen:
        """What the reconciler would see."""
        live = routes.live_ids(self.served)
        routed = self.connected and self.table == self.served and key in live
        used = key in live or key in routes.live_ids(self.table) or key in self.calls
        return replace(self.engine.get(key, NOTHING), routed=routed, drained=self.connected and not used)

    def publish(self) -> None:
        states = {key: InstanceState(key, _containers(), seen.stopping) for key, seen in self.engine.items()}
        self.table = routes.route(self.endpoint, states, lambda key: self.engine[key].healthy)

    def step(self, crash: str = "") -> Decision:
        """One step of the reconciler; it may crash before or after the write."""
        self.now += 1
        before = self.endpoint
        seen = {row.id: self.see(row.id) for row in plan.all_instances(before.state)}
        firing = self.alarms & rollout.watched(before.state)
        decision = plan.plan(before, seen, self.resolved, self.now, new_id, firing)
        if crash == "before the write":
            return decision
        self.row = replace(before, state=decision.state, version=before.version + 1)
        if crash == "after the write":
            # The next control publishes what the rows say before it does anything else.
            self.publish()
            return decision
        self.publish()
        self.decision = decision
        if decision.gone:
            self.row = None
        return decision

    def rows(self) -> list[InstanceRow]:
        return list(plan.all_instances(self.endpoint.state)) if self.row else []

    def acknowledge(self) -> None:
        self.calls |= routes.live_ids(self.served) - routes.live_ids(self.table)
        self.served = self.table

    def want(self, what: Wanted) -> None:
        """As the store writes it."""
        row = self.endpoint
        self.row = replace(row, wanted=what, generation=row.generation + 1, version=row.version + 1)


def _containers() -> tuple[ContainerState, ...]:
    return (running("one"), running("two", 20001))


def obey(world: World) -> None:
    """The engine does as the latest decision says; it is careful about what gateways use."""
    assert world.decision is not None
    for _, row in world.decision.apply:
        if row.id in {each.id for each in world.rows()}:
            world.engine.setdefault(row.id, Seen(present=True))
    for key in world.decision.remove:
        assert world.row is not None
        assert key in {each.id for each in world.endpoint.state.retired} or key not in world.engine
        if key in world.engine:
            world.engine[key] = replace(world.engine[key], stopping=True, healthy=False)
    for key in [key for key, seen in world.engine.items() if seen.stopping and key not in world.decision.remove]:
        del world.engine[key]
