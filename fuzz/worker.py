"""One target under atheris, in a process of its own: `python -m fuzz.worker TARGET libFuzzer's arguments`.

libFuzzer ends the process as it likes, so whoever starts it looks at its output and at the files it leaves.
"""

import sys

import atheris

from fuzz import target


def main(name: str, arguments: list[str]) -> None:
    """Fuzz until libFuzzer has enough."""
    with atheris.instrument_imports(include=["polyport"], enable_loader_override=False):
        found = target.load(name)
    atheris.Setup(["fuzz", *arguments], found.check)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
