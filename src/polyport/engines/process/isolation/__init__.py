"""What keeps a container to itself: levels, the kernel's calls, mounts, bubblewrap, users, the relay.

The supervisor loads all of this but `probe`: standard library only.
"""

from typing import Final

#: The levels, the strongest first. `docs/isolation.md` says what each one gives.
BUBBLEWRAP: Final = "bubblewrap"
MOUNTS: Final = "mounts"
NONE: Final = "none"


class Unavailable(Exception):
    """This machine does not let the process have what was asked for."""
