"""What can be fuzzed: a function of bytes that raises when something does not hold."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

#: In the order of the report; each is the module of that name in `fuzz.targets`.
NAMES = ("request", "answer", "signature", "policy", "archive", "tokens")


@dataclass(frozen=True, slots=True)
class Target:
    """``check`` raises `Finding` or anything else when something does not hold; ``seeds`` makes inputs to begin with;
    ``tokens`` are pieces that inputs are made of; ``longest``: bytes of an input."""

    name: str
    check: Callable[[bytes], None]
    seeds: Callable[[], list[bytes]]
    tokens: tuple[bytes, ...]
    longest: int = 4096


def load(name: str) -> Target:
    """The target of that name."""
    return cast(Target, importlib.import_module(f"fuzz.targets.{name}").TARGET)
