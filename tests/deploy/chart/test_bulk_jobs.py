"""Bulk jobs and `helm test`: where their pods run, how they reach an encrypted service, their names."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from altclip import arguments
from tests.deploy.chart.rendering import Object, merged, of_kind, ray_pods, render
from tests.deploy.chart.switches import SWITCHES

PLACEMENT = ("nodeSelector", "tolerations", "affinity", "priorityClassName", "runtimeClassName")


def placed(pod: Object) -> dict[str, Any]:
    """Which of the placement values a pod has."""
    return {name: pod[name] for name in PLACEMENT if name in pod}


def job_pod(objects: list[Object]) -> Object:
    """The spec of the pod of the only Job."""
    (job,) = of_kind(objects, "Job")
    pod: Object = job["spec"]["template"]["spec"]
    return pod


def placements(values: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The placement of each kind of pod of a bulk job, and of the one that tests."""
    objects = render(values)
    (ray,) = of_kind(objects, "RayJob")
    pods = {name: template["spec"] for name, template in ray_pods(ray).items()}
    (test,) = of_kind(objects, "Pod")
    pods |= {"job": job_pod(objects), "test": test["spec"]}
    return {name: placed(pod) for name, pod in pods.items()}


def test_bulk_pods_run_where_they_are_told_and_those_with_devices_where_the_service_has_its_own() -> None:
    values = SWITCHES["devices and bulk jobs"]
    service = {name: values[name] for name in PLACEMENT if name in values}
    found = placements(values)
    assert found["test"] == service
    for name in ("job", "submitter", "head"):
        assert found[name] == values["bulk"]["placement"], name
    # Bulk work takes nobody's place.
    assert found["worker"] == {name: service[name] for name in service if name != "priorityClassName"}


def test_workers_of_ray_run_elsewhere_where_they_are_told_to_or_have_no_devices() -> None:
    values = SWITCHES["devices and bulk jobs"]
    batch = values["bulk"]["placement"]
    elsewhere = {"nodeSelector": {"accelerator": "b200"}, "runtimeClassName": "nvidia"}
    found = placements(merged(values, {"bulk": {"ray": {"workerPlacement": elsewhere}}}))
    assert (found["worker"], found["head"]) == (elsewhere, batch)
    assert placements(merged(values, {"bulk": {"ray": {"gpuCount": 0}}}))["worker"] == batch
    assert placements(merged(values, {"gpu": {"count": 0}}))["worker"] == batch, "the service has none"


def test_bulk_pods_run_anywhere_unless_they_are_told() -> None:
    values = merged(SWITCHES["devices and bulk jobs"], {"bulk": {"ray": {"gpuCount": 0}}})
    values["bulk"].pop("placement")
    found = placements(values)
    assert found.pop("test")
    assert set(map(str, found.values())) == {"{}"}


def clients(objects: list[Object]) -> list[tuple[Object, Object]]:
    """Every container that runs `altclip` against the service, each with its pod."""
    (test,) = of_kind(objects, "Pod")
    pods = [test["spec"], *(job["spec"]["template"]["spec"] for job in of_kind(objects, "Job"))]
    containers = [(each, pod) for pod in pods for each in pod["containers"] + pod.get("initContainers", [])]
    return [(each, pod) for each, pod in containers if each["command"][0] == "altclip"]


def read_from(path: Path, container: Object, pod: Object) -> tuple[str, str]:
    """The secret that holds a file of a container, and the key in it. KeyError where no volume has it."""
    names = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    secrets = {volume["name"]: volume["secret"] for volume in pod["volumes"] if "secret" in volume}
    secret = secrets[names[str(path.parent)]]
    keys = {item["path"]: item["key"] for item in secret["items"]} if "items" in secret else None
    return secret["secretName"], keys[path.name] if keys else path.name


def trust(values: dict[str, Any]) -> dict[str, set[Any]]:
    """Which secrets the clients of a release read; None where they trust the system's authorities."""
    objects = render(merged({"bulk": SWITCHES["a bulk job"]["bulk"]}, values))
    found: dict[str, set[Any]] = {"authority": set(), "certificate": set(), "key": set()}
    asked = clients(objects)
    assert len(asked) == 3
    for container, pod in asked:
        given = [*container["command"][1:], *container["args"]]
        parsed = arguments.parser().parse_args(arguments.words(given))
        assert parsed.tls or parsed.root_certificates
        for name, path in (
            ("authority", parsed.root_certificates),
            ("certificate", parsed.certificate),
            ("key", parsed.key),
        ):
            found[name].add(read_from(path, container, pod) if path else None)
    return found


