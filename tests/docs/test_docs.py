"""The docs say what the code does."""

import importlib.util
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def generator():
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", sorted(generator().PAGES))
def test_a_reference_page_is_what_the_code_says(page: str) -> None:
    """Pages made from the code are never stale: `make docs` writes them."""
    assert (ROOT / "docs" / "reference" / page).read_text() == generator().PAGES[page]()


@pytest.mark.parametrize("page", sorted(generator().PARTS))
def test_a_table_in_a_page_is_what_the_code_says(page: str) -> None:
    """The table of metrics in docs/observability.md is the code's own: `make docs` writes it."""
    text = (ROOT / "docs" / page).read_text()
    assert text == generator().PARTS[page](text)
    assert "`InvocationModelErrors`" in text


def test_every_dependency_says_what_it_is_for() -> None:
    """docs/architecture.md has a line for each run-time dependency."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = [re.split(r"[\[<>=~; ]", line)[0] for line in project["dependencies"]]
    text = (ROOT / "docs" / "architecture.md").read_text().lower()
    table = text[text.index("## dependencies") :]
    assert [name for name in names if name.lower() not in table] == []


def test_every_room_has_a_paragraph() -> None:
    """Each folder of the package is described in docs/architecture.md."""
    package = ROOT / "src" / "polyport"
    rooms = [path.name for path in package.iterdir() if (path / "__init__.py").exists()]
    text = (ROOT / "docs" / "architecture.md").read_text()
    assert [room for room in rooms if f"`{room}/`" not in text] == []


def test_every_guard_names_a_test_that_there_is() -> None:
    """docs/security.md: a guard that no test shows is none."""
    page = (ROOT / "docs" / "security.md").read_text()
    table = page[page.index("## Guards") : page.index("## What is not defended")]
    rows = [line for line in table.splitlines() if line.startswith("| ")][1:]
    named = [re.search(r"\| `(tests/\S+\.py)::(\w+)` \|$", row) for row in rows]
    assert len(rows) > 20
    assert [row for row, found in zip(rows, named, strict=True) if found is None] == []
    missing = [
        found.group()
        for found in named
        if not re.search(rf"^def {found[2]}\(", (ROOT / found[1]).read_text(), re.MULTILINE)
    ]
    assert missing == []


def test_links_between_pages_lead_somewhere() -> None:
    """No link to a file that is not there."""
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
    links = [(page, target) for page in pages for target in re.findall(r"\]\(([^)#\s]+)", page.read_text())]
    broken = [
        (page.name, target) for page, target in links if "://" not in target and not (page.parent / target).exists()
    ]
    assert broken == []


def test_every_promise_names_a_test_or_a_scenario_that_there_is() -> None:
    """docs/reliability.md: a promise that nothing shows is none."""
    page = (ROOT / "docs" / "reliability.md").read_text()
    rows = [line for line in page[: page.index("## Figures")].splitlines() if line.startswith("| ")][1:]
    scenarios = set(re.findall(r'Scenario\(\s*"([a-z-]+)"', (ROOT / "chaos" / "scenarios.py").read_text()))
    assert len(rows) > 15
    for row in rows:
        shown = row.rpartition(" | ")[2]
        tests = re.findall(r"`(tests/\S+\.py)::(\w+)`", shown)
        named = re.findall(r"scenario `([a-z-]+)`", shown)
        assert tests or named, row
        assert set(named) <= scenarios, row
        for file, name in tests:
            assert re.search(rf"^def {name}\(", (ROOT / file).read_text(), re.MULTILINE), (file, name)
