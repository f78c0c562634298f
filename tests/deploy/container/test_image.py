"""The image as a cluster runs it: read-only, without capabilities, as a stranger, with little memory."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import yaml

from altclip import Client, Unavailable
from altclip.version import VERSION
from tests.deploy.chart.rendering import of_kind, render
from tests.deploy.container import images
from tests.server import until

pytestmark = [pytest.mark.deploy, pytest.mark.timeout(1800)]

MEMORY = 1536 << 20
LARGEST = 1500 * 1000 * 1000
"""Bytes: what the image for CPUs may have."""


@pytest.fixture(scope="module")
def image() -> str:
    return images.built("server")


@pytest.fixture(scope="module")
def container(image: str) -> Iterator[images.Container]:
    """Started once; the last test stops it."""
    flags = (*images.HARDENED, f"--memory={MEMORY}", "--cpus=2", "--tmpfs=/tmp:size=256m", "--shm-size=64k")
    with images.running(image, *flags, arguments=("--max-image-pixels=25000000",)) as started:
        started.logs.wait_for("ready", seconds=180)
        yield started


def get(address: str) -> str:
    with urllib.request.urlopen(f"http://{address}", timeout=30) as response:
        text: str = response.read().decode()
        return text


def test_the_image_is_small_and_says_of_what_it_consists(
    image: str, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = images.layers(image)
    with capsys.disabled():
        print("\nlayers of the image:")
        for size, step in sizes:
            print(f"  {size / 1e6:8.1f} MB  {step[:90]}")
    assert sum(size for size, _ in sizes) <= LARGEST


def test_the_image_tells_what_it_is(image: str) -> None:
    (found,) = json.loads(images.podman("image", "inspect", image))
    labels = found["Config"]["Labels"]
    assert labels["org.opencontainers.image.title"] == "altclip-server"
    assert labels["org.opencontainers.image.version"] == VERSION
    assert len(labels["org.opencontainers.image.revision"]) == 40
    assert found["Config"]["User"] == "10001:10001"


def run(image: str, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """What a program of the image does, in a hardened container."""
    command = ["podman", "run", "--rm", *images.HARDENED, "--entrypoint", program, image, *arguments]
    return subprocess.run(
        command, env=images.environment(), capture_output=True, text=True, timeout=120, check=False
    )


def test_the_image_has_a_list_of_all_that_is_installed_in_it(image: str) -> None:
    listed = run(image, "python3", "-c", "print(open('/usr/share/altclip/sbom.cdx.json').read())")
    components = {each["name"]: each.get("version") for each in json.loads(listed.stdout)["components"]}
    assert components["altclip"] == VERSION
    assert {"torch", "grpcio", "transformers"} <= components.keys()
    assert not [name for name in components if name.startswith("nvidia") or name in ("triton", "pip")]


@pytest.mark.parametrize(
    "program", ["sh", "bash", "apt-get", "dpkg", "pip", "gcc", "curl", "perl", "tar", "ls"]
)
def test_the_image_has_no_shell_no_package_manager_and_no_compiler(image: str, program: str) -> None:
    done = run(image, program)
    assert done.returncode != 0
    assert "not found" in done.stderr


def test_the_image_answers_over_grpc_and_http(container: images.Container) -> None:
    with Client(container.grpc) as client:
        client.wait_until_ready(timeout=60)
        rows = client.embed_text(["a black cat", "кошка"]).vectors
        assert rows.shape[0] == 2
        assert (
            len(
                client.classify(
                    [images.ROOT / "docs/images/playground-desktop.png"], labels=["a", "b"]
                ).results
            )
            == 1
        )
    body = json.dumps({"input": ["a black cat"], "encoding_format": "float"}).encode()
    request = urllib.request.Request(
        f"http://{container.http}/v1/embeddings", data=body, headers={"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as response:
        (found,) = json.load(response)["data"]
    assert found["embedding"] == pytest.approx([float(number) for number in rows[0]], abs=1e-4)


def test_the_image_tells_its_health_and_metrics(container: images.Container) -> None:
    assert json.loads(get(f"{container.ops}/livez")) == {"alive": True}
    assert json.loads(get(f"{container.ops}/readyz"))["ready"] is True
    assert "\naltclip_worker_up{" in get(f"{container.ops}/metrics")


def test_the_image_runs_as_whoever_the_platform_says_and_can_write_nowhere(
    container: images.Container,
) -> None:
    assert container.inspect("{{.HostConfig.ReadonlyRootfs}} {{.HostConfig.ShmSize}}") == "true 65536"
    status = images.podman("exec", container.name, "python3", "-c", "print(open('/proc/1/status').read())")
    fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    assert fields["Uid"].split() == ["54321"] * 4
    assert {int(fields[name], 16) for name in ("CapEff", "CapPrm", "CapBnd")} == {0}
    for folder in ("/", "/opt/altclip", "/models", "/usr"):
        code = f"open('{folder}/written', 'w')"
        with pytest.raises(AssertionError, match=r"Read-only file system|Permission denied"):
            images.podman("exec", container.name, "python3", "-c", code)


def test_what_helm_test_runs_in_the_image_finds_a_service_that_answers(
    image: str, container: images.Container
) -> None:
    """Its containers, one after the other; the name of the service leads to the container that runs here."""
    ports = {name: int(getattr(container, name).rpartition(":")[2]) for name in ("grpc", "http")}
    values = {"image": image_values(image), "service": {f"{name}Port": port for name, port in ports.items()}}
    (pod,) = [each for each in of_kind(render(values), "Pod") if "test" in each["metadata"]["name"]]
    for each in [*pod["spec"]["initContainers"], *pod["spec"]["containers"]]:
        entry, *words = map(str, each["command"] + each["args"])
        environment = [f"--env={variable['name']}={variable['value']}" for variable in each["env"]]
        command = [*images.HARDENED, "--network=host", "--add-host=altclip:127.0.0.1", *environment]
        told = images.podman("run", "--rm", *command, f"--entrypoint={entry}", image, *words)
        assert {"health": "SERVING", "grpc": "hello", "http": '"bundled"'}[each["name"]] in told


def test_the_image_loses_no_call_when_it_is_stopped(container: images.Container) -> None:
    texts = [f"text number {number}" for number in range(64)]

    def calls() -> int:
        done = 0
        with Client(container.grpc) as client:
            while True:
                try:
                    client.embed_text(texts, timeout=20)
                except Unavailable:  # the only error that a stopping server may give
                    return done
                done += 1

    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(calls) for _ in range(4)]
        counted = 'altclip_requests_total{code="OK",method="EmbedText"}'
        before = metric(container, counted)
        until(lambda: metric(container, counted) > before + 8, seconds=60, what="calls are answered")
        began = time.monotonic()
        status = container.stop()
        with_answers = [future.result(60) for future in asked]
    assert status == 0, container.logs.tail()
    assert sum(with_answers) > 8
    container.logs.wait_for("stopped", seconds=10)
    print(f"\nstopped within {time.monotonic() - began:.1f} s")


def metric(container: images.Container, series: str) -> float:
    for line in get(f"{container.ops}/metrics").splitlines():
        if line.startswith(series):
            return float(line.rpartition(" ")[2])
    return 0.0


def test_the_pod_of_the_chart_runs_the_image(image: str) -> None:
    """podman takes the pod as Kubernetes would; what it does not know of is left out and named here."""
    (workload,) = of_kind(
        render({"image": image_values(image), "monitoring": {"podAnnotations": False}}), "Deployment"
    )
    template = workload["spec"]["template"]
    for name in ("topologySpreadConstraints", "serviceAccountName"):
        template["spec"].pop(name)  # there is one node, and there are no accounts
    (server,) = template["spec"]["containers"]
    for name in ("startupProbe", "readinessProbe", "livenessProbe", "lifecycle"):
        server.pop(name)  # podman runs these as commands in the container, with curl
    for port, outside in zip(server["ports"], ports := images.free_ports(3), strict=True):
        port["hostPort"] = outside
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "altclip-chart", **template["metadata"]}}
    text = yaml.safe_dump(pod | {"spec": template["spec"]})
    with images.played(text):
        _, _, ops = ports
        until(lambda: ready(f"127.0.0.1:{ops}/readyz"), seconds=180, what="the pod is ready", interval=0.5)
        with Client(f"127.0.0.1:{ports[0]}") as client:
            assert client.embed_text(["a"]).vectors.shape[0] == 1
            assert client.list_models()


def ready(address: str) -> bool:
    try:
        return bool(json.loads(get(address))["ready"])
    except OSError:
        return False


def image_values(image: str) -> dict[str, str]:
    repository, _, tag = image.rpartition(":")
    return {"repository": repository, "tag": tag, "pullPolicy": "Never"}
