"""Values that are wrong, or do not go together, are refused by their name before anything is installed."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml

from scripts import chart_schema
from tests.deploy.chart.rendering import CHART, OLDEST, RefusedError, render
from tests.deploy.chart.switches import COMMIT, SWITCHES
from tests.deploy.rule_files import FILES, rules, series

_DOWNLOAD = {"source": "BAAI/AltCLIP", "revision": COMMIT}


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"replica": 3}, "replica"),
        ({"replicas": "three"}, "replicas"),
        ({"replicas": -1}, "replicas"),
        ({"kind": "DaemonSet"}, "kind"),
        ({"settings": {"max-text": 3}}, "max-text"),
        ({"settings": {"max-texts": "many"}}, "max-texts"),
        ({"settings": {"grpc-address": "0.0.0.0:1"}}, "grpc-address"),
        ({"settings": {"grace": 10}}, "grace"),
        ({"models": [{"pvc": {"claimName": "a"}}]}, "name"),
        ({"models": [{"name": "a", "pvc": {"claimName": "a"}, "download": _DOWNLOAD}]}, "models"),
        ({"models": [{"name": "a", "download": {"source": "BAAI/AltCLIP"}}]}, "revision"),
        ({"models": [{"name": "a", "download": _DOWNLOAD | {"revision": "main"}}]}, "revision"),
        ({"models": [{"name": "a"}, {"name": "a"}]}, "models[1].name"),
        ({"storage": {"persistent": True}}, "storage.persistent"),
        ({"apiKeys": {"lines": ["a key in the clear"]}}, "apiKeys"),
        ({"apiKeys": {"lines": ["a sha256:0"], "existingSecret": "b"}}, "apiKeys.existingSecret"),
        ({"tls": {"enabled": True}}, "tls.existingSecret"),
        ({"tls": {"clientCASecret": "a"}}, "tls.clientCASecret"),
        ({"tls": {"caSecret": "a"}}, "tls.caSecret"),
        (
            {
                "tls": {"enabled": True, "existingSecret": "a", "clientCASecret": "b"},
                "bulk": SWITCHES["a bulk job"]["bulk"],
            },
            "bulk.clientCertificateSecret",
        ),
        ({"tls": {"certManager": {"enabled": True}}}, "tls.certManager.enabled"),
        ({"tls": {"enabled": True, "certManager": {"enabled": True}}}, "tls.certManager.issuerRef.name"),
        ({"gateway": {"http": {"enabled": True}}}, "gateway.http.parentRefs"),
        ({"ingress": {"grpc": {"enabled": True}}}, "ingress.grpc.hosts"),
        (
            {"http": {"enabled": False}, "ingress": {"http": {"enabled": True, "hosts": ["a.example.com"]}}},
            "http.enabled",
        ),
        ({"autoscaling": {"kind": "keda"}}, "autoscaling.keda.query"),
        ({"service": {"grpcPort": 443, "httpPort": 443}}, "service.httpPort"),
        ({"service": {"loadBalancerSourceRanges": ["10.0.0.0/8"]}}, "service.loadBalancerSourceRanges"),
        (
            {"service": {"type": "LoadBalancer", "loadBalancerSourceRanges": ["10.0.0.7"]}},
            "loadBalancerSourceRanges",
        ),
        ({"service": {"externalTrafficPolicy": "Local"}}, "service.externalTrafficPolicy"),
        ({"autoscaling": {"kind": "hpa", "minReplicas": 5, "maxReplicas": 4}}, "autoscaling.minReplicas"),
        ({"autoscaling": {"kind": "vpa"}}, "kind"),
        ({"autoscaling": {"keda": {"authenticationRef": "a"}}}, "autoscaling.keda.authModes"),
        ({"autoscaling": {"keda": {"authModes": "bearer"}}}, "autoscaling.keda.authenticationRef"),
        ({"autoscaling": {"keda": {"authenticationRef": "a", "authModes": "key"}}}, "authModes"),
        ({"monitoring": {"rules": {"objectives": {"latency_seconds": 0.3}}}}, "latency_seconds"),
        ({"bulk": {"jobs": [{"name": "a", "input": "b"}]}}, "output"),
        (
            {"bulk": {"jobs": [{"name": "a", "input": "b", "output": "c", "completions": 100_001}]}},
            "completions",
        ),
        ({"bulk": {"placement": {"nodeName": "a"}}}, "nodeName"),
        ({"settings": {"log-level": True}}, "log-level"),
        ({"image": {"digest": "1234"}}, "digest"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_wrong_values_are_refused_by_name(values: dict[str, Any], named: str) -> None:
    with pytest.raises(RefusedError) as refused:
        render(values)
    assert named in str(refused.value).replace("/", ".")


def test_image_volumes_are_refused_where_kubernetes_has_none() -> None:
    with pytest.raises(RefusedError, match=r"models\[0\]\.image: image volumes need Kubernetes 1\.33"):
        render(SWITCHES["weights in an image"], kubernetes="1.32")


def test_an_older_kubernetes_is_refused() -> None:
    with pytest.raises(RefusedError, match=r"Kubernetes 1\.31 or newer"):
        render({}, kubernetes="1.30")
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["kubeVersion"] == f">={OLDEST}.0-0"


def test_the_schema_knows_every_value() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    assert set(schema["properties"]) - {"global"} == set(values)
    assert set(unknown(values, schema)) == set()


def unknown(value: Any, schema: dict[str, Any], path: str = "") -> list[str]:
    """Properties that only the values have, or only the schema."""
    known = schema.get("properties", {})
    if not isinstance(value, dict) or not known:
        return []
    # What Kubernetes defines, or what a map is open for, need not be given.
    open_for = (
        *(".settings", ".monitoring.rules.objectives", ".monitoring.rules.thresholds"),
        *(".bulk.placement", ".bulk.ray.workerPlacement"),
    )
    optional = known.keys() if path in open_for else {"global"}
    found = [f"{path}.{name}" for name in (value.keys() ^ known.keys()) - optional]
    for name in value.keys() & known.keys():
        found += unknown(value[name], known[name], f"{path}.{name}")
    return found


# What is written as Kubernetes defines it.
_KUBERNETES = re.compile(r"[rR]esources\.|[sS]ecurityContext\.|^topologySpread\.|labels\.")


def test_objectives_and_thresholds_that_may_be_given_are_those_that_the_rules_read() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    given = schema["properties"]["monitoring"]["properties"]["rules"]["properties"]
    recorded = {rule["record"] for rule in rules(FILES / "objectives.yaml")}
    for kind in ("objective", "threshold"):
        names = {f"altclip:{kind}:{name}" for name in given[f"{kind}s"]["properties"]}
        assert names == {name for name in recorded if name.startswith(f"altclip:{kind}:")}
    bounds = series()["altclip_request_duration_seconds"].buckets
    assert given["objectives"]["properties"]["latency_seconds"]["enum"] == [*bounds]


def test_every_value_has_a_comment_above_it() -> None:
    path: list[str] = []
    above, bare = "", []
    for line in (CHART / "values.yaml").read_text().splitlines():
        if match := re.match(r"( *)([A-Za-z_-]+):", line):
            path = [*path[: len(match[1]) // 2], match[2]]
            name = ".".join(path)
            if not above.strip().startswith("#") and not _KUBERNETES.search(name):
                bare.append(name)
        above = line
    assert bare == []


def test_the_settings_of_the_schema_are_those_of_the_server() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    assert schema["properties"]["settings"]["properties"] == chart_schema.properties(), "run `make docs`"
