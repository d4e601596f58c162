"""The database of a home and the version of this program: what may be started on what, and the way back."""

import logging
from pathlib import Path

from polyport.errors import StoreError
from polyport.server.backups import BESIDE, DATABASE
from polyport.store import copies, schema

log = logging.getLogger(__name__)


def expect_known(home: Path) -> None:
    """Raises `StoreError` when a newer Polyport wrote the database. A damaged one is for control to tell."""
    found = _revision(home)
    if found is not None and copies.is_newer(found):
        raise StoreError(
            f"The database {home / DATABASE} was written by a newer Polyport (revision {found}). "
            "Use that version, or another --home."
        )


def keep(home: Path) -> Path | None:
    """Copy a database that is about to be migrated; ``None``: it is not. Raises `StoreError`."""
    found = _revision(home)
    if found is None or found == schema.HEAD:
        return None
    copy = home / f"{DATABASE}.before-{schema.HEAD}"
    draft = copy.with_name(f"{copy.name}.draft")
    draft.unlink(missing_ok=True)
    copies.copy(home / DATABASE, draft)
    draft.chmod(0o600)
    draft.replace(copy)
    log.info("the database is brought from revision %s to %s; a copy is in %s", found, schema.HEAD, copy)
    return copy


def put_back(home: Path, copy: Path) -> None:
    """In place of a database that was migrated and never used."""
    if _revision(home) != schema.HEAD:
        return
    for end in BESIDE:
        (home / f"{DATABASE}{end}").unlink(missing_ok=True)
    copy.replace(home / DATABASE)
    log.warning("the database is as it was before the start")


def _revision(home: Path) -> str | None:
    try:
        return copies.revision(home / DATABASE)
    except StoreError:
        return None
