"""Writes the reference pages that come from the code: ``python docs/generate.py``. A test fails when one is stale."""

import inspect
from pathlib import Path

import typer.main

from polyport import settings
from polyport.cli import app

REFERENCE = Path(__file__).parent / "reference"
INTRODUCTION = """\
Each setting can be given in `polyport.toml` in the home folder, as an environment variable, and some as a flag of
`polyport serve`. A flag goes before the environment, the environment before the file. In an environment variable, a
list is separated by commas.
"""
NOTE = "<!-- Made from the code by `make docs`; edit the code. -->\n\n"


def settings_page() -> str:
    """The table of settings."""
    lines = [
        "# Settings\n",
        NOTE.strip() + "\n",
        INTRODUCTION,
        "| `polyport.toml` | environment | default | meaning |",
        "|---|---|---|---|",
    ]
    for name in settings.Settings.__struct_fields__:
        default = settings.default(name)
        shown = f"`{default}`" if default else "(empty)"
        lines.append(f"| `{name}` | `{settings.environment_name(name)}` | {shown} | {settings.description(name)} |")
    return "\n".join(lines) + "\n"


def commands_page() -> str:
    """Every command with its arguments and options."""
    lines = ["# Commands\n", NOTE.strip() + "\n"]
    _describe(typer.main.get_command(app), "polyport", lines)
    return "\n".join(lines) + "\n"


def _describe(command: object, path: str, lines: list[str]) -> None:
    lines.append(f"## `{path}`\n")
    lines.append(inspect.cleandoc(getattr(command, "help", "") or "").replace("\b\n", "") + "\n")
    rows = [_parameter(parameter) for parameter in getattr(command, "params", ())]
    rows = [row for row in rows if row]
    if rows:
        lines += ["| argument | meaning |", "|---|---|", *rows, ""]
    for name, sub in sorted(getattr(command, "commands", {}).items()):
        _describe(sub, f"{path} {name}", lines)


def _parameter(parameter: object) -> str:
    names = [*getattr(parameter, "opts", ()), *getattr(parameter, "secondary_opts", ())]
    if getattr(parameter, "param_type_name", "") == "argument":
        names = [getattr(parameter, "human_readable_name", "")]
    if getattr(parameter, "hidden", False):
        return ""
    meaning = (getattr(parameter, "help", "") or "").replace("|", "\\|")
    default = getattr(parameter, "show_default", None)
    suffix = f" (default: `{default}`)" if isinstance(default, str) and default else ""
    return f"| {', '.join(f'`{name}`' for name in names)} | {meaning}{suffix} |"


PAGES = {"settings.md": settings_page, "commands.md": commands_page}


def main() -> None:
    """Write all pages."""
    REFERENCE.mkdir(exist_ok=True)
    for name, page in PAGES.items():
        (REFERENCE / name).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
