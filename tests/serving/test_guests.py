"""Workers of another server count until they leave."""

import asyncio

import pytest

from polyport.server import guests

NAMES = frozenset({"0", "1"})


@pytest.mark.parametrize(
    ("seen", "connected", "is_late", "left"),
    [
        ((), (), False, {"0", "1"}),
        (("0",), ("0",), False, {"0", "1"}),
        (("0", "1"), ("0", "1", "1.0"), False, {"0", "1"}),
        (("0", "1"), ("1", "1.0"), False, {"1"}),
        (("0", "1"), ("1.0", "1.1"), False, set()),
        ((), ("1.0",), True, set()),
        (("0",), ("0",), True, {"0"}),
    ],
    ids=["none yet", "one yet", "all", "one has left", "all have left", "never came", "one never came"],
)
def test_who_still_counts(seen: tuple[str, ...], connected: tuple[str, ...], is_late: bool, left: set[str]) -> None:
    """One that was connected and is not has left; one that never was is waited for, but not for ever."""
    assert guests.remaining(NAMES, frozenset(seen), set(connected), is_late=is_late) == left


def test_nothing_is_acknowledged_before_the_others_have_come_back() -> None:
    """From more workers than our own down to our own, as they come and leave."""
    expected: list[int] = []
    connections = iter([{"1.0"}, {"1.0", "0"}, {"1.0", "0", "1"}, {"1.0", "0"}, {"1.0"}])

    class Host:
        def connected(self) -> set[str]:
            return next(connections)

        def expect(self, workers: int) -> None:
            expected.append(workers)

    asyncio.run(guests.attend(Host(), 1, NAMES))
    assert expected == [3, 3, 3, 2, 1]
