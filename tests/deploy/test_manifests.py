"""The container's and the cluster's files are valid, and say the same as the service they start."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from altclip.version import VERSION
from service.config.command_line import load

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
KUBERNETES = "1.32"
BASE = [path for path in sorted((DEPLOY / "kubernetes/base").glob("*.yaml")) if path.stem != "kustomization"]


def documents(text: str) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all(text) if document]


def base(kind: str) -> dict[str, Any]:
    """The one object of this kind in the base."""
    (found,) = [
        document for path in BASE for document in documents(path.read_text()) if document["kind"] == kind
    ]
    return found


def rendered(overlay: str) -> list[dict[str, Any]]:
    """What kubectl makes of a folder of kustomizations."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not installed")
    done = subprocess.run(
        [kubectl, "kustomize", str(DEPLOY / "kubernetes" / overlay)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return documents(done.stdout)


def server_arguments(deployment: dict[str, Any]) -> list[str]:
    return list(deployment["spec"]["template"]["spec"]["containers"][0]["args"])


def server_environment(deployment: dict[str, Any]) -> dict[str, str]:
    variables = deployment["spec"]["template"]["spec"]["containers"][0].get("env", [])
    return {variable["name"]: variable["value"] for variable in variables if "value" in variable}


@pytest.mark.parametrize("path", BASE, ids=lambda path: path.stem)
def test_a_manifest_holds_to_the_schema_of_kubernetes(path: Path) -> None:
    for document in documents(path.read_text()):
        kubernetes_validate.validate(document, KUBERNETES, strict=True)


@pytest.mark.parametrize("overlay", ["base", "altclip-m9", "cuda", "secured"])
def test_a_rendered_overlay_holds_to_the_schema_and_its_arguments_are_the_servers(overlay: str) -> None:
    objects = rendered(overlay)
    for document in objects:
        kubernetes_validate.validate(document, KUBERNETES, strict=True)
    (deployment,) = [document for document in objects if document["kind"] == "Deployment"]
    load(server_arguments(deployment), server_environment(deployment))


def test_a_pod_on_a_device_asks_for_it_and_will_not_serve_without() -> None:
    (deployment,) = [document for document in rendered("cuda") if document["kind"] == "Deployment"]
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert load(server_arguments(deployment), {}).device == ("cuda:0",)
    kept = server_arguments(next(o for o in rendered("altclip-m9") if o["kind"] == "Deployment"))
    assert set(kept) < set(server_arguments(deployment)), (
        "an overlay's arguments take the place of those below"
    )


def test_the_secured_service_gets_the_files_that_are_mounted_and_is_asked_where_no_tls_is() -> None:
    (deployment,) = [document for document in rendered("secured") if document["kind"] == "Deployment"]
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    settings = load(server_arguments(deployment), server_environment(deployment))
    mounted = {mount["mountPath"] for mount in container["volumeMounts"]}
    for path in (settings.api_keys, settings.tls_certificate, settings.tls_key):
        assert str(Path(path).parent) in mounted
    assert [name for name in container if name.endswith("Probe") and "grpc" in container[name]] == []
    volumes = {volume["name"]: volume.get("secret", {}).get("defaultMode") for volume in pod["volumes"]}
    assert volumes["keys"] == volumes["tls"] == 0o440, "the service's group, and nobody else"


def test_the_pod_may_take_as_long_to_end_as_the_service_asks_for() -> None:
    pod = base("Deployment")["spec"]["template"]["spec"]
    settings = load(server_arguments(base("Deployment")), {})
    pre_stop = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod["terminationGracePeriodSeconds"] > pre_stop + settings.grace


def test_ports_are_those_the_service_listens_on() -> None:
    (container,) = base("Deployment")["spec"]["template"]["spec"]["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    settings = load([], {})
    listening = {
        "grpc": settings.grpc_address,
        "ops": settings.ops_address,
    }
    assert {name: f"0.0.0.0:{port}" for name, port in ports.items()} == listening
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    exposed = re.search(r"^EXPOSE (.*)$", dockerfile, re.MULTILINE)
    assert exposed
    assert set(exposed[1].split()) >= {str(port) for port in ports.values()}


def test_the_pod_runs_without_privileges() -> None:
    pod = base("Deployment")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_the_image_bears_the_version_of_the_package() -> None:
    (container,) = base("Deployment")["spec"]["template"]["spec"]["containers"]
    assert container["image"] == f"altclip-server:{VERSION}"


def test_hadolint_accepts_the_dockerfile() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run(
        [str(hadolint), str(DEPLOY / "Dockerfile")], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_what_the_dockerfile_copies_reaches_the_build() -> None:
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    copied = {
        source.split("/")[0]
        for line in re.findall(r"^COPY (?!--from)(.*)$", dockerfile, re.MULTILINE)
        for source in line.split()[:-1]
    }
    let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert copied == let_in
