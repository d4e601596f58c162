"""The access table in use, with what is made of it; both change when the table does."""

from polyport.access.authority import Authority
from polyport.access.keyring import Keyring
from polyport.domain.access import CLOSED, AccessTable


class Gate:
    """Closed to everybody until it has taken a table."""

    def __init__(self) -> None:
        self.take(CLOSED)

    def take(self, table: AccessTable) -> None:
        """Decide by this table from now on."""
        self.table = table
        self.keyring = Keyring(table)
        self.authority = Authority(table)
