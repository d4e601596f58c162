"""What must hold, always. Each rule is a function that raises `Broken`; its docstring is the rule.

Rules go by what is true of the machine and of the gateways, not by what control believes, wherever that can be said.
Control learns of things a little late: `machine.GRACE` is how much.
"""

from simulation.rules.ends import END
from simulation.rules.facts import Broken, Effect, Order, Removal, Table, Write, tell
from simulation.rules.orders import ENDED, ENDING, ORDER, REMOVAL
from simulation.rules.tables import TABLE
from simulation.rules.writes import WRITE

__all__ = [
    "END",
    "ENDED",
    "ENDING",
    "ORDER",
    "REMOVAL",
    "TABLE",
    "WRITE",
    "Broken",
    "Effect",
    "Order",
    "Removal",
    "Table",
    "Write",
    "tell",
]
