"""The dashboard and the alert rules ask for nothing that there is not."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from polyport.telemetry.metrics import families
from polyport.telemetry.metrics.families import Kind

FOLDER = Path(__file__).parent.parent.parent / "deploy" / "grafana"
DASHBOARD = json.loads((FOLDER / "dashboard.json").read_text())
RULES = yaml.safe_load((FOLDER / "rules.yaml").read_text())
#: What Grafana puts in the place of its own variables.
INTERVALS = ("$__rate_interval", "$__interval")
#: Labels that Prometheus adds to whatever it scrapes.
SCRAPED = {"instance", "job"}


def panels() -> list[dict[str, Any]]:
    return [inner for panel in DASHBOARD["panels"] for inner in (panel, *panel.get("panels", ()))]


def variables() -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in DASHBOARD["templating"]["list"]}


def rules() -> list[dict[str, Any]]:
    return [rule for group in RULES["groups"] for rule in group["rules"]]


def expressions() -> Iterator[tuple[str, str, set[str]]]:
    """Title, PromQL, and the labels that its legend or its texts show."""
    for panel in panels():
        for target in panel.get("targets", ()):
            shown = set(re.findall(r"\{\{\s*(\w+)\s*\}\}", target["legendFormat"]))
            text = target["expr"]
            for interval in INTERVALS:
                text = text.replace(interval, "5m")
            yield panel["title"], text, shown
    for rule in rules():
        shown = set(re.findall(r"\$labels\.(\w+)", json.dumps(rule["annotations"])))
        yield rule["alert"], rule["expr"], shown


def exported() -> dict[str, set[str]]:
    """Names of samples and their labels, by the table that `/metrics` is made from."""
    found: dict[str, set[str]] = {}
    for family in families.FAMILIES:
        labels = set(family.labels)
        if family.kind is Kind.HISTOGRAM:
            found |= {f"{family.name}_bucket": labels | {"le"}, f"{family.name}_sum": labels}
            found[f"{family.name}_count"] = labels
        else:
            found[family.name] = labels
    return found


def parts(node: Any) -> Iterator[Any]:
    """All of an expression's nodes."""
    yield node
    for name in ("expr", "lhs", "rhs", "vector_selector", "param"):
        inner = getattr(node, name, None)
        if inner is not None and not isinstance(inner, str | float | int):
            yield from parts(inner)
    for inner in getattr(node, "args", None) or ():
        yield from parts(inner)


def selectors(text: str) -> list[Any]:
    found = [one for one in parts(promql_parser.parse(text)) if isinstance(one, promql_parser.VectorSelector)]
    # Whatever the walk misses, the text has.
    assert len(found) == len(re.findall(r"\bpolyport_\w+", text)), text
    return found


ALL = list(expressions())


@pytest.mark.parametrize(("title", "text", "shown"), ALL, ids=[f"{n} {title}" for n, (title, *_) in enumerate(ALL)])
def test_an_expression_asks_for_what_is_exported(title: str, text: str, shown: set[str]) -> None:
    """Rule: Prometheus' own grammar reads it; its metrics, what it selects, groups and shows by, are in the table."""
    known = exported()
    has: set[str] = set()
    for selector in selectors(text):
        assert selector.name in known, f"{title}: there is no {selector.name}"
        asked = {matcher.name for matcher in selector.matchers.matchers}
        assert asked <= known[selector.name], title
        has |= known[selector.name]
    grouped = {name for found in re.findall(r"\bby \(([^)]*)\)", text) for name in re.findall(r"\w+", found)}
    assert grouped <= has | SCRAPED, title
    assert shown <= (grouped or has | SCRAPED), title


def test_counters_are_asked_for_their_rate_and_gauges_are_not() -> None:
    """Rule: a counter alone means nothing, as it begins anew with its process; the rate of a gauge means nothing."""
    kinds = {family.name: family.kind for family in families.FAMILIES}
    for title, text, _ in ALL:
        for function, name in re.findall(r"(\w*)\(?(polyport_\w+)", text):
            family = re.sub(r"_(bucket|sum|count)$", "", name) if name not in kinds else name
            is_rate = function in {"rate", "increase"}
            assert is_rate is (kinds[family] is not Kind.GAUGE), (title, name)


def test_every_family_is_in_the_dashboard() -> None:
    """Rule: what is exported is shown, so that nobody has to know its name."""
    text = json.dumps(DASHBOARD)
    hidden = {"polyport_gateway_table_version", "polyport_pipeline_invocation_4xx_errors_total"}
    hidden |= {"polyport_pipeline_invocation_5xx_errors_total", "polyport_pipeline_mid_stream_errors_total"}
    hidden |= {"polyport_pipeline_overhead_seconds"}
    assert [one.name for one in families.FAMILIES if one.name not in text and one.name not in hidden] == []


def test_grafana_can_import_the_dashboard() -> None:
    """Rule: schema, title, a data source that is chosen, ids that are unique, panels that do not overlap."""
    assert DASHBOARD["schemaVersion"] >= 36
    assert DASHBOARD["title"] == "Polyport"
    assert variables()["datasource"]["type"] == "datasource"
    ids = [panel["id"] for panel in panels()]
    assert len(set(ids)) == len(ids)
    cells = [
        (x, y)
        for at in (panel["gridPos"] for panel in panels())
        for x in range(at["x"], at["x"] + at["w"])
        for y in range(at["y"], at["y"] + at["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24
    for panel in panels():
        if panel["type"] != "row":
            assert panel["datasource"]["uid"] == "${datasource}", panel["title"]
            references = [target["refId"] for target in panel["targets"]]
            assert len(set(references)) == len(references) > 0
            assert all(target["datasource"]["uid"] == "${datasource}" for target in panel["targets"])


def test_variables_are_there_before_they_are_used() -> None:
    """Rule: each `$name` is a variable; those of labels ask for labels that there are."""
    names = set(variables())
    used = set(re.findall(r"\$\{?([a-z]\w*)", json.dumps(DASHBOARD)))
    assert used == names
    for variable in variables().values():
        if variable["type"] == "query":
            match = re.fullmatch(r"label_values\((\w+)(?:\{.*\})?, (\w+)\)", variable["definition"])
            assert match, variable["definition"]
            assert match[2] in exported()[match[1]]


def test_rules_say_what_prometheus_needs_and_people_too() -> None:
    """Rule: a name of its own, a severity, a summary, and times that are times."""
    names = [rule["alert"] for rule in rules()]
    assert len(set(names)) == len(names) > 5
    for rule in rules():
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert rule["annotations"]["summary"]
        assert re.fullmatch(r"[0-9]+[smh]", rule.get("for", "0s"))
        assert rule.keys() <= {"alert", "expr", "for", "labels", "annotations"}


@pytest.mark.parametrize("text", ["sum(polyport_ready", "rate(polyport_ready)", "polyport_ready{a=}"])
def test_the_grammar_is_really_asked(text: str) -> None:
    """Rule: a guard that never fires guards nothing."""
    with pytest.raises(ValueError, match=r".+"):
        promql_parser.parse(text)
