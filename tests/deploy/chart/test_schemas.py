"""Every object of every switch holds to the schemas of Kubernetes, or to the types of its operator."""

from __future__ import annotations

import functools
import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.deploy.chart import operator_types
from tests.deploy.chart.rendering import (
    CHART,
    NEWEST,
    OLDEST,
    Object,
    documents,
    helm,
    manifests,
    of_kind,
    ray_pods,
    render,
)
from tests.deploy.chart.switches import IMAGE_VOLUMES, SWITCHES

VERSIONS = [f"1.{minor}" for minor in range(int(OLDEST.split(".")[1]), int(NEWEST.split(".")[1]) + 1)]


def is_kubernetes_own(document: Object) -> bool:
    """Whether Kubernetes itself has this kind, and so a schema."""
    group = document["apiVersion"].rpartition("/")[0]
    return "." not in group or group in ("networking.k8s.io", "rbac.authorization.k8s.io")


@pytest.mark.parametrize(("switch", "version"), list(itertools.product(SWITCHES, [OLDEST, NEWEST])))
def test_objects_hold_to_the_schemas_of_the_oldest_and_the_newest_kubernetes(
    switch: str, version: str
) -> None:
    if switch == "weights in an image":
        version = max(version, IMAGE_VOLUMES)
    for document in render(SWITCHES[switch], kubernetes=version):
        if is_kubernetes_own(document):
            validate(json.dumps(document, sort_keys=True), version)


@functools.cache
def validate(document: str, version: str) -> None:
    """Raises where Kubernetes would not take it. Equal objects of several switches are looked at once."""
    kubernetes_validate.validate(json.loads(document), version, strict=True)


def test_every_version_between_is_known_and_no_newer_one() -> None:
    for version in VERSIONS:
        for document in of_kind(render({}, kubernetes=version), "Deployment"):
            validate(json.dumps(document, sort_keys=True), version)
    known = Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema"
    newest = max(int(path.name.split(".")[1]) for path in known.glob("v1.*"))
    assert f"1.{newest}" == NEWEST


@pytest.mark.parametrize("switch", SWITCHES)
def test_objects_of_operators_have_the_fields_and_types_of_their_definitions(switch: str) -> None:
    for document in render(SWITCHES[switch]):
        if document["apiVersion"] in operator_types.PACKAGES:
            assert operator_types.faults(document) == []


def test_a_wrong_field_of_an_operators_object_is_found() -> None:
    (scaler,) = [each for each in render(SWITCHES["KEDA"]) if each["kind"] == "ScaledObject"]
    spec = scaler["spec"]
    spec["fallback"]["behaviour"] = "static"
    spec["fallback"]["behavior"] = "sometimes"
    spec["maxReplicaCount"] = "ten"
    del spec["triggers"][0]["type"]
    assert [fault.split(" ")[0] for fault in operator_types.faults(scaler)] == [
        "ScaledObject.spec.fallback.behavior",
        "ScaledObject.spec.fallback.behaviour",
        "ScaledObject.spec.maxReplicaCount",
        "ScaledObject.spec.triggers[0].type",
    ]


# What KubeRay documents of a RayJob; there are no published types of it that could be installed.
_RAY_JOB = {
    "entrypoint", "runtimeEnvYAML", "jobId", "metadata", "rayClusterSpec", "clusterSelector",
    "submissionMode",
    "shutdownAfterJobFinishes", "ttlSecondsAfterFinished", "activeDeadlineSeconds", "backoffLimit", "suspend",
    "submitterPodTemplate", "submitterConfig", "entrypointNumCpus", "entrypointNumGpus",
    "entrypointResources",
    "deletionStrategy", "managedBy",
}  # fmt: skip
_GROUP = {
    "groupName", "replicas", "minReplicas", "maxReplicas", "idleTimeoutSeconds", "suspend", "numOfHosts",
    "rayStartParams", "resources", "labels", "template", "scaleStrategy", "serviceType", "headService",
    "enableIngress",
}  # fmt: skip


def test_a_ray_job_has_the_fields_that_kuberay_documents_and_pods_that_kubernetes_takes() -> None:
    (job,) = [each for each in render(SWITCHES["a bulk job on Ray"]) if each["kind"] == "RayJob"]
    assert job["apiVersion"] == "ray.io/v1"
    assert job["spec"].keys() <= _RAY_JOB
    cluster = job["spec"]["rayClusterSpec"]
    for group in [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]:
        assert group.keys() <= _GROUP
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
    for template in ray_pods(job).values():
        pod = {"apiVersion": "v1", "kind": "Pod", **template}
        kubernetes_validate.validate(pod, NEWEST, strict=True)


@pytest.mark.parametrize("switch", SWITCHES)
def test_helm_lints_every_switch(switch: str) -> None:
    report = helm().lint(CHART, SWITCHES[switch], strict=True, kube_version=f"v{NEWEST}.0")
    assert report["errors"] == []
    assert [each for each in report["messages"] if each["severity"] > 1] == []


def test_helm_finds_a_chart_that_is_wrong(tmp_path: Path) -> None:
    broken = Path(shutil.copytree(CHART, tmp_path / "altclip"))
    with (broken / "templates" / "service.yaml").open("a") as file:
        file.write("\n  - {{ .Values.nothing.at.all }}\n")
    report = helm().lint(broken, {}, strict=True)
    assert any(each["severity"] > 1 for each in report["messages"])


@pytest.mark.parametrize("switch", SWITCHES)
def test_what_is_rendered_says_nothing_twice(switch: str) -> None:
    """YAML takes the last of two equal keys, and Kubernetes the last of two equal objects."""
    seen: set[tuple[str, str]] = set()
    for path, text in manifests(SWITCHES[switch]).items():
        if path.endswith(".yaml"):
            for _ in yaml.load_all(text, UniqueKeys):
                pass
            for each in documents(text):
                name = (each["kind"], each["metadata"]["name"])
                assert name not in seen
                seen.add(name)


class UniqueKeys(yaml.SafeLoader):
    """Refuses a mapping with two equal keys."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """yaml's hook."""
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        assert len(keys) == len(set(map(str, keys))), f"a key stands twice: {keys}"
        return super().construct_mapping(node, deep)
