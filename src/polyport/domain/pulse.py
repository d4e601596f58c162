"""How a gateway worker is, once a second."""

import msgspec


class Pulse(msgspec.Struct, frozen=True, tag="pulse"):
    """Worker to control. Counts are since the worker's process began; nothing is lost when one does not arrive."""

    #: Connections of clients, and invocations that have begun and not ended, now.
    connections: int = 0
    calls: int = 0
    #: Invocations that wait in line for a container (setting ``max_concurrent_invocations``).
    waiting: int = 0
    #: Seconds by which the last tick came too late.
    lag: float = 0.0
    #: CPU time in seconds, and memory (RSS) in bytes, of the process.
    cpu: float = 0.0
    memory: int = 0
    #: Invocations that were refused at the door, by the code of the error.
    refused: dict[str, int] = {}
    #: Copies for shadow variants, by what became of them.
    copies: dict[str, int] = {}
    #: Lines of the access log that were lost.
    lost_lines: int = 0
