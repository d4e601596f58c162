"""The folders of one container: ``work`` (where it starts), ``home``, ``tmp``, ``ml`` (its ``/opt/ml``); and of those
who start it: ``opt`` (where ``/opt`` is rebuilt), ``etc`` (what it sees of ``/etc`` that is its own).

What is made here may be made with more rights than the container has, in folders that it has written to. So no link of
its making is ever followed.
"""

import contextlib
import os
from pathlib import Path

from polyport.engines.process.isolation import users

WORK, HOME, TMP, BASE, STAGE, ETC = "work", "home", "tmp", "ml", "opt", "etc"
#: There even when a container has no model data: code lists it before it looks.
MODEL = "model"


def container_folder(instance: Path, hostname: str) -> Path:
    """Where everything of one container is."""
    return instance / "containers" / hostname


def prepare(
    folder: Path, image_folder: str | None, artifacts: dict[str, str], mounted: bool, user: int | None = None
) -> None:
    """Makes what is missing. ``artifacts`` become empty folders to mount on, links where nothing can be mounted.

    Before the container runs: nobody changes these folders meanwhile.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in (WORK, HOME, TMP, BASE, STAGE, ETC):
        (folder / name).mkdir(exist_ok=True)
    (folder / STAGE).chmod(0o755)
    if image_folder is not None:
        _link_entries(Path(image_folder), folder / WORK)
    for path in {MODEL, *artifacts}:
        if path in artifacts and not mounted:
            _link(Path(artifacts[path]), folder / BASE, path)
        else:
            _make_place(folder / BASE, path)
    if user is not None:
        for name in (WORK, HOME, TMP, BASE):
            users.give(folder / name, user)


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


def _make_place(base: Path, path: str) -> None:
    """An empty folder below ``base``, each part of its path a folder indeed."""
    *parents, name = path.split("/")
    _make_real(base, parents)
    _make_real(base.joinpath(*parents), [name], mode=0o555)


def _make_real(base: Path, parts: list[str], mode: int = 0o755) -> None:
    target = base
    for part in parts:
        target = target / part
        if target.is_symlink() or (target.exists() and not target.is_dir()):
            target.unlink()
        if not target.exists():
            target.mkdir()
            target.chmod(mode)


def _link(source: Path, base: Path, path: str) -> None:
    *parents, name = path.split("/")
    _make_real(base, parents)
    target = base.joinpath(*parents, name)
    if target.is_symlink() and target.readlink() == source:
        return
    if target.is_dir() and not target.is_symlink():
        clear(target)
    target.unlink(missing_ok=True)
    target.symlink_to(source)
