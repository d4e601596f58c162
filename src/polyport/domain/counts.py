"""What gateway workers have counted, on its way to control."""

import msgspec

from polyport.domain.distributions import Distribution

#: Seconds of the periods that calls are counted in, by when they ended.
PERIOD = 10


def _none() -> Distribution:
    return Distribution()


class Tally(msgspec.Struct, array_like=True):
    """Calls, and what became of them. Times are microseconds; calls that reached no container have none."""

    calls: int = 0
    client_errors: int = 0
    server_errors: int = 0
    model_errors: int = 0
    model: Distribution = msgspec.field(default_factory=_none)
    overhead: Distribution = msgspec.field(default_factory=_none)
    #: Of those whose answer is a response stream: how many, how many broke off, and the times to the first part.
    streams: int = 0
    broken_streams: int = 0
    first: Distribution = msgspec.field(default_factory=_none)
    first_model: Distribution = msgspec.field(default_factory=_none)
    first_overhead: Distribution = msgspec.field(default_factory=_none)

    def merge(self, other: "Tally") -> None:
        """Add all of another's."""
        for name in self.__struct_fields__:
            mine, theirs = getattr(self, name), getattr(other, name)
            if isinstance(mine, Distribution):
                mine.merge(theirs)
            else:
                setattr(self, name, mine + theirs)


class InstanceCounts(msgspec.Struct, array_like=True):
    """Of one instance in one period. ``containers`` are by hostname: those of a pipeline have every call that came to
    them, those of other variants the calls that were for them."""

    account: str
    region: str
    endpoint: str
    variant: str
    instance: str
    mode: str
    #: How many instances of the variant take traffic.
    instances: int
    whole: Tally
    containers: dict[str, Tally]

    def merge(self, other: "InstanceCounts") -> None:
        """Add another's of the same instance."""
        self.instances = other.instances
        self.whole.merge(other.whole)
        for hostname, tally in other.containers.items():
            if hostname in self.containers:
                self.containers[hostname].merge(tally)
            else:
                self.containers[hostname] = tally


class Busy(msgspec.Struct, frozen=True, array_like=True):
    """How many calls to a variant are in flight in one worker."""

    account: str
    region: str
    endpoint: str
    variant: str
    calls: int


class Period(msgspec.Struct, frozen=True, array_like=True):
    """What ended in the `PERIOD` seconds from ``start`` (epoch seconds)."""

    start: int
    instances: tuple[InstanceCounts, ...]


class Counts(msgspec.Struct, frozen=True, tag="counts"):
    """Worker to control: what is to be added to what control has. Sent again, under the same ``number``, until control
    says that it has it (`Counted`); ``run`` is another for each process."""

    run: str
    number: int
    periods: tuple[Period, ...]
    busy: tuple[Busy, ...] = ()


class Counted(msgspec.Struct, frozen=True, tag="counted"):
    """Control to worker: the counts of that number are kept."""

    number: int
