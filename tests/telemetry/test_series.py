"""What was measured, on disk."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from polyport.domain.distributions import Distribution
from polyport.domain.names import Owner
from polyport.telemetry.metrics.series import COARSE, FINE, KEPT, Key, SeriesFile, Value

OWNER = Owner("1" * 12, "us-east-1")
NOON = 1_700_006_400


def key(name: str = "Invocations", **dimensions: str) -> Key:
    return Key(OWNER, "AWS/SageMaker", name, tuple(sorted(dimensions.items())), "None")


def value(at: float, *numbers: float, of: Key | None = None) -> Value:
    values = Distribution()
    for number in numbers:
        values.add(number)
    return Value(of or key(), at, values)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "metrics.db"


@pytest.fixture
def file(path: Path) -> Iterator[SeriesFile]:
    made = SeriesFile(path)
    made.open()
    yield made
    made.close()


def only(file: SeriesFile) -> int:
    [found] = file.find(OWNER)
    return found.id


def test_values_of_a_period_are_added_up(file: SeriesFile) -> None:
    """In periods of ten seconds and of a minute."""
    file.add([value(NOON + 1, 3.0), value(NOON + 2, 5.0), value(NOON + 15, 1.0)])
    assert [(start, v.count, v.total) for start, v in file.read(only(file), FINE, NOON, NOON + 60)] == [
        (NOON, 2, 8.0),
        (NOON + 10, 1, 1.0),
    ]
    [(start, minute)] = file.read(only(file), COARSE, NOON, NOON + 60)
    assert (start, minute.count, minute.total, minute.low, minute.high) == (NOON, 3, 9.0, 1.0, 5.0)


def test_what_was_there_before_a_restart_is_added_to(file: SeriesFile, path: Path) -> None:
    """Counts go on in the period in which a process ended."""
    file.add([value(NOON, 1.0)])
    other = SeriesFile(path)
    other.open()
    other.add([value(NOON + 3, 1.0)])
    [(_, found)] = other.read(only(other), FINE, NOON, NOON + 10)
    other.close()
    assert found.count == 2


def test_a_message_that_comes_twice_counts_once(file: SeriesFile) -> None:
    """A worker says it again when it does not know whether control has it."""
    assert file.add([value(NOON, 1.0)], run="a", number=1)
    assert not file.add([value(NOON, 1.0)], run="a", number=1)
    assert file.add([value(NOON, 1.0)], run="b", number=1)
    [(_, found)] = file.read(only(file), FINE, NOON, NOON + 10)
    assert found.count == 2


def test_what_fails_adds_nothing(file: SeriesFile) -> None:
    """All of it or nothing."""

    def broken() -> Iterator[Value]:
        yield value(NOON, 1.0)
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError):
        file.add(broken(), run="a", number=1)
    assert file.find(OWNER) == ()
    assert file.add([value(NOON, 1.0)], run="a", number=1)


def test_old_periods_are_dropped(file: SeriesFile) -> None:
    """Ten-second ones after three hours, minutes after fifteen days, and then the series."""
    file.add([value(NOON, 1.0)])
    series = only(file)
    file.prune(NOON + KEPT[FINE] + 11)
    assert file.read(series, FINE, 0, NOON + 60) == ()
    assert len(file.read(series, COARSE, 0, NOON + 60)) == 1
    file.prune(NOON + KEPT[COARSE] + 61)
    assert file.find(OWNER) == ()


def test_series_are_found_by_name_and_owner(file: SeriesFile) -> None:
    """Others' are not."""
    file.add([value(NOON, 1.0, of=key("A", x="1")), value(NOON, 1.0, of=key("B"))])
    assert [found.key.name for found in file.find(OWNER)] == ["A", "B"]
    assert [found.key.dimensions for found in file.find(OWNER, "AWS/SageMaker", "A")] == [(("x", "1"),)]
    assert file.find(Owner("2" * 12, "us-east-1")) == ()
