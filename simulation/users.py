"""What users ask for: the real operations of the API, with requests made up from an event's roll."""

import asyncio
import random
from typing import Any, cast

from polyport.access.callers import Caller
from polyport.api import endpoints
from polyport.api.context import Context
from polyport.cli import wishes
from polyport.domain.names import Owner
from polyport.domain.resources import EndpointConfig, Model
from polyport.errors import ApiError, PolyportError, UsageError
from simulation.history import Event
from simulation.store import Store

OWNER = Owner("123456789012", "us-east-1")
#: Seconds for which a user tries again what is refused because something else is under way, and between two tries.
PATIENCE, PAUSE = 8.0, 0.7
#: Models that run, and models that do not.
GOOD, BAD = ("one", "pair"), ("broken", "deaf", "unknown", "half")

Definition = dict[str, Any]


def _container(image: str, number: int = 1) -> Definition:
    return {"ContainerHostname": f"c{number}", "Image": f"{image}:1"}


def models() -> dict[str, Model]:
    """All models, by name; what becomes of their containers is in the names of the images."""
    made: dict[str, Definition] = {
        name: {"PrimaryContainer": _container(name)} for name in ("one", "broken", "deaf", "unknown")
    }
    for name, second in (("pair", "two"), ("half", "broken")):
        containers = [_container("one", 1), _container(second, 2)]
        made[name] = {"Containers": containers, "InferenceExecutionConfig": {"Mode": "Direct"}}
    return {name: Model(OWNER, name, name, 0.0, definition) for name, definition in made.items()}


class Users:
    """Calls the API of one control."""

    def __init__(self, store: Store, clock: Any, gentle: bool) -> None:
        self._store = store
        self._gentle = gentle
        caller = Caller(owner=OWNER)
        # Whoever creates, updates and deletes endpoints needs no more than the rows.
        nothing = cast(Any, None)
        self._context = Context(
            caller=caller,
            gate=nothing,
            store=cast(Any, store),
            images=nothing,
            artifacts=nothing,
            live=nothing,
            metrics=nothing,
            clock=clock,
        )

    async def call(self, event: Event) -> str:
        """Make one call; returns what came of it."""
        name = f"endpoint-{event.who % 2}"
        request = self._request(event, name)
        waited = 0.0
        while True:
            try:
                await self._do(event.what, request)
            except ApiError as error:
                if ("in progress" not in str(error).lower() and "in-progress" not in str(error)) or waited >= PATIENCE:
                    return f"{request}: {error}"
            except PolyportError as error:
                return f"{request}: {error}"
            else:
                return f"{request}"
            waited += PAUSE
            await asyncio.sleep(PAUSE)

    async def _do(self, what: str, request: Definition) -> None:
        if what in _OPERATIONS:
            await getattr(endpoints, _OPERATIONS[what])(self._context, request)
            return
        # As the commands for operators do it.
        row = await self._store.get_endpoint(OWNER, request["EndpointName"])
        if row is None:
            raise UsageError("There is no such endpoint.")
        match what:
            case "cancel":
                wanted = wishes.cancel(row, "Somebody cancelled it.")
            case "restart":
                wanted = wishes.restart(row, 50, wait=1)
            case _:
                wanted = wishes.delete(row, force=True)
        await self._store.want(row, wanted, self._context.clock())

    def _request(self, event: Event, name: str) -> Definition:
        chance = random.Random(event.roll)
        request: Definition = {"EndpointName": name}
        if event.what == "resize":
            desired = [
                {"VariantName": variant, "DesiredInstanceCount": chance.randrange(4), "DesiredWeight": chance.random()}
                for variant in self._variants(name)
            ]
            request["DesiredWeightsAndCapacities"] = desired
        elif event.what in {"create", "update"}:
            request["EndpointConfigName"] = self._config(chance)
            if event.what == "update":
                request["DeploymentConfig"] = _deployment_config(chance, hurried=not self._gentle)
                request["RetainAllVariantProperties"] = chance.random() < 0.2
        return request

    def _variants(self, name: str) -> list[str]:
        """Of the endpoint as it is deployed."""
        row = next((row for row in self._store.rows.values() if row.name == name), None)
        fleets = row.state.active.fleets if row and row.state.active else ()
        return list(dict.fromkeys(fleet.variant.name for fleet in fleets))

    def _config(self, chance: random.Random) -> str:
        name = f"config-{len(self._store.configs)}"
        variants = [
            {
                "VariantName": variant,
                "ModelName": chance.choice(GOOD if self._gentle or chance.random() < 0.8 else BAD),
                "InitialInstanceCount": chance.choice((1, 1, 2, 3)),
                "InitialVariantWeight": chance.choice((1.0, 1.0, 0.5, 0.0)),
                "InstanceType": "ml.m5.large",
            }
            for variant in chance.choice(("A", "A", "B", "AB"))
        ]
        definition = {"ProductionVariants": variants}
        self._store.configs[name] = EndpointConfig(OWNER, name, name, 0.0, definition)
        return name


_OPERATIONS = {
    "create": "create_endpoint",
    "update": "update_endpoint",
    "resize": "update_endpoint_weights_and_capacities",
    "delete": "delete_endpoint",
}


def _deployment_config(chance: random.Random, *, hurried: bool) -> Definition:
    wait = chance.choice((0, 1, 2, 3))
    limit = {"MaximumExecutionTimeoutInSeconds": chance.randrange(3, 12)} if hurried and chance.random() < 0.2 else {}
    watched = {"AutoRollbackConfiguration": {"Alarms": [{"AlarmName": "errors"}]}} if chance.random() < 0.5 else {}
    kind = chance.choice(("", "ALL_AT_ONCE", "CANARY", "LINEAR", "ROLLING", "ROLLING"))
    if not kind:
        return watched
    if kind == "ROLLING":
        back = {"RollbackMaximumBatchSize": _size(chance)} if chance.random() < 0.5 else {}
        policy = {"MaximumBatchSize": _size(chance), "WaitIntervalInSeconds": wait, **back, **limit}
        return {"RollingUpdatePolicy": policy, **watched}
    member = {"CANARY": "CanarySize", "LINEAR": "LinearStepSize"}.get(kind)
    routing = {"Type": kind, "WaitIntervalInSeconds": wait, **({member: _size(chance)} if member else {})}
    policy = {"TrafficRoutingConfiguration": routing, "TerminationWaitInSeconds": chance.choice((0, 0, 2)), **limit}
    return {"BlueGreenUpdatePolicy": policy, **watched}


def _size(chance: random.Random) -> Definition:
    if chance.random() < 0.5:
        return {"Type": "INSTANCE_COUNT", "Value": chance.randrange(1, 4)}
    return {"Type": "CAPACITY_PERCENT", "Value": chance.randrange(10, 51)}
