"""The labs as fixtures. Each checks at its end that the test left nothing running."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from engines.labs import FakeLab, Lab, ProcessLab


@pytest.fixture(params=["fake", "process"])
def lab(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Lab]:
    """Each engine in turn."""
    made: Lab = FakeLab(tmp_path) if request.param == "fake" else ProcessLab(tmp_path)
    yield made
    made.clean()


@pytest.fixture
def process_lab(tmp_path: Path) -> Iterator[ProcessLab]:
    """The process engine's lab, for what only it promises."""
    made = ProcessLab(tmp_path)
    yield made
    made.clean()
