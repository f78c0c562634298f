"""What an upgrade changes about a release that runs. Helm asks a server of this process, which answers as the
API of Kubernetes does."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import yaml

from tests.deploy.chart.rendering import CHART, helm, objects_of, of_kind

PLURALS = {"Deployment": "deployments", "StatefulSet": "statefulsets"}


@contextlib.contextmanager
def cluster(kind: str, replicas: int) -> Iterator[Any]:
    """Helm's configuration for a cluster in which `altclip` runs in the namespace `search`."""
    resources = [
        {"name": plural, "singularName": each.lower(), "namespaced": True, "kind": each, "verbs": ["get"]}
        for each, plural in PLURALS.items()
    ]
    answers: dict[str, dict[str, Any]] = {
        "/apis/apps/v1": {
            "apiVersion": "v1",
            "kind": "APIResourceList",
            "groupVersion": "apps/v1",
            "resources": resources,
        },
        f"/apis/apps/v1/namespaces/search/{PLURALS[kind]}/altclip": {
            "apiVersion": "apps/v1",
            "kind": kind,
            "metadata": {"name": "altclip", "namespace": "search"},
            "spec": {"replicas": replicas},
        },
    }
    missing = {"apiVersion": "v1", "kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = answers.get(self.path.partition("?")[0])
            body = json.dumps(found or missing).encode()
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing is printed."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    known = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "a", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}],
        "users": [{"name": "a", "user": {}}],
        "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a", "namespace": "search"}}],
        "current-context": "a",
    }
    try:
        with helm().Config(kubeconfig_content=yaml.safe_dump(known), namespace="search") as config:
            yield config
    finally:
        server.shutdown()
        server.server_close()


def replicas_of(config: Any, values: dict[str, Any], name: str = "altclip") -> int | None:
    """How many pods the workload asks for after an upgrade to these values; None where it does not say."""
    with helm().Chart.load(CHART) as chart:
        made = config.render(chart, values, name=name, namespace="search", is_upgrade=True)
    objects = objects_of(made)
    (workload,) = of_kind(objects, "Deployment") + of_kind(objects, "StatefulSet")
    found: int | None = workload["spec"].get("replicas")
    return found


@pytest.mark.parametrize("kind", PLURALS)
@pytest.mark.parametrize("scaler", ["hpa", "keda"])
def test_an_autoscaler_that_is_turned_on_begins_with_the_pods_that_are_there(kind: str, scaler: str) -> None:
    values = {"kind": kind, "autoscaling": {"kind": scaler, "keda": {"query": "up"}}}
    with cluster(kind, replicas=7) as config:
        assert replicas_of(config, values) == 7
        assert replicas_of(config, values, name="altclip-new") is None


def test_without_an_autoscaler_there_are_as_many_pods_as_the_values_say() -> None:
    with cluster("Deployment", replicas=7) as config:
        assert replicas_of(config, {"replicas": 3}) == 3


def test_what_is_scaled_to_nothing_stays_so() -> None:
    with cluster("Deployment", replicas=0) as config:
        assert replicas_of(config, {"autoscaling": {"kind": "hpa"}}) == 0
