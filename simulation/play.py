"""Lives through one history, and says what came of it."""

import logging

import msgspec

from polyport.errors import EngineError, StaleWrite, StoreError
from simulation.history import History
from simulation.loop import Stuck
from simulation.world import World


class Outcome(msgspec.Struct, frozen=True):
    """What came of a history. ``rule`` and ``text`` are empty when everything held."""

    seed: int
    rule: str = ""
    text: str = ""
    #: Made-up seconds that it took, and how often control wrote a row.
    seconds: float = 0.0
    writes: int = 0


def run(history: History, trace: list[str] | None = None) -> Outcome:
    """Live through a history; ``trace`` is filled with what happens."""
    world = World(history, trace)
    logger = logging.getLogger("polyport")
    handler = _Errors(world)
    level, propagate = logger.level, logger.propagate
    logger.setLevel(logging.INFO if trace is not None else logging.ERROR)
    logger.addHandler(handler)
    logger.propagate = False
    try:
        world.loop.run(world.live())
    except Stuck as stuck:
        world.breaks("everything_comes_to_rest", str(stuck))
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagate
    rule, text = world.broken or ("", "")
    return Outcome(history.seed, rule, text, world.loop.time(), world.store.writes)


class _Errors(logging.Handler):
    """What the package logs as an error is one, unless it was to be expected."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it."""
        error = record.exc_info[1] if record.exc_info else None
        if record.levelno < logging.ERROR or isinstance(error, EngineError | StoreError | StaleWrite):
            self._world.say("log: %s %s", record.getMessage(), error or "")
        else:
            self._world.errors.append(f"{record.getMessage()} ({error!r})")
            self._world.breaks("no_error_is_lost", f"{record.getMessage()} ({error!r})")
