"""Where the Python of a virtual environment lives: all that a process needs to see of it."""

import os
from pathlib import Path

#: Links in a row from an environment's Python to the real one.
MAX_LINKS = 16
#: Of an installation that shares its folder with more than Python: these parts.
PARTS = ("bin", "include", "lib", "lib64", "libexec", "ssl")


def find(python: Path) -> tuple[Path, ...]:
    """The installations that ``python`` leads to, and the links between: each a path as programs name it."""
    found: dict[Path, None] = {}
    for step in _steps(python):
        for path in (step, Path(os.path.realpath(step.parent)) / step.name):
            found.update(dict.fromkeys(_installation(path)))
    return tuple(found)


def _steps(python: Path) -> list[Path]:
    """Each path that the links go through, after the first."""
    steps: list[Path] = []
    while python.is_symlink() and len(steps) < MAX_LINKS:
        python = Path(os.path.normpath(python.parent / python.readlink()))
        steps.append(python)
    return steps


def _installation(program: Path) -> list[Path]:
    """The folder that holds ``bin`` and ``lib``; or the program alone, where it lies among others, as a link does."""
    prefix = program.parent.parent
    if program.parent.name != "bin" or not any(prefix.glob("lib*/python3*")):
        return [program]
    if Path.home().is_relative_to(prefix) or prefix == Path(prefix.anchor):
        return [prefix / part for part in PARTS if (prefix / part).is_dir()]
    return [prefix]
