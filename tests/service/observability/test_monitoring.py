"""The compose profile `monitoring`: what its dashboard and its alerts ask for is what a server tells."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import promql_parser as promql
import pytest
import yaml
from http_calls import Caller
from patience import eventually
from prometheus_client.parser import text_string_to_metric_families
from server_process import serving
from tiny_models import TinyModel

from service.app import create_app
from service.http.problems import PROBLEMS
from service.settings import Settings

REPOSITORY = Path(__file__).resolve().parents[3]
MONITORING = REPOSITORY / "deploy" / "monitoring"
DASHBOARD: dict[str, Any] = json.loads((MONITORING / "grafana/dashboards/vae-service.json").read_text())
RULES: dict[str, Any] = yaml.safe_load((MONITORING / "prometheus/rules.yml").read_text())
PROMETHEUS: dict[str, Any] = yaml.safe_load((MONITORING / "prometheus/prometheus.yml").read_text())
COMPOSE: dict[str, Any] = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())["services"]
PAGE = (REPOSITORY / "docs/reference/metrics.md").read_text()

#: Put there by Prometheus itself.
ADDED_LABELS = {"job", "instance"}
OWN_METRICS = {"up"}
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
EXPRESSIONS = (
    {f"{panel['title']} {target['refId']}": target["expr"] for panel in PANELS for target in panel["targets"]}
    | {rule["alert"]: rule["expr"] for group in RULES["groups"] for rule in group["rules"]}
    | {each["name"]: each["expr"] for each in DASHBOARD["annotations"]["list"]}
)
VARIABLES = {
    each["name"]: re.fullmatch(r"label_values\((.*), (\w+)\)", each["query"]["query"])
    for each in DASHBOARD["templating"]["list"]
}


@dataclass
class Exposed:
    """Every sample name of a server with its labels and their values."""

    samples: dict[str, dict[str, set[str]]] = field(default_factory=dict)

    def read(self, text: str) -> None:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                labels = self.samples.setdefault(sample.name, {})
                for name, value in sample.labels.items():
                    labels.setdefault(name, set()).add(value)


def traffic(api: Caller) -> None:
    api.get("/sample?n=2&seed=1")
    api.get("/sample.npy?n=300&seed=1")
    api.post_json("/decode", {"z": [[0.0] * 8]})
    api.post_json("/encode", {"images": [[[0.0] * 28] * 28]})
    api.post_json("/decode", {"z": [[1]]})
    api.get("/nothing/here")
    api.get("/readyz")


def metrics(api: Caller) -> str:
    return api.get("/metrics").body.decode()


def something_was_dropped(api: Caller) -> bool:
    """A worker drops what still waits when its caller has the answer; it may have begun before that."""
    api.get("/sample?n=2&seed=1")
    return "vae_dropped_images_total{" in metrics(api)


@pytest.fixture(scope="module")
def exposed(tiny_store: Path, tiny: TinyModel) -> Exposed:
    """What is told after some traffic, and by a server in which everything comes too late."""
    found = Exposed()
    for settings in (
        Settings(model_store=tiny_store, threads=1),
        Settings(model_store=tiny_store, threads=1, request_timeout_s=1e-6),
    ):
        with Caller(create_app(settings)) as api:
            traffic(api)
            if settings.request_timeout_s < 1:
                eventually(partial(something_was_dropped, api), partial(metrics, api))
            found.read(metrics(api))
    return found


@dataclass(frozen=True)
class Asked:
    """One metric of a query: the labels that are matched or kept, and the values that are demanded."""

    metric: str
    labels: frozenset[str]
    equal: frozenset[tuple[str, str]]


def parsed(expression: str) -> promql.Expr:
    """With Grafana's variables replaced as Grafana does."""
    concrete = expression.replace("$__rate_interval", "1m")
    return promql.parse(re.sub(r"\$(instance|model)\b", ".*", concrete))


