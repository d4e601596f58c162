"""Reads `/metrics` as Prometheus does."""

import re
import urllib.request
from collections.abc import Iterator
from typing import Any

_LINE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)")


class Samples:
    """Every sample of one scrape."""

    def __init__(self, text: str) -> None:
        self.all: list[tuple[str, dict[str, str], float]] = []
        self.types: dict[str, str] = {}
        for line in text.splitlines():
            if line.startswith("# TYPE "):
                _, _, name, kind = line.split(" ")
                assert name not in self.types, f"{name} twice"
                self.types[name] = kind
            elif not line.startswith("#"):
                match = _LINE.fullmatch(line)
                assert match, line
                self.all.append((match[1], dict(re.findall(r'(\w+)="(.*?)"', match[2] or "")), float(match[3])))

    def __getitem__(self, name: str) -> list[float]:
        return [value for found, _, value in self.all if found == name]

    def matching(self, name: str, **labels: str) -> Iterator[float]:
        return (value for found, has, value in self.all if found == name and has.items() >= labels.items())

    def value(self, name: str, **labels: str) -> float:
        """The only one that there is."""
        [found] = self.matching(name, **labels)
        return found


def scrape(url: str) -> str:
    """Without a signature."""
    with urllib.request.urlopen(url + "/metrics") as answer:
        text: Any = answer.read().decode()
    return str(text)


def samples(text: str) -> Samples:
    return Samples(text)
