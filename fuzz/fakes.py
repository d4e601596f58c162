"""The fakes of the gateway's tests, which are beside this folder and not installed."""

import functools
import sys
from pathlib import Path
from typing import Any
from unittest import mock

_TESTS = str(Path(__file__).resolve().parents[1] / "tests")
if _TESTS not in sys.path:
    sys.path.append(_TESTS)

from gateway import fakes, signed  # noqa: E402  # found by the path above
from polyport.gateway.calls import members  # noqa: E402  # as above
from support import people  # noqa: E402  # likewise

__all__ = ["fakes", "people", "signed", "world"]

_load = functools.cache(members.load)


def world(*endpoints: Any, **fields: Any) -> Any:
    """A gateway with what is around it. The service's model, which takes longest, is read only once."""
    with mock.patch.object(members, "load", _load):
        return fakes.World(*endpoints, **fields)