def asked(expression: str) -> list[Asked]:
    """Every metric of a query with the labels that it is asked for there."""
    found: list[Asked] = []

    def collect(node: Any, kept: frozenset[str]) -> None:
        if isinstance(node, promql.AggregateExpr):
            inner = frozenset(node.modifier.labels) if node.modifier is not None else frozenset()
            collect(node.expr, inner)
        elif isinstance(node, promql.VectorSelector):
            matchers = node.matchers.matchers
            # Of several values, as in `a|b`, each is one that there must be.
            wanted = frozenset(
                (each.name, value)
                for each in matchers
                if each.op in (promql.MatchOp.Equal, promql.MatchOp.Re)
                for value in each.value.split("|")
                if re.fullmatch(r"[a-z-]+", value)
            )
            labels = kept | {each.name for each in matchers}
            assert node.name is not None
            found.append(Asked(node.name, frozenset(labels), wanted))
        elif isinstance(node, promql.MatrixSelector):
            collect(node.vector_selector, kept)
        elif isinstance(node, promql.Call):
            # The one function here that needs a label of its own.
            own = frozenset({"le"}) if node.func.name == "histogram_quantile" else frozenset()
            for argument in node.args:
                collect(argument, kept | own)
        elif isinstance(node, promql.BinaryExpr):
            collect(node.lhs, kept)
            collect(node.rhs, kept)
        elif isinstance(node, promql.ParenExpr):
            collect(node.expr, kept)
        else:
            assert isinstance(node, promql.NumberLiteral), type(node)

    collect(parsed(expression), frozenset())
    return found


def missing(expression: str, exposed: Exposed) -> Iterator[str]:
    for each in asked(expression):
        if each.metric in OWN_METRICS:
            continue
        labels = exposed.samples.get(each.metric)
        if labels is None:
            yield f"no metric {each.metric}"
            continue
        yield from (f"no label {name} of {each.metric}" for name in each.labels - set(labels) - ADDED_LABELS)
        for name, value in each.equal:
            known = set(PROBLEMS) if name == "code" else labels.get(name, set())
            if name not in ADDED_LABELS and value not in known:
                yield f"no {name}={value} of {each.metric}"


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_query_asks_for_what_a_server_tells(name: str, exposed: Exposed) -> None:
    assert list(missing(EXPRESSIONS[name], exposed)) == []


@pytest.mark.parametrize("name", VARIABLES)
def test_variable_asks_for_what_a_server_tells(name: str, exposed: Exposed) -> None:
    match = VARIABLES[name]
    assert match is not None
    assert list(missing(match[1], exposed)) == []
    (selected,) = asked(match[1])
    assert match[2] in set(exposed.samples[selected.metric]) | ADDED_LABELS


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ("rate(vae_http_request_total[5m])", "no metric vae_http_request_total"),
        ("sum by (path) (vae_ready)", "no label path of vae_ready"),
        ('vae_http_requests_total{verb="GET"}', "no label verb of vae_http_requests_total"),
        ('rate(vae_dropped_images_total{reason="late"}[5m])', "no reason=late of vae_dropped_images_total"),
        ('vae_problems_total{code=~"too-busy|too-bussy"}', "no code=too-bussy of vae_problems_total"),
        ("histogram_quantile(0.5, vae_ready)", "no label le of vae_ready"),
    ],
)
def test_wrong_query_is_found(wrong: str, why: str, exposed: Exposed) -> None:
    """A check that cannot fail proves nothing."""
    assert why in list(missing(wrong, exposed))


