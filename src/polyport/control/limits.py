"""How long each phase may take, and how much may be replaced at a time: the settings that control goes by."""

import msgspec

from polyport.domain.endpoints import Variant

#: Seconds on top of the limits of single downloads, for what is done around them.
MARGIN = 60.0


class Limits(msgspec.Struct, frozen=True):
    """Seconds, but for the share. ``docs/how-to/operations.md`` has the table of all phases."""

    image_pull: float = 3600.0
    download: float = 1200.0
    startup: float = 480.0
    #: From an order to the engine until it has taken note.
    engine: float = 120.0
    #: From SIGTERM to SIGKILL.
    stop: float = 30.0
    #: From a new table until a gateway worker acknowledges it.
    gateway: float = 30.0
    #: From the moment an instance left the tables until it is stopped whatever calls are left.
    drain: float = 600.0
    #: Percent of a fleet's instances that may be replaced at the same time; at least one.
    replace_percent: int = 50

    def resolve(self, variant: Variant) -> float:
        """For all images of a variant: they may have to be pulled, one after the other."""
        return self.image_pull * len(variant.containers) + MARGIN

    def prepare(self, variant: Variant) -> float:
        """For one instance's model data: its containers fetch at the same time."""
        return (variant.download_timeout or self.download) + MARGIN

    def start(self, variant: Variant) -> float:
        """From its start until it answers."""
        return variant.startup_timeout or self.startup

    @property
    def remove(self) -> float:
        """From the order to end an instance until nothing of it is left."""
        return self.stop + self.engine

    def replaceable(self, count: int) -> int:
        """How many of so many instances may be replaced at the same time."""
        return max(1, count * self.replace_percent // 100)
