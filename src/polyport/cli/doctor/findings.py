"""What checks look at, and what they find."""

import msgspec

from polyport import settings
from polyport.engines.process.isolation import probe
from polyport.errors import UsageError

OK, WARNING, TROUBLE = "ok", "warning", "trouble"


class Finding(msgspec.Struct, frozen=True):
    """One row. ``state`` is ``ok``, ``warning`` (it works; more is possible, or it may soon not) or ``trouble``
    (something does not work, or the settings demand what is not there)."""

    check: str
    state: str
    found: str
    #: What to do; empty: nothing.
    advice: str = ""


class Machine:
    """What checks look at: the settings, and what was found out by trying."""

    def __init__(self, loaded: settings.Settings, found: probe.Found) -> None:
        self.settings = loaded
        self.found = found
        self.demand = ""
        try:
            self.choice = probe.choose(loaded, found)
        except UsageError as error:
            self.demand = str(error)
            self.choice = probe.choose(msgspec.structs.replace(loaded, isolation="auto", container_users="off"), found)
