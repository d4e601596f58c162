"""Packages for an image: locked and downloaded on this machine, with its indexes, passwords and certificates; none of
those is in the image, and the build needs no network."""

import sys
from pathlib import Path

from polyport.errors import ImageError
from polyport.images.daemon.probe import Target
from polyport.images.environments import Lock, Uv

#: pip is fetched with the packages: a base image need not have one.
INSTALLER = "pip"


def collect(uv: Uv, folder: Path, requirements: str, target: Target, into: Path, previous: str) -> Lock:
    """Writes ``requirements.lock`` and ``wheels/`` to the folder ``into``. ``previous`` is an earlier lock, whose
    versions stay as long as they fit. Raises `ImageError`."""
    into.mkdir(parents=True, exist_ok=True)
    lock_file, wheels = into / "requirements.lock", into / "wheels"
    chosen = ("--python-version", target.version, "--python-platform", target.uv_platform, "--only-binary", ":all:")
    lock = uv.compile(folder, requirements, lock_file, previous, chosen)
    if any(line.startswith((".", "/", "file:")) or " @ file:" in line for line in lock.text.splitlines()):
        raise ImageError(
            f"{folder / requirements}: a package in a folder cannot be installed with the docker engine; build a wheel "
            "of it and name its index or --find-links, or write a Dockerfile."
        )
    scratch = into.parent / "download.txt"
    scratch.write_text(lock.options + lock.text, encoding="utf-8")
    if lock.text:
        _download(uv, folder, wheels, target, "--no-deps", "--require-hashes", "-r", str(scratch))
    _download_installer(uv, folder, wheels, target, lock)
    lock_file.write_text(lock.text, encoding="utf-8")
    return lock


def installer(wheels: Path) -> str:
    """The file name of pip's wheel."""
    return next(path.name for path in sorted(wheels.glob(f"{INSTALLER}-*.whl"), reverse=True))


def _download_installer(uv: Uv, folder: Path, wheels: Path, target: Target, lock: Lock) -> None:
    if list(wheels.glob(f"{INSTALLER}-*.whl")):
        return  # it is one of the requirements
    indexes = [word for line in lock.options.splitlines() for word in line.split(maxsplit=1)]
    kept = [word for word in indexes if not word.startswith(("--only-binary", ":all:", "--no-binary"))]
    _download(uv, folder, wheels, target, "--no-deps", *kept, INSTALLER)


def _download(uv: Uv, folder: Path, wheels: Path, target: Target, *what: str) -> None:
    platforms = [word for tag in target.pip_platforms for word in ("--platform", tag)]
    fitting = ("--python-version", target.version, "--implementation", "cp", *platforms, "--only-binary", ":all:")
    pip = ("tool", "run", "--quiet", "--python", sys.executable, "pip", "--disable-pip-version-check", "--no-input")
    uv.run(folder, *pip, "download", "--progress-bar", "off", "--dest", str(wheels), *fitting, *what)
