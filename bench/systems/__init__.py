"""The systems that are compared, one module each; `make` finds them by name."""

from pathlib import Path

from bench.ground import Ground
from bench.systems.container import Container
from bench.systems.contract import System
from bench.systems.envoy import Envoy
from bench.systems.haproxy import Haproxy
from bench.systems.nginx import Nginx
from bench.systems.polyport import Keyed, Polyport
from bench.systems.worker import Worker

PROXIES = {proxy.name: proxy for proxy in (Nginx, Haproxy, Envoy)}


def make(name: str, ground: Ground, cache: Path, *, install: bool = True) -> System:
    """The system of that name, not started. ``polyport-N`` has N workers, ``polyport-keys`` asks for signatures,
    ``worker-N`` knows N endpoints.

    Raises `KeyError` for a name that there is not.
    """
    if proxy := PROXIES.get(name):
        return proxy(ground, cache, install=install)
    if name == "polyport-keys":
        return Keyed(ground)
    kind, _, number = name.partition("-")
    if kind == "container" and not number:
        return Container(ground)
    if kind in {"polyport", "worker"} and (not number or number.isdigit()):
        arguments = (int(number),) if number else ()
        return Polyport(ground, *arguments) if kind == "polyport" else Worker(ground, *arguments)
    raise KeyError(name)