def test_a_secret_without_an_authority_is_enough_for_tests_and_bulk_jobs() -> None:
    values = SWITCHES["a certificate"]
    assert trust(values) == {"authority": {None}, "certificate": {None}, "key": {None}}
    for _, pod in clients(render(merged(SWITCHES["a bulk job"], values))):
        assert not [volume for volume in pod["volumes"] if "secret" in volume]


def test_tests_and_bulk_jobs_trust_the_authority_and_show_the_certificates_that_they_are_given() -> None:
    assert trust(SWITCHES["certificates of both sides"]) == {
        "authority": {("authority", "ca.pem")},
        "certificate": {("test-client", "tls.crt"), ("bulk-client", "tls.crt")},
        "key": {("test-client", "tls.key"), ("bulk-client", "tls.key")},
    }


def test_tests_and_bulk_jobs_trust_the_authority_that_cert_manager_writes_beside_its_certificate() -> None:
    values = SWITCHES["a certificate of cert-manager"]
    (certificate,) = of_kind(render(values), "Certificate")
    assert trust(values)["authority"] == {(certificate["spec"]["secretName"], "ca.crt")}


@pytest.mark.parametrize("switch", ["a certificate", "certificates of both sides"])
def test_the_question_over_http_trusts_whom_the_others_trust(switch: str) -> None:
    (test,) = of_kind(render(SWITCHES[switch]), "Pod")
    (asking,) = [each for each in test["spec"]["containers"] if each["name"] == "http"]
    (program,) = asking["args"]
    compile(program, "http", "exec")
    named = {Path(path) for path in re.findall(r'"(/secrets/[^"]+)"', program)}
    secrets = {read_from(path, asking, test["spec"])[0] for path in named}
    assert secrets == (set() if switch == "a certificate" else {"authority", "test-client"})


def names(kind: str, *changed: dict[str, Any], release: str = "altclip") -> list[str]:
    """What the only job of a kind is called after each of these changes."""
    values = SWITCHES["devices and bulk jobs"]
    found = [of_kind(render(merged(values, each), name=release), kind) for each in changed]
    assert all(len(each) == 1 for each in found)
    return [each[0]["metadata"]["name"] for each in found]


@pytest.mark.parametrize(("kind", "key"), [("Job", "jobs"), ("RayJob", "rayJobs")])
def test_a_job_that_changes_is_a_new_one_and_what_does_not_change_keeps_its_name(kind: str, key: str) -> None:
    job = SWITCHES["devices and bulk jobs"]["bulk"][key][0]
    image = {"bulk": {"image": {"tag": "next"}, "ray": {"image": {"tag": "next"}}}}
    changes: list[dict[str, Any]] = [
        *({}, image, {"commonLabels": {"team": "search"}}, {"podSecurityContext": {"runAsUser": 7}}),
        *({"bulk": {key: [job | {"args": ["--text", "title"]}]}}, {"bulk": {"backoffLimit": 3}}),
    ]
    found = names(kind, *changes)
    differing = len(changes) if kind == "Job" else len(changes) - 1  # KubeRay takes another limit
    assert len(set(found)) == differing
    assert all(re.fullmatch(r"altclip-(bulk|ray)-captions-[0-9a-f]{8}", each) for each in found)
    kept = names(kind, {}, {"replicas": 5}, {"bulk": {"ttlSecondsAfterFinished": 60}}, {"drainSeconds": 60})
    assert set(kept) == {found[0]}


def test_more_pods_at_a_time_are_the_same_job() -> None:
    job = SWITCHES["a bulk job by index"]["bulk"]["jobs"][0]
    found = names("Job", *({"bulk": {"jobs": [job | {"parallelism": number}]}} for number in (4, 8)))
    assert len(set(found)) == 1


@pytest.mark.parametrize(("kind", "key", "most"), [("Job", "jobs", 57), ("RayJob", "rayJobs", 47)])
@pytest.mark.parametrize("release", ["a", "x" * 53, "long-names-are-cut-where-a-word-ends-search"])
def test_names_of_jobs_leave_room_for_what_is_added_to_them(
    kind: str, key: str, most: int, release: str
) -> None:
    job = SWITCHES["devices and bulk jobs"]["bulk"][key][0] | {"name": "n" * 20}
    (found,) = names(kind, {"bulk": {key: [job]}}, release=release)
    assert len(found) <= most
    assert re.fullmatch(r"[a-z]([a-z0-9-]*[a-z0-9])?", found)
    assert "n" * 20 in found
