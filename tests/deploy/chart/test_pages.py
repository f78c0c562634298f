"""What docs/deployment.md and docs/first-hour.md tell to type is what chart and commands take."""

from __future__ import annotations

import json
import os
import re
import shlex
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from altclip.version import VERSION
from service.config import keys
from service.config.command_line import load
from tests.deploy.chart.rendering import CHART, NEWEST, helm, merged, of_kind, render, server
from tests.docs.pages import ROOT, examples, for_server, run
from tests.server import RunningServer

PAGE = "docs/first-hour.md"
VALUES = [example.code for example in examples(PAGE, "yaml")]
NO_VALUES = {"registry.example.com", "values.yaml", "objectives.yaml", "spec.replicas", "Image.uri"}
"""What else the pages quote with a dot in it."""


def commands(page: str, program: str) -> list[list[str]]:
    """The words of each command of a page that runs this program."""
    lines = [line for example in examples(page, "sh") for line in example.code.splitlines()]
    return [shlex.split(line) for line in lines if line.split(" ")[0] == program]


def test_the_values_of_every_step_are_ones_that_the_chart_takes_alone_and_together() -> None:
    (written,) = [
        code
        for each in examples(PAGE, "sh")
        for code in re.findall(r"<<'END'\n(.*?)END\n", each.code, re.DOTALL)
    ]
    steps = [yaml.safe_load(text) for text in (written, *VALUES)]
    for step in steps[:-1]:
        assert render(step)
    everything = render(merged(*steps), namespace="search")
    assert {each["kind"] for each in everything} >= {
        "ServiceMonitor",
        "PrometheusRule",
        "ScaledObject",
        "ConfigMap",
    }
    settings = load(server(everything)["args"], {})
    assert settings.model == ("m9=/models/m9",)
    assert settings.api_keys == "/secrets/keys/keys.txt"
    assert server(everything)["image"].startswith("registry.example.com/altclip-server:")


@pytest.mark.parametrize("page", [PAGE, "docs/deployment.md"])
def test_helm_is_told_of_a_chart_and_values_that_exist(page: str) -> None:
    told = [words for words in commands(page, "helm") if words[1] != "test"]
    assert told
    for words in told:
        assert (ROOT / next(word for word in words if word.startswith("deploy/"))) == CHART
        for given in (words[number + 1] for number, word in enumerate(words) if word == "--set"):
            render(helm().parse_set_string(given))


@pytest.mark.parametrize("page", [PAGE, "docs/deployment.md"])
def test_images_are_named_with_the_version_that_is_built(page: str) -> None:
    named = re.findall(r"altclip-(?:server|bulk|ray):(\d[\d.]*\d)", (ROOT / page).read_text())
    assert named
    assert {*named} == {VERSION}


@pytest.mark.parametrize("page", [PAGE, "docs/deployment.md", "docs/slo.md"])
def test_values_that_a_page_names_are_ones_of_the_chart(page: str) -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    schema = json.loads((CHART / "values.schema.json").read_text())
    values["settings"] = schema["properties"]["settings"]["properties"]
    values |= values["autoscaling"]  # whose section names them without it
    named = {*re.findall(r"`(\w+(?:\.[\w-]+)+)(?:: [^`]*)?`", (ROOT / page).read_text())} - NO_VALUES
    assert {name for name in named if not has(values, name)} == set()


def has(values: Any, name: str) -> bool:
    for part in name.split("."):
        if not isinstance(values, dict) or part not in values:
            return False
        values = values[part]
    return True


def test_kubectl_is_told_of_objects_that_the_chart_makes() -> None:
    made = {f"{each['kind'].lower()}/{each['metadata']['name']}" for each in render({})}
    (forward,) = [words for words in commands(PAGE, "kubectl") if "port-forward" in words]
    target = next(word for word in forward if "/" in word)
    assert target in made
    (service,) = [
        each for each in of_kind(render({}), "Service") if f"service/{each['metadata']['name']}" == target
    ]
    assert set(forward[-2:]) <= {str(port["port"]) for port in service["spec"]["ports"]}


def test_what_is_asked_of_the_new_service_is_answered(server: RunningServer, tmp_path: Path) -> None:
    (asked,) = [each.code for each in examples(PAGE, "sh") if "embed-text" in each.code]
    lines = [line for line in asked.splitlines() if not line.startswith("kubectl")]
    told = run(
        ["bash", "-euc", for_server("\n".join(lines).replace("curl ", "curl -s "), server)],
        tmp_path,
        {**os.environ, "ALTCLIP_ADDRESS": server.grpc},
    )
    assert '"embedding"' in told


def test_the_file_of_keys_is_one_that_the_server_takes(tmp_path: Path) -> None:
    (made,) = [each.code for each in examples(PAGE, "sh") if "key search" in each.code]
    line = next(line for line in made.splitlines() if line.startswith("altclip-server"))
    run(["bash", "-euc", line], tmp_path)
    assert [each.name for each in keys.parse((tmp_path / "keys.txt").read_text())] == ["search"]


def test_the_rule_of_the_adapter_makes_the_metric_that_the_autoscaler_reads() -> None:
    (rule,) = yaml.safe_load(examples("docs/deployment.md", "yaml")[0].code)["externalRules"]
    (scaler,) = of_kind(render({"autoscaling": {"kind": "hpa"}}), "HorizontalPodAutoscaler")
    kubernetes_validate.validate(scaler, NEWEST, strict=True)
    (external,) = scaler["spec"]["metrics"]
    assert rule["name"]["as"] == external["external"]["metric"]["name"]
    assert "altclip_queue_wait_seconds_bucket" in rule["metricsQuery"]
