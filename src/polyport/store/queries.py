"""What lists can ask for, and the SQL that answers it."""

from enum import StrEnum
from typing import Any, Generic, TypeVar

import msgspec
import sqlalchemy as sa

from polyport.domain.names import Owner
from polyport.store import rows

Item = TypeVar("Item")

#: Where a page ended: the value sorted by, and the lower-case name, which breaks ties. The next page starts behind
#: it, whatever was added or deleted since: no item comes twice, and none that was there all the time is missed.
Position = tuple[float | str, str]


class SortBy(StrEnum):
    """As the API spells them."""

    NAME = "Name"
    CREATION_TIME = "CreationTime"
    STATUS = "Status"


COLUMNS = {SortBy.NAME: "key", SortBy.CREATION_TIME: "created_at", SortBy.STATUS: "status"}


class ListQuery(msgspec.Struct, frozen=True):
    """Filters, order and place of one page. Times are epoch seconds; "before" excludes the time, "after" includes it.

    ``modified_*`` and ``status`` are for endpoints only. ``name_contains`` does not look at case.
    """

    sort_by: SortBy = SortBy.CREATION_TIME
    ascending: bool = False
    limit: int = 10
    after: Position | None = None
    name_contains: str = ""
    created_before: float | None = None
    created_after: float | None = None
    modified_before: float | None = None
    modified_after: float | None = None
    status: str | None = None


class Page(msgspec.Struct, Generic[Item], frozen=True):
    """One page; ``next`` is ``None`` on the last."""

    items: tuple[Item, ...]
    next: Position | None = None


def select_page(table: sa.Table, owner: Owner, query: ListQuery) -> sa.Select[Any]:
    """One row more than the page holds: it tells whether there is a next page."""
    columns = (table.c[COLUMNS[query.sort_by]], table.c.key)
    statement = sa.select(table).where(table.c.account == owner.account, table.c.region == owner.region)
    statement = statement.where(*_filters(table, query))
    if query.after is not None:
        place = sa.tuple_(*(sa.literal(value, column.type) for value, column in zip(query.after, columns, strict=True)))
        here = sa.tuple_(*columns)
        statement = statement.where(here > place if query.ascending else here < place)
    order = (column.asc() if query.ascending else column.desc() for column in columns)
    return statement.order_by(*order).limit(query.limit + 1)


def position(row: sa.RowMapping, query: ListQuery) -> Position:
    """Where a page that ends with this row ends."""
    return (row[COLUMNS[query.sort_by]], row["key"])


def _filters(table: sa.Table, query: ListQuery) -> list[sa.ColumnElement[bool]]:
    filters: list[sa.ColumnElement[bool]] = []
    if query.name_contains:
        filters.append(table.c.key.contains(rows.key(query.name_contains), autoescape=True))
    if query.status is not None:
        filters.append(table.c.status == query.status)
    for column, before, after in (
        ("created_at", query.created_before, query.created_after),
        ("modified_at", query.modified_before, query.modified_after),
    ):
        if before is not None:
            filters.append(table.c[column] < before)
        if after is not None:
            filters.append(table.c[column] >= after)
    return filters
