"""What an event does to a world."""

from typing import TYPE_CHECKING

from simulation.control import Control
from simulation.gateways import Gateway
from simulation.history import CALLS, RACE, RACES, Event
from simulation.machine import Container, Running

if TYPE_CHECKING:
    from simulation.world import World

#: What goes wrong for some seconds wherever it is asked for.
LASTING = {"engine fails", "engine is slow", "database fails", "data cannot be fetched", "hints are lost"}
#: Seconds that anything lasts, at most.
LONGEST = 5.0


def befall(world: "World", event: Event) -> None:
    """It happens now."""
    world.say("%s (%s, %s)", event.what, event.who, event.roll)
    seconds = LONGEST * (event.roll % 1000) / 1000
    if event.what in CALLS:
        world.waiting.append(world.loop.create_task(world.call(event)))
    elif event.what == RACE:
        world.races.append(Event(event.at, RACES[event.roll % len(RACES)], event.who, event.roll))
    elif event.what in LASTING:
        world.troubles[event.what] = world.loop.time() + seconds
    elif event.what == "alarm":
        world.alarms = frozenset({"errors"})
        world.loop.call_later(seconds, setattr, world, "alarms", frozenset())
    elif event.what == "kill":
        _kill(world, event)
    elif event.what.startswith("gateway"):
        _befall_gateway(world, event, world.gateways[event.who % len(world.gateways)], seconds)
    elif world.machine.running:
        ids = list(world.machine.running)
        _befall_instance(world, event, world.machine.running[ids[event.who % len(ids)]], seconds)


def _kill(world: "World", event: Event) -> None:
    """After some more of its moments, or of seconds if it has nothing to do."""
    control = world.control
    if control is None or control.fuse.is_blown:
        return
    control.fuse.left = 1 + event.roll % 12
    world.loop.call_later(3.0, _kill_idle, world, control)


def _kill_idle(world: "World", control: Control) -> None:
    if world.control is control and control.fuse.left is not None and not control.fuse.is_blown:
        world.say("control is killed while it does nothing")
        world.bury()


def _befall_gateway(world: "World", event: Event, gateway: Gateway, seconds: float) -> None:
    if event.what == "gateway dies":
        gateway.die()
        world.loop.call_later(seconds / 3, gateway.start)
    elif event.what == "gateway is cut off":
        world.loop.network.cut(gateway.name)
    elif event.what == "gateway hangs":
        gateway.hang(4 * seconds)
    else:
        gateway.stalls_until = world.loop.time() + seconds


def _befall_instance(world: "World", event: Event, running: Running, seconds: float) -> None:
    container = running.containers[event.roll % len(running.containers)]
    if event.what == "container ends":
        world.machine.end(running, container)
    elif event.what == "instance is lost":
        world.machine.lose(running.instance.id)
    elif event.what == "container flaps":
        for time in range(8):
            world.loop.call_later(time * seconds / 4, _trouble, world, container, ("ill", "")[time % 2])
    else:
        every = [each for one in world.machine.running.values() for each in one.containers]
        for each in every if event.what == "all fall ill" else [container]:
            _trouble(world, each, ("ill", "slow")[event.who % 2])
            world.loop.call_later(seconds * 2, _trouble, world, each, "")


def _trouble(world: "World", container: Container, what: str) -> None:
    # What was begun earlier is over once all is to go well.
    container.trouble = "" if world.is_calm else what
