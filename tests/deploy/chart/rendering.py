"""Renders the Helm chart with Helm itself, for the tests of this folder.

objects = render({"replicas": 3})
(deployment,) = of_kind(objects, "Deployment")
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import yaml

from tests.overlays import imported

ROOT = Path(__file__).parents[3]
CHART = ROOT / "deploy" / "helm" / "altclip"
OLDEST, NEWEST = "1.31", "1.37"
"""Versions of Kubernetes that the chart is for; the newest is the newest whose schemas there are."""

Object = dict[str, Any]


class RefusedError(Exception):
    """Helm, or the chart, refused the values."""


def helm() -> Any:
    """Helm's own library. Skips where it is not installed."""
    return imported("helm", "helm_python")


def render(
    values: dict[str, Any], *, kubernetes: str = NEWEST, name: str = "altclip", namespace: str = "default"
) -> list[Object]:
    """Every object that the chart makes of these values, tests and bulk jobs among them."""
    return objects_of(manifests(values, kubernetes, name, namespace))


def manifests(
    values: dict[str, Any], kubernetes: str = NEWEST, name: str = "altclip", namespace: str = "default"
) -> dict[str, str]:
    """Name of a template → what Helm makes of it. Raises RefusedError. Skips where Helm is not installed."""
    made: dict[str, str] = json.loads(_rendered(json.dumps(values), kubernetes, name, namespace))
    return {path: text for path, text in made.items() if text.strip()}


@functools.cache
def _rendered(values: str, kubernetes: str, name: str, namespace: str) -> str:
    """JSON of and for Helm. What several tests look at is rendered once."""
    options = {"name": name, "namespace": namespace, "is_install": True, "kube_version": f"v{kubernetes}.0"}
    with helm().Chart.load(CHART) as chart:
        try:
            chart.validate_schema(json.loads(values))
            # The public method has no argument for the version of Kubernetes.
            rendered: str = helm()._native.call_string(
                "helm_render", chart._raw(), values, json.dumps(options)
            )
        except (helm().HelmRenderError, helm().HelmValuesError) as error:
            raise RefusedError(str(error)) from error
    return rendered


def merged(*layers: dict[str, Any]) -> dict[str, Any]:
    """As Helm lays files of values over each other."""
    found: dict[str, Any] = {}
    for layer in layers:
        for name, value in layer.items():
            both = isinstance(value, dict) and isinstance(found.get(name), dict)
            found[name] = merged(found[name], value) if both else value
    return found


def objects_of(made: dict[str, str]) -> list[Object]:
    """Those of all templates, without what is text for people."""
    return [each for path, text in made.items() if path.endswith(".yaml") for each in documents(text)]


def documents(text: str) -> list[Object]:
    """The objects of a rendered template."""
    return [each for each in yaml.load_all(text, yaml.CSafeLoader) if isinstance(each, dict)]


def of_kind(objects: list[Object], kind: str) -> list[Object]:
    """Those of one kind."""
    return [each for each in objects if each["kind"] == kind]


def pod_of(objects: list[Object]) -> Object:
    """The spec of the pod that serves."""
    (workload,) = of_kind(objects, "Deployment") + of_kind(objects, "StatefulSet")
    pod: Object = workload["spec"]["template"]["spec"]
    return pod


def all_pods(objects: list[Object]) -> list[Object]:
    """The spec of every pod, also of those that Jobs and Ray clusters make."""
    return [template["spec"] for template in pod_templates(objects)]


def pod_templates(objects: list[Object]) -> list[Object]:
    """Metadata and spec of every pod, also of those that Jobs and Ray clusters make."""
    found: list[Object] = []
    for each in objects:
        spec = each.get("spec", {})
        if each["kind"] == "Pod":
            found.append(each)
        elif each["kind"] == "RayJob":
            found += ray_pods(each).values()
        elif "template" in spec:
            found.append(spec["template"])
    return found


def ray_pods(job: Object) -> dict[str, Object]:
    """The templates of a RayJob's pods: submitter, head, worker."""
    cluster = job["spec"]["rayClusterSpec"]
    (workers,) = cluster["workerGroupSpecs"]
    return {
        "submitter": job["spec"]["submitterPodTemplate"],
        "head": cluster["headGroupSpec"]["template"],
        "worker": workers["template"],
    }


def server(objects: list[Object]) -> Object:
    """The container that serves."""
    container: Object
    (container,) = [each for each in pod_of(objects)["containers"] if each["name"] == "altclip"]
    return container
