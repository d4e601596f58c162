"""The port: sockets that are bound here and listened on by gateway workers.

The launcher keeps them open. So a connection that was made but not taken yet outlives its worker, and the next worker,
or the next server, takes it.
"""

import socket

from polyport.errors import UsageError


def reserve(host: str, port: int) -> socket.socket:
    """A bound, not listening socket that keeps the port ours. Raises `UsageError` when it is taken.

    Workers share the port with SO_REUSEPORT, which would also let a second server of the same user join them unnoticed;
    so the port is first bound without that option.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            # Binding with SO_REUSEADDR succeeds beside a bound socket that does not listen; listening does not.
            probe.listen(1)
            address = probe.getsockname()
        reserved = socket.socket(family, kind, protocol)
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        reserved.bind(address)
    except (OSError, OverflowError) as error:
        raise UsageError(
            f"Cannot listen on {host}:{port}: {error.strerror if isinstance(error, OSError) else error}. "
            "Choose another address with --host and --port."
        ) from error
    return reserved


def share(found: list[socket.socket], count: int) -> list[socket.socket]:
    """These, and as many more at their address as it takes to be ``count``; more than that stay more."""
    first, found = found[0], list(found)
    while len(found) < count:
        one = socket.socket(first.family, first.type, first.proto)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        one.bind(first.getsockname())
        found.append(one)
    return found


def deal(descriptors: list[int], workers: int) -> list[tuple[int, ...]]:
    """Every descriptor to one worker; at least as many descriptors as workers."""
    return [tuple(descriptors[number::workers]) for number in range(workers)]
