"""The folders of one container: ``work`` (where it starts), ``home``, ``tmp``, ``ml`` (its ``/opt/ml``), ``opt``."""

import contextlib
import os
from pathlib import Path

WORK, HOME, TMP, BASE, STAGE = "work", "home", "tmp", "ml", "opt"
#: There even when a container has no model data: code lists it before it looks.
MODEL = "model"


def container_folder(instance: Path, hostname: str) -> Path:
    """Where everything of one container is."""
    return instance / "containers" / hostname


def prepare(folder: Path, image_folder: str | None, artifacts: dict[str, str], mounted: bool) -> None:
    """Makes what is missing. ``artifacts`` become empty folders to mount on, links where nothing can be mounted."""
    for name in (WORK, HOME, TMP, BASE, STAGE):
        (folder / name).mkdir(parents=True, exist_ok=True)
    if image_folder is not None:
        _link_entries(Path(image_folder), folder / WORK)
    for path in {MODEL, *artifacts}:
        target = folder / BASE / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if path in artifacts and not mounted:
            _link(Path(artifacts[path]), target)
        else:
            target.mkdir(mode=0o555, exist_ok=True)


def clear(folder: Path) -> None:
    """Removes a folder with all that is in it, folders made read-only too. Links are not followed."""
    with contextlib.suppress(FileNotFoundError):
        folder.chmod(0o700)
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    clear(Path(entry.path))
                else:
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(entry.path)  # noqa: PTH108 - one Path less for each of many files
        folder.rmdir()


def _link_entries(source: Path, target: Path) -> None:
    """Everything at the top of an image appears in the working folder; what the container put there itself stays."""
    with os.scandir(source) as entries:
        for entry in entries:
            if not os.path.lexists(target / entry.name):
                (target / entry.name).symlink_to(entry.path)


def _link(source: Path, target: Path) -> None:
    if target.is_dir() and not target.is_symlink():
        target.rmdir()
    if not target.is_symlink():
        target.symlink_to(source)
