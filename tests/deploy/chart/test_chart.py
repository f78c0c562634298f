"""What the chart makes of its values fits the service that it starts, and each object the others."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from altclip.version import VERSION
from service.config.command_line import load
from service.config.settings import Settings
from tests.deploy.chart.rendering import (
    CHART,
    Object,
    all_pods,
    merged,
    of_kind,
    pod_of,
    pod_templates,
    render,
    server,
)
from tests.deploy.chart.switches import KEY_LINE, SWITCHES


def settings(objects: list[Object]) -> Settings:
    """What the server makes of the arguments that the chart gives it."""
    return load(server(objects)["args"], {})


@pytest.mark.parametrize("switch", SWITCHES)
def test_the_server_understands_its_arguments(switch: str) -> None:
    objects = render(SWITCHES[switch])
    found = settings(objects)
    assert len(of_kind(objects, "Deployment") + of_kind(objects, "StatefulSet")) == 1
    ports = {port["name"]: f"0.0.0.0:{port['containerPort']}" for port in server(objects)["ports"]}
    assert (ports["grpc"], ports.get("http", ""), ports["ops"]) == (
        found.grpc_address,
        found.http_address,
        found.ops_address,
    )


@pytest.mark.parametrize("switch", SWITCHES)
def test_every_mount_has_its_volume(switch: str) -> None:
    objects = render(SWITCHES[switch])
    templates = of_kind(objects, "StatefulSet")
    claims = {
        claim["metadata"]["name"]
        for each in templates
        for claim in each["spec"].get("volumeClaimTemplates", [])
    }
    for pod in all_pods(objects):
        volumes = {volume["name"] for volume in pod.get("volumes", [])}
        for container in [*pod["containers"], *pod.get("initContainers", [])]:
            mounted = {mount["name"] for mount in container.get("volumeMounts", [])}
            assert mounted <= volumes | claims
            paths = [mount["mountPath"] for mount in container.get("volumeMounts", [])]
            assert len(paths) == len(set(paths))


@pytest.mark.parametrize("switch", SWITCHES)
def test_every_pod_is_fit_for_the_restricted_standard(switch: str) -> None:
    for pod in all_pods(render(SWITCHES[switch])):
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
        assert pod["automountServiceAccountToken"] is False
        security = pod["securityContext"]
        assert security["runAsNonRoot"] is True
        assert security.get("runAsUser", 1) != 0
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        for volume in pod.get("volumes", []):
            allowed = {"configMap", "emptyDir", "persistentVolumeClaim", "secret", "image"}
            assert set(volume) - {"name"} <= allowed
        for container in [*pod["containers"], *pod.get("initContainers", [])]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert {"cpu", "memory"} <= container["resources"]["limits"].keys()


@pytest.mark.parametrize("seconds", [1, 30, 600, 3600])
def test_one_value_decides_how_long_a_pod_may_drain(seconds: int) -> None:
    objects = render({"drainSeconds": seconds, "preStopSeconds": 7, "autoscaling": {"kind": "hpa"}})
    container = server(objects)
    assert settings(objects).grace == seconds
    assert container["lifecycle"]["preStop"]["sleep"]["seconds"] == 7
    assert pod_of(objects)["terminationGracePeriodSeconds"] == 7 + seconds + 10
    (scaler,) = of_kind(objects, "HorizontalPodAutoscaler")
    (policy,) = scaler["spec"]["behavior"]["scaleDown"]["policies"]
    longest = 1800  # that the API takes
    assert policy["periodSeconds"] == min(pod_of(objects)["terminationGracePeriodSeconds"], longest), (
        "the next after the last"
    )


def test_probes_ask_the_port_that_has_neither_keys_nor_encryption() -> None:
    container = server(render(SWITCHES["certificates of both sides"] | {"probes": {"startupSeconds": 61}}))
    asked = {name: container[f"{name}Probe"]["httpGet"] for name in ("startup", "readiness", "liveness")}
    assert {name: each["path"] for name, each in asked.items()} == {
        "startup": "/readyz",
        "readiness": "/readyz",
        "liveness": "/livez",
    }
    assert {each["port"] for each in asked.values()} == {"ops"}
    startup = container["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] >= 61


def test_keys_and_certificates_are_where_the_server_looks_and_only_its_group_reads_them() -> None:
    values = SWITCHES["certificates of both sides"] | SWITCHES["keys in a secret"]
    objects = render(values)
    found = settings(objects)
    pod = pod_of(objects)
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    at = {mount["mountPath"]: mount["name"] for mount in server(objects)["volumeMounts"]}
    secrets = {path: volumes[name]["secret"] for path, name in at.items() if "secret" in volumes[name]}
    assert {path: secret["secretName"] for path, secret in secrets.items()} == {
        str(Path(found.api_keys).parent): "callers",
        str(Path(found.tls_certificate).parent): "altclip-certificate",
        str(Path(found.tls_client_ca).parent): "clients",
    }
    assert Path(found.api_keys).name == "lines"
    assert {secret["defaultMode"] for secret in secrets.values()} == {0o440}
    assert pod["securityContext"]["fsGroup"] == 10001


def test_lines_of_keys_become_a_secret() -> None:
    objects = render(SWITCHES["keys in the values"])
    (secret,) = of_kind(objects, "Secret")
    assert secret["stringData"] == {"keys.txt": KEY_LINE + "\n"}
    (volume,) = [volume for volume in pod_of(objects)["volumes"] if volume["name"] == "keys"]
    assert volume["secret"]["secretName"] == secret["metadata"]["name"]


def test_a_pod_with_devices_has_a_worker_on_each_and_an_image_for_them() -> None:
    objects = render(SWITCHES["devices"])
    container = server(objects)
    assert settings(objects).device == ("cuda:0", "cuda:1")
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "2"
    assert container["resources"]["limits"] == container["resources"]["requests"]
    assert container["image"] == f"altclip-server:{VERSION}-cuda"
    assert settings(render({"gpu": {"count": 1}, "settings": {"device": "auto"}})).device == ("auto",)


def test_services_find_the_pods_and_nothing_else() -> None:
    objects = render(SWITCHES["a bulk job"])
    (deployment,) = of_kind(objects, "Deployment")
    (job,) = of_kind(objects, "Job")
    (test,) = of_kind(objects, "Pod")
    served = deployment["spec"]["template"]["metadata"]["labels"]
    selectors = [service["spec"]["selector"] for service in of_kind(objects, "Service")]
    selectors.append(deployment["spec"]["selector"]["matchLabels"])
    selectors.append(of_kind(objects, "PodDisruptionBudget")[0]["spec"]["selector"]["matchLabels"])
    for selector in selectors:
        assert selector.items() <= served.items()
        for labels in (job["spec"]["template"]["metadata"]["labels"], test["metadata"]["labels"]):
            assert not selector.items() <= labels.items()


def test_the_headless_service_shows_every_pod_with_the_port_of_its_metrics() -> None:
    objects = render(SWITCHES["a service monitor"])
    (monitor,) = of_kind(objects, "ServiceMonitor")
    wanted = monitor["spec"]["selector"]["matchLabels"].items()
    # Another one would have each pod scraped twice.
    (headless,) = [
        each for each in of_kind(objects, "Service") if wanted <= each["metadata"]["labels"].items()
    ]
    assert headless["metadata"]["name"] == "altclip-headless"
    (endpoint,) = monitor["spec"]["endpoints"]
    assert endpoint["port"] in {port["name"] for port in headless["spec"]["ports"]}
    assert "annotations" not in of_kind(objects, "Deployment")[0]["spec"]["template"]["metadata"]


def test_only_the_service_for_metrics_has_the_pods_that_are_not_ready() -> None:
    objects = render({}, namespace="search")
    (metrics,) = [
        each for each in of_kind(objects, "Service") if each["spec"].get("publishNotReadyAddresses")
    ]
    assert [port["name"] for port in metrics["spec"]["ports"]] == ["ops"], "no caller is sent to them"
    configuration = yaml.safe_load((CHART.parents[1] / "prometheus" / "prometheus.yaml").read_text())
    (asked,) = [found for job in configuration["scrape_configs"] for found in job.get("dns_sd_configs", [])]
    about = metrics["metadata"]
    assert asked["names"] == [f"{about['name']}.{about['namespace']}.svc"]
    # Names lead to addresses alone: the port is that of the pods.
    (container,) = [each for each in pod_of(objects)["containers"] if each["name"] == "altclip"]
    assert asked["type"] == "A"
    assert {"name": "ops", "containerPort": asked["port"]} in container["ports"]


def test_routes_lead_to_ports_that_the_service_has() -> None:
    objects = render(SWITCHES["routes of a gateway"] | SWITCHES["ingresses"])
    (service,) = [each for each in of_kind(objects, "Service") if "clusterIP" not in each["spec"]]
    ports = {port["name"]: port["port"] for port in service["spec"]["ports"]}
    for kind, name in (("GRPCRoute", "grpc"), ("HTTPRoute", "http")):
        (route,) = of_kind(objects, kind)
        (backend,) = route["spec"]["rules"][0]["backendRefs"]
        assert (backend["name"], backend["port"]) == (service["metadata"]["name"], ports[name])
    for ingress in of_kind(objects, "Ingress"):
        backend = ingress["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]
        assert backend["name"] == service["metadata"]["name"]
        assert ingress["metadata"]["name"].endswith(backend["port"]["name"])
        assert backend["port"]["name"] in ports


def test_the_certificate_is_for_the_names_by_which_clients_call() -> None:
    objects = render(SWITCHES["a certificate of cert-manager"], namespace="search")
    (certificate,) = of_kind(objects, "Certificate")
    services = {
        each["metadata"]["name"]
        for each in of_kind(objects, "Service")
        if "grpc" in {port["name"] for port in each["spec"]["ports"]}
    }
    names = set(certificate["spec"]["dnsNames"])
    assert {f"{name}{rest}" for name in services for rest in ("", ".search", ".search.svc")} <= names
    assert "embed.example.com" in names
    (volume,) = [volume for volume in pod_of(objects)["volumes"] if volume["name"] == "tls"]
    assert volume["secret"]["secretName"] == certificate["spec"]["secretName"]


def test_a_network_policy_lets_in_callers_and_monitoring_and_lets_out_what_settings_need() -> None:
    (policy,) = of_kind(render(SWITCHES["a network policy"]), "NetworkPolicy")
    calls, scrapes = policy["spec"]["ingress"]
    assert [port["port"] for port in calls["ports"]] == ["grpc", "http"]
    assert {"namespaceSelector": {"matchLabels": {"team": "search"}}} in calls["from"]
    assert [port["port"] for port in scrapes["ports"]] == ["ops"]
    blocks = [
        peer["ipBlock"]["cidr"]
        for rule in policy["spec"]["egress"]
        for peer in rule.get("to", [])
        if "ipBlock" in peer
    ]
    assert blocks == ["0.0.0.0/0", "::/0"], "addresses of images lead anywhere"
    (closed,) = of_kind(render({"networkPolicy": {"enabled": True}}), "NetworkPolicy")
    (dns,) = closed["spec"]["egress"]
    assert {port["port"] for port in dns["ports"]} == {53}


def test_a_network_policy_lets_pods_reach_every_server_that_values_name() -> None:
    values = SWITCHES["a network policy and other servers"]

    def dialled(changed: dict[str, Any]) -> set[int]:
        (policy,) = of_kind(render(values | changed), "NetworkPolicy")
        _, *rules = policy["spec"]["egress"]
        return {port["port"] for rule in rules for port in rule["ports"]}

    # The hub's own files lie behind a mirror now and then.
    assert dialled({}) == {443, 8081, 80, 4317}
    assert dialled({"settings": {"trace-endpoint": "http://collector:4317"}}) == {443, 8081}
    assert dialled({"settings": {"tracing": True, "trace-endpoint": "https://[::1]"}, "hub": {}}) == {443}
    assert dialled({"settings": {}, "hub": {"endpoint": "http://mirror"}}) == {443, 80}


def test_a_release_of_any_name_has_names_that_kubernetes_takes() -> None:
    for name in ("altclip", "a", "x" * 53, "altclip-search-two"):
        objects = render(SWITCHES["additions"] | SWITCHES["ingresses"], name=name)
        for each in objects:
            assert re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", each["metadata"]["name"])


@pytest.mark.parametrize("name", ["42", "1.5", "true", "null"])
def test_a_release_whose_name_reads_like_a_number_has_labels_of_text(name: str) -> None:
    for each in render(SWITCHES["devices and bulk jobs"], name=name, namespace="42"):
        assert each["metadata"]["namespace"] == "42"
        assert each["metadata"]["labels"]["app.kubernetes.io/instance"] == name


def test_two_releases_of_one_namespace_share_nothing_and_are_told_apart_by_their_jobs() -> None:
    together = (
        *("additions", "keys in the values", "a certificate of cert-manager", "KEDA", "dashboards", "rules"),
        *("routes of a gateway", "ingresses", "a network policy"),
    )
    values = merged(*(SWITCHES[switch] for switch in together))
    one, two = (render(values, name=name) for name in ("search-one", "search-two"))
    names = [{(each["kind"], each["metadata"]["name"]) for each in objects} for objects in (one, two)]
    assert names[0] & names[1] == set()
    jobs = []
    for objects in (one, two):
        (monitor,) = of_kind(objects, "ServiceMonitor")
        wanted = monitor["spec"]["selector"]["matchLabels"]
        labels = [each["metadata"]["labels"] for each in of_kind(one + two, "Service")]
        jobs += [each[monitor["spec"]["jobLabel"]] for each in labels if wanted.items() <= each.items()]
    assert jobs == ["search-one", "search-two"]


def test_labels_annotations_and_the_account_are_those_of_every_pod() -> None:
    objects = render(SWITCHES["additions"])
    (account,) = of_kind(objects, "ServiceAccount")
    templates = pod_templates(objects)
    assert len(templates) == 6, "server, test, job, and three of Ray"
    for template in templates:
        assert template["metadata"]["labels"]["team"] == "search"
        assert template["metadata"]["annotations"]["example.com/owner"] == "search"
        assert template["spec"]["imagePullSecrets"] == [{"name": "registry"}]
        assert template["spec"]["serviceAccountName"] == account["metadata"]["name"]


def test_the_chart_has_the_version_of_the_package() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (VERSION, VERSION)
    assert server(render({}))["image"] == f"altclip-server:{VERSION}"
