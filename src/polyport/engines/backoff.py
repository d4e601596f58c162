"""How long something that ended waits before it is started again."""

#: Seconds before the first, second, ... start in a row; the last one repeats.
PAUSES = (0.0, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
#: Running this many seconds makes earlier ends forgotten.
FORGIVEN_AFTER = 60.0


def plan_restart(ends_in_a_row: int, ran_for: float) -> tuple[int, float]:
    """After an end: how many ends in a row that makes, and the pause before the next start, in seconds."""
    ends = 1 if ran_for >= FORGIVEN_AFTER else ends_in_a_row + 1
    return ends, PAUSES[min(ends, len(PAUSES)) - 1]
