"""pip's settings in uv's words. uv reads its own only; nobody should have to say twice where packages come from."""

import configparser
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit


def as_uv(environ: Mapping[str, str]) -> dict[str, str]:
    """What ``PIP_*`` variables and ``pip.conf`` say, as uv's variables, but for those that ``environ`` sets itself.

    Further indexes count as much as the first one, as with pip: whoever uses both tools gets the same versions.
    """
    said = {**_configured(environ), **_from_environment(environ)}
    found = {
        "UV_DEFAULT_INDEX": said.get("index-url", ""),
        "UV_INDEX": " ".join(said.get("extra-index-url", "").split()),
        "UV_FIND_LINKS": ",".join(link for link in said.get("find-links", "").split() if _is_there(link)),
        "UV_INSECURE_HOST": " ".join(said.get("trusted-host", "").split()),
        "SSL_CERT_FILE": said.get("cert", ""),
    }
    if found["UV_INDEX"]:
        found["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    if any(name in environ for name in ("UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_DEFAULT_INDEX", "UV_INDEX")):
        for name in ("UV_DEFAULT_INDEX", "UV_INDEX", "UV_INDEX_STRATEGY"):
            found.pop(name, None)
    return {name: value for name, value in found.items() if value and name not in environ}


def _configured(environ: Mapping[str, str]) -> dict[str, str]:
    said: dict[str, str] = {}
    for path in _files(environ):
        parser = configparser.RawConfigParser()
        try:
            parser.read(path, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError):
            continue  # pip will complain about its own file
        for section in ("global", "install"):
            if parser.has_section(section):
                said.update(parser.items(section))
    return said


def _files(environ: Mapping[str, str]) -> list[Path]:
    """pip's order: later ones go before earlier ones; ``PIP_CONFIG_FILE=/dev/null`` turns all of them off."""
    chosen = environ.get("PIP_CONFIG_FILE")
    if chosen == os.devnull:
        return []
    home = Path(environ.get("HOME") or Path.home())
    user = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
    paths = [Path("/etc/xdg/pip/pip.conf"), Path("/etc/pip.conf"), home / ".pip/pip.conf", user / "pip/pip.conf"]
    return [*paths, Path(sys.prefix) / "pip.conf", *([Path(chosen)] if chosen else [])]


def _from_environment(environ: Mapping[str, str]) -> dict[str, str]:
    return {
        name.removeprefix("PIP_").lower().replace("_", "-"): value
        for name, value in environ.items()
        if name.startswith("PIP_") and value
    }


def _is_there(link: str) -> bool:
    """pip passes over a folder that is missing, uv stops."""
    parts = urlsplit(link)
    return parts.scheme in {"http", "https"} or Path(unquote(parts.path)).exists()
