"""The compose file starts the service as its settings want it, beside what watches it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from altclip import Client
from altclip.version import VERSION
from service.config.command_line import load
from tests.deploy.container import images
from tests.deploy.tools import promtool, tool
from tests.overlays import overlay
from tests.server import until

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "deploy" / "compose"


def compose(file: Path, *arguments: str, seconds: float = 60) -> str:
    """What podman-compose prints; it must succeed."""
    images.tool("podman")  # asked for its version first, whatever is to be done
    done = subprocess.run(
        [sys.executable, "-m", "podman_compose", "-f", file, *arguments],
        env={**images.environment(), **overlay("helm")},
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def services() -> dict[str, Any]:
    """What podman-compose makes of the file, with its defaults filled in."""
    found: dict[str, Any] = yaml.safe_load(compose(FOLDER / "compose.yaml", "config"))["services"]
    return found


def test_the_service_is_started_with_options_that_it_has_and_time_to_drain() -> None:
    service = services()["altclip"]
    settings = load(service["command"], {})
    assert service["image"] == f"altclip-server:{VERSION}"
    assert float(service["stop_grace_period"].removesuffix("s")) > settings.grace
    inside = {port.split(":")[-1] for port in service["ports"]}
    assert inside == {
        address.rpartition(":")[2]
        for address in (settings.grpc_address, settings.http_address, settings.ops_address)
    }
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]


@pytest.mark.deploy
@pytest.mark.timeout(1800)
def test_the_service_of_the_file_runs_with_podman(tmp_path: Path) -> None:
    """Alone, under another name and on free ports: the images of what watches it need a registry."""
    image = images.built("server")
    written = yaml.safe_load((FOLDER / "compose.yaml").read_text())
    service = written["services"]["altclip"]
    inside = [port.rpartition(":")[2] for port in service["ports"]]
    outside = dict(zip(inside, images.free_ports(len(inside)), strict=True))
    service |= {"image": image, "ports": [f"127.0.0.1:{outside[port]}:{port}" for port in inside]}
    name = f"altclip-compose-{outside['9464']}"
    file = tmp_path / "compose.yaml"
    file.write_text(
        yaml.safe_dump({"name": name, "services": {"altclip": service}, "volumes": {"models": {}}})
    )
    try:
        compose(file, "up", "--detach", seconds=120)
        with Client(f"127.0.0.1:{outside['50051']}") as client:
            client.wait_until_ready(timeout=180)
            assert client.embed_text(["a"]).vectors.shape[0] == 1
        check = [images.tool("podman"), "healthcheck", "run", f"{name}_altclip_1"]

        def healthy() -> bool:
            environment = images.environment()
            done = subprocess.run(check, env=environment, capture_output=True, timeout=60, check=False)
            return done.returncode == 0

        until(healthy, seconds=60, what="the health check of the file finds it ready", interval=0.5)
    finally:
        compose(file, "down", "--volumes", seconds=120)


def test_only_this_machine_reaches_the_ports() -> None:
    for name, service in services().items():
        for port in service["ports"]:
            assert port.startswith("127.0.0.1:"), f"{name}: {port}"


def test_every_file_that_is_mounted_exists() -> None:
    written = yaml.safe_load((FOLDER / "compose.yaml").read_text())
    mounts = [mount for service in written["services"].values() for mount in service.get("volumes", [])]
    sources = [mount.split(":")[0] for mount in mounts]
    assert {source for source in sources if source.startswith(".")}
    for source in sources:
        exists = (FOLDER / source).exists() if source.startswith(".") else source in written["volumes"]
        assert exists, source


def test_prometheus_takes_its_configuration_with_the_rules_of_the_chart(tmp_path: Path) -> None:
    mounted = "/etc/prometheus/rules"
    text = (FOLDER / "prometheus.yaml").read_text()
    assert mounted in text
    (tmp_path / "prometheus.yaml").write_text(
        text.replace(mounted, str(ROOT / "deploy" / "helm" / "altclip" / "files"))
    )
    done = promtool("check", "config", "--lint-fatal", str(tmp_path / "prometheus.yaml"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SUCCESS: 3 rule files found" in done.stdout
    jobs = [each["job_name"] for each in yaml.safe_load(text)["scrape_configs"]]
    assert jobs == ["altclip"], "what the alert on missing targets looks for"


def test_alertmanager_takes_its_configuration() -> None:
    done = subprocess.run(
        [tool("amtool"), "check-config", FOLDER / "alertmanager.yaml"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_grafana_finds_its_datasource_and_the_folder_of_dashboards() -> None:
    (source,) = yaml.safe_load((FOLDER / "grafana" / "datasource.yaml").read_text())["datasources"]
    (provider,) = yaml.safe_load((FOLDER / "grafana" / "dashboards.yaml").read_text())["providers"]
    written = yaml.safe_load((FOLDER / "compose.yaml").read_text())["services"]
    assert source["url"] == "http://prometheus:9090"
    assert written["prometheus"]["ports"] == ["127.0.0.1:9090:9090"]
    mounted = {mount.split(":")[1]: mount.split(":")[0] for mount in written["grafana"]["volumes"]}
    folder = FOLDER / mounted[provider["options"]["path"]]
    assert list(folder.glob("*.json"))
