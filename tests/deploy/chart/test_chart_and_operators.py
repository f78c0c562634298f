"""What the chart makes for operators (KEDA, Prometheus, Grafana, KubeRay), and bulk jobs."""

from __future__ import annotations

import json
import shlex
from typing import Any

import yaml

from altclip import arguments
from tests.deploy.chart.rendering import CHART, merged, of_kind, render
from tests.deploy.chart.switches import SWITCHES


def test_keda_asks_for_the_wait_of_this_release_alone() -> None:
    objects = render(SWITCHES["KEDA"], namespace="search", name="clip")
    (scaler,) = of_kind(objects, "ScaledObject")
    (trigger,) = scaler["spec"]["triggers"]
    headless = next(each for each in of_kind(objects, "Service") if each["spec"].get("clusterIP") == "None")
    query = trigger["metadata"]["query"]
    assert query.count(f'{{namespace="search",service="{headless["metadata"]["name"]}"') == 3
    assert 'priority="interactive"' in query
    assert scaler["spec"]["fallback"]["replicas"] == 4
    assert scaler["spec"]["scaleTargetRef"]["name"] == of_kind(objects, "Deployment")[0]["metadata"]["name"]


def test_keda_shows_prometheus_who_it_is_in_the_way_that_it_is_told() -> None:
    values = SWITCHES["KEDA with a question of one's own"]

    def trigger(modes: str) -> dict[str, Any]:
        changed = {"autoscaling": {"keda": {"authModes": modes}}}
        (scaler,) = of_kind(render(merged(values, changed)), "ScaledObject")
        (found,) = scaler["spec"]["triggers"]
        return dict(found)

    told = trigger("bearer,tls")
    assert told["metadata"]["authModes"] == "bearer,tls"
    assert told["authenticationRef"] == {"name": "prometheus", "kind": "ClusterTriggerAuthentication"}
    of_a_cloud = trigger("none")
    assert "authModes" not in of_a_cloud["metadata"]
    assert of_a_cloud["authenticationRef"]["name"] == "prometheus"


def test_an_autoscaler_looks_at_processors_only_where_it_is_told_to() -> None:
    def metrics(values: dict[str, Any]) -> list[str]:
        (scaler,) = of_kind(render(values), "HorizontalPodAutoscaler")
        return [each["type"] for each in scaler["spec"]["metrics"]]

    assert metrics(SWITCHES["an autoscaler"]) == ["External"]
    assert metrics(SWITCHES["an autoscaler that waits for long drains"]) == ["External", "Resource"]


def test_rules_carry_the_objectives_of_the_values() -> None:
    (rule,) = of_kind(render(SWITCHES["rules"]), "PrometheusRule")
    rules = [each for group in rule["spec"]["groups"] for each in group["rules"]]
    recorded = {each["record"]: each for each in rules if "record" in each}
    assert recorded["altclip:objective:error_ratio"]["expr"] == "0.005"
    assert recorded["altclip:objective:latency_seconds"]["expr"] == "0.25"
    assert recorded["altclip:objective:latency_seconds"]["labels"] == {"le": "0.25"}
    assert recorded["altclip:threshold:certificate_days"]["expr"] == "30"
    alerts = [each for each in rules if "alert" in each]
    assert alerts
    for alert in alerts:
        assert alert["labels"]["team"] == "search"
        assert alert["annotations"]["runbook_url"].startswith("https://git.example.com/altclip/docs/")


def test_without_values_of_ones_own_rules_are_the_files_as_they_are() -> None:
    (rule,) = of_kind(render({"monitoring": {"rules": {"enabled": True}}}), "PrometheusRule")
    files = ("objectives.yaml", "rules.yaml", "alerts.yaml")
    written = [
        group for name in files for group in yaml.safe_load((CHART / "files" / name).read_text())["groups"]
    ]
    assert rule["spec"]["groups"] == written


def test_dashboards_reach_grafana_as_they_are() -> None:
    maps = of_kind(render(SWITCHES["dashboards"]), "ConfigMap")
    files = sorted((CHART / "files" / "dashboards").glob("*.json"))
    assert files
    found = {name: json.loads(text) for each in maps for name, text in each["data"].items()}
    assert found == {path.name: json.loads(path.read_text()) for path in files}
    assert {each["metadata"]["namespace"] for each in maps} == {"grafana"}


def test_a_bulk_job_uses_the_service_of_its_release_and_is_not_tried_again_in_vain() -> None:
    objects = render(SWITCHES["a bulk job by index"])
    (job,) = of_kind(objects, "Job")
    assert (job["spec"]["completionMode"], job["spec"]["completions"], job["spec"]["parallelism"]) == (
        "Indexed",
        8,
        4,
    )
    (container,) = job["spec"]["template"]["spec"]["containers"]
    variables = {each["name"]: each.get("value") for each in container["env"]}
    headless = next(each for each in of_kind(objects, "Service") if each["spec"].get("clusterIP") == "None")
    assert variables["ALTCLIP_ADDRESS"] == f"{headless['metadata']['name']}:50051"
    assert "$(JOB_COMPLETION_INDEX)" in container["args"][1]
    rules = {rule["action"]: rule for rule in job["spec"]["podFailurePolicy"]["rules"]}
    assert rules["FailIndex"]["onExitCodes"]["containerName"] == container["name"]
    assert rules["FailIndex"]["onExitCodes"]["values"] == [1, 2]


def test_a_ray_job_runs_a_command_that_the_client_takes() -> None:
    (job,) = of_kind(render(SWITCHES["a bulk job on Ray"]), "RayJob")
    program, *command = shlex.split(job["spec"]["entrypoint"])
    parsed = arguments.parser().parse_args(arguments.words(command))
    assert program == "altclip"
    assert (parsed.input, parsed.output, parsed.text) == ("/data/in.parquet", "/data/out", ["caption"])
    assert (parsed.ray, parsed.model, parsed.ray_gpus) == ("auto", "m9=/data/m9", 1)
