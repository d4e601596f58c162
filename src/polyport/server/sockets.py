"""Where the processes of one server meet: Unix sockets below the home."""

from pathlib import Path

import msgspec

from polyport.server import home


class Sockets(msgspec.Struct, frozen=True):
    """Paths of the two sockets that control listens on."""

    #: HTTP: everything that is not an invocation.
    control: Path
    #: The channel over which gateway workers get the route table.
    channel: Path


def sockets(home_folder: Path) -> Sockets:
    """The sockets of the server on this home."""
    folder = home.socket_folder(home_folder)
    return Sockets(control=folder / "control.sock", channel=folder / "channel.sock")
