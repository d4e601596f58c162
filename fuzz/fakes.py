"""The fakes of the gateway's tests, which are beside this folder and not installed."""

import sys
from pathlib import Path

_TESTS = str(Path(__file__).resolve().parents[1] / "tests")
if _TESTS not in sys.path:
    sys.path.append(_TESTS)

from gateway import fakes, signed  # noqa: E402  # found by the path above

__all__ = ["fakes", "signed"]
