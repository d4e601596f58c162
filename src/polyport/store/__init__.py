"""Rows: models, endpoint configurations, endpoints and tags, in SQLite. Knows nothing of HTTP, AWS or engines.

`Store` is the whole interface; `ListQuery`, `Page` and `SortBy` are what its lists take and give.
"""

from polyport.store.database import sqlite_url
from polyport.store.queries import ListQuery, Page, Position, SortBy
from polyport.store.rows import Resource
from polyport.store.store import Store
from polyport.store.tagging import MAX_TAGS, TooManyTags

__all__ = ["MAX_TAGS", "ListQuery", "Page", "Position", "Resource", "SortBy", "Store", "TooManyTags", "sqlite_url"]
