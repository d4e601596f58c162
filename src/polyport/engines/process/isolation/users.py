"""Users of containers' own: who they are, and how a process becomes one and loses everything else."""

import os
from pathlib import Path
from typing import Final

from polyport.engines.process.isolation import kernel

#: The group of a user has the same number.
AUTO: Final = "auto"


def parse_range(text: str) -> range:
    """``FIRST-LAST``. Raises `ValueError` when that is no range of ordinary users."""
    low, _, high = text.partition("-")
    found = range(int(low), int(high) + 1)
    if not found or found.start < 1 or found.stop > 2**32 - 2:
        raise ValueError(f"{text!r} is no range of user ids")
    return found


def pick(ids: range, port: int, block: int) -> int | None:
    """The user of the container whose block of ports begins at ``port``; ``None`` when the range is too small.

    Blocks are claimed machine-wide, and a container keeps its own for as long as it lives: so no two containers have
    one user at the same time, whichever servers they belong to.
    """
    place = port // block
    return ids[place] if place < len(ids) else None


def become(user: int | None) -> None:
    """For good: that user (``None``: as now) without further groups, without capabilities, without a way to get any."""
    kernel.bound_capabilities()
    kernel.leave_keyring()
    if user is not None:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    kernel.drop_capabilities()
    kernel.forbid_new_privileges()


def give(folder: Path, user: int) -> None:
    """Makes a folder, and nothing that is in it, the user's own."""
    os.chown(folder, user, user, follow_symlinks=False)
    folder.chmod(0o700)
