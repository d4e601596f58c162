"""The Dockerfile that an `image.toml` stands for. Pure."""

import json
import re

import msgspec

from polyport.images import environments
from polyport.images.daemon.values import DaemonImage
from polyport.images.manifest import Manifest

#: Where things are in the image.
VENV, PROGRAM, PACKAGES = "/opt/polyport/venv", "/opt/program", "/opt/polyport/packages"


class Recipe(msgspec.Struct, frozen=True):
    """``text`` is the Dockerfile. Values that users chose are ``arguments`` of the build: quoting cannot go wrong."""

    text: str
    arguments: dict[str, str]


def write(manifest: Manifest, base: DaemonImage, pip: str = "") -> Recipe:
    """``pip`` is the file name of pip's wheel among the packages; without one nothing is installed.

    Packages come from the build context alone, so that the build needs no network and no passwords. They are installed
    in a stage of their own: their wheels are in no layer of the image.
    """
    python = f"{VENV}/bin/python"
    venv = _run("python3", "-m", "venv", "--without-pip", VENV)
    if pip:
        wheels, lock = f"{PACKAGES}/wheels", f"{PACKAGES}/requirements.lock"
        offline = ("--no-index", "--find-links", wheels, "--no-deps", "--require-hashes")
        quiet = ("--disable-pip-version-check", "--no-cache-dir", "--root-user-action=ignore")
        lines = [
            f"FROM {base.reference} AS packages",
            "USER 0",
            f"COPY packages {PACKAGES}",
            venv,
            _run(python, f"{wheels}/{pip}/pip", "install", *offline, *quiet, "-r", lock),
            f"FROM {base.reference}",
            f"COPY --from=packages {VENV} {VENV}",
        ]
    else:
        lines = [f"FROM {base.reference}", "USER 0", venv, f"USER {base.user or '0'}"]
    path = next((line[5:] for line in base.environment if line.startswith("PATH=")), environments.SYSTEM_PATH)
    fixed = {"PATH": f"{VENV}/bin:{path}", "VIRTUAL_ENV": VENV, **environments.VARIABLES}
    values = {**fixed, **manifest.environment}
    labels = {name: value for name, value in sorted(manifest.labels.items()) if is_plain(name)}
    chosen = [*values.values(), *labels.values()]
    arguments = {f"POLYPORT_{number}": value for number, value in enumerate(chosen)}
    given = [f'"${{{argument}}}"' for argument in arguments]
    lines.append(f"COPY program {PROGRAM}")
    lines += [f"ARG {argument}" for argument in arguments]
    lines.append("ENV " + " ".join(f"{name}={value}" for name, value in zip(values, given, strict=False)))
    lines += [f"LABEL {name}={value}" for name, value in zip(labels, given[len(values) :], strict=True)]
    lines += [f"WORKDIR {PROGRAM}", f"ENTRYPOINT {json.dumps(manifest.entrypoint)}", "CMD []"]
    return Recipe("\n".join(lines) + "\n", arguments)


def is_plain(label: str) -> bool:
    """Whether a label's name can be in a Dockerfile as it is."""
    return re.fullmatch(r"[A-Za-z0-9._/-]+", label) is not None


def _run(*words: str) -> str:
    return f"RUN {json.dumps(words)}"