def test_several_workers_tell_the_same_metrics_and_labels(
    exposed: Exposed, tiny_store: Path, tmp_path: Path
) -> None:
    """Nobody needs another dashboard for two workers: no metric is lost, and none has a label `pid`."""
    found = Exposed()
    with serving(tiny_store, tmp_path / "log", "--workers", "2") as running:
        for _ in range(4):
            assert running.get("/sample?n=2&seed=1")[0] == 200
        assert running.get("/sample.npy?n=300&seed=1")[0] == 200
        assert running.get("/nothing/here")[0] == 404
        usual = {name for name in exposed.samples if not name.startswith("vae_dropped")}
        usual = {name for name in usual if not name.endswith("_created")}

        # The worker that is asked knows of the other one what that one said up to a second ago.
        def complete() -> bool:
            found.read(running.get("/metrics")[2].decode())
            return not usual - set(found.samples)

        eventually(complete, lambda: usual - set(found.samples))
    for name in (each.metric for text in EXPRESSIONS.values() for each in asked(text)):
        if name in found.samples:
            assert set(found.samples[name]) == set(exposed.samples[name]), name


def test_every_metric_is_on_the_dashboard_or_in_an_alert_and_in_the_reference(exposed: Exposed) -> None:
    shown = {each.metric for text in EXPRESSIONS.values() for each in asked(text)}
    base = {re.sub(r"_(bucket|sum|count)$", "", name) for name in shown} | shown
    told = {re.sub(r"_(bucket|sum|count)$", "", name) for name in exposed.samples}
    told = {name for name in told if not name.endswith("_created")}
    assert told - base == set()
    assert {name for name in told if f"`{name}`" not in PAGE} == set()


def test_panels_have_an_id_a_place_and_a_question_each() -> None:
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        grid = panel["gridPos"]
        assert grid["x"] + grid["w"] <= 24
        cells = {
            (x, y)
            for x in range(grid["x"], grid["x"] + grid["w"])
            for y in range(grid["y"], grid["y"] + grid["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells
    assert [panel["title"] for panel in PANELS if not panel["description"]] == []


def test_dashboard_uses_the_data_source_that_is_provisioned() -> None:
    provisioned = yaml.safe_load((MONITORING / "grafana/provisioning/datasources/prometheus.yml").read_text())
    (source,) = provisioned["datasources"]
    used = {target["datasource"]["uid"] for panel in PANELS for target in panel["targets"]}
    assert used == {source["uid"]} == {panel["datasource"]["uid"] for panel in PANELS}
    assert source["url"] == "http://prometheus:9090"
    assert source["jsonData"]["timeInterval"] == PROMETHEUS["global"]["scrape_interval"]


def test_prometheus_asks_the_server_of_compose_and_calls_it_as_the_queries_do() -> None:
    (job,) = PROMETHEUS["scrape_configs"]
    assert job["job_name"] == "vae"
    assert job["static_configs"] == [{"targets": ["server:8000"]}]
    matched = [pair for text in EXPRESSIONS.values() for each in asked(text) for pair in each.equal]
    assert {value for name, value in matched if name == "job"} == {"vae"}
    assert PROMETHEUS["rule_files"] == ["/etc/prometheus/rules.yml"]


def test_alert_says_what_is_wrong_and_what_to_look_at() -> None:
    rules = [rule for group in RULES["groups"] for rule in group["rules"]]
    assert len({rule["alert"] for rule in rules}) == len(rules)
    for rule in rules:
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert set(rule["annotations"]) == {"summary", "description"}


def test_compose_starts_the_server_alone_unless_monitoring_is_asked_for() -> None:
    assert {name for name, service in COMPOSE.items() if not service.get("profiles")} == {"server"}
    assert {name for name, service in COMPOSE.items() if service.get("profiles") == ["monitoring"]} == {
        "prometheus",
        "grafana",
    }


@pytest.mark.parametrize("name", ["prometheus", "grafana"])
def test_monitoring_is_pinned_bounded_and_on_this_machine_only(name: str) -> None:
    service = COMPOSE[name]
    assert re.fullmatch(r"[a-z]+/[a-z]+:v?\d+\.\d+\.\d+", service["image"])
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert service["cap_drop"] == ["ALL"]
    assert service["mem_limit"]
    for volume in service["volumes"]:
        source, _, options = volume.partition(":")
        if source.startswith("./"):
            assert (REPOSITORY / source).is_dir()
            assert options.endswith(":ro")
