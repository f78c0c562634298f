"""Prometheus and its own tool accept the scrape configuration and what the running service answers."""

from __future__ import annotations

import json
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import yaml

from altclip.v1.embedding_service_pb2 import EmbedTextRequest
from altclip.v1.embedding_service_pb2_grpc import EmbeddingServiceStub
from tests.deploy.loading import never_ready
from tests.deploy.tools import promtool, tool
from tests.server import RunningServer, free_port, until

CONFIGURATION = Path(__file__).parents[2] / "deploy" / "prometheus" / "prometheus.yaml"


def test_promtool_accepts_the_scrape_configuration() -> None:
    done = promtool("check", "config", "--lint-fatal", str(CONFIGURATION))
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_accepts_what_the_service_answers(server: RunningServer) -> None:
    text = server.scrape()
    done = promtool("check", "metrics", data=text)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert "altclip_requests_total" in text


def test_a_real_prometheus_sees_the_service_of_one_machine(server: RunningServer, tmp_path: Path) -> None:
    """Also where there is no cluster, for whose pods the file asks as well."""
    configuration = yaml.safe_load(CONFIGURATION.read_text())
    job(configuration, "altclip-local")["static_configs"] = [{"targets": [server.ops]}]
    with running(configuration, tmp_path) as address:
        with grpc.insecure_channel(server.grpc) as channel:
            EmbeddingServiceStub(channel).EmbedText(EmbedTextRequest(texts=["seen"]), timeout=30)
        seen = 'sum(altclip_requests_total{method="EmbedText",code="OK"})'

        def is_seen() -> bool:
            sent = server.metric("altclip_requests_total", method="EmbedText", code="OK")
            # A scrape that fails for want of time takes all series away until the next one.
            return sent >= 1 and query(address, seen) == sent and query(address, workers) == 1

        workers = "sum(altclip_worker_up)"
        until(is_seen, seconds=60, what="Prometheus has the counts", interval=0.2)


def test_pods_have_the_job_and_the_namespace_of_the_name_by_which_they_were_found(
    server: RunningServer, tmp_path: Path
) -> None:
    """Those of the chart's service for metrics, whether they are ready or not. Here no name server answers:
    Prometheus is told what it would."""
    configuration = yaml.safe_load(CONFIGURATION.read_text())
    pods = job(configuration, "altclip")
    (discovery,) = pods.pop("dns_sd_configs")
    (name,) = discovery["names"]
    with never_ready() as loading:
        found = {
            name: [server.ops, loading],
            "second-altclip-metrics.staging.svc.cluster.local": [f"127.0.0.1:{free_port()}"],
        }
        pods["static_configs"] = [
            {"targets": addresses, "labels": {"__meta_dns_name": name}} for name, addresses in found.items()
        ]
        with running(configuration, tmp_path) as address:
            up = 'altclip_worker_up{namespace="search",job="altclip",instance="%s"}'

            def are_seen() -> bool:
                return (
                    query(address, up % server.ops) == 1
                    and query(address, up % loading) == 0
                    and query(address, 'up{namespace="staging",job="second-altclip"}') == 0
                )

            until(are_seen, seconds=60, what="the pods are scraped", interval=0.2)


def job(configuration: dict[str, Any], name: str) -> dict[str, Any]:
    """What the configuration says of a job."""
    found: dict[str, Any]
    (found,) = [each for each in configuration["scrape_configs"] if each["job_name"] == name]
    return found


@contextmanager
def running(configuration: dict[str, Any], folder: Path) -> Iterator[str]:
    """The address of a Prometheus with this configuration, which scrapes every second."""
    configuration["global"] |= {"scrape_interval": "1s", "scrape_timeout": "1s"}
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(configuration))
    address = f"127.0.0.1:{free_port()}"
    process = subprocess.Popen(
        [
            tool("prometheus"),
            f"--config.file={folder / 'prometheus.yaml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address={address}",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield address
    finally:
        process.kill()
        process.wait(10)


def query(address: str, expression: str) -> float | None:
    """The first value of an instant query; None while there is none, or no Prometheus yet."""
    url = f"http://{address}/api/v1/query?{urllib.parse.urlencode({'query': expression})}"
    try:
        with urllib.request.urlopen(url, timeout=60) as response:
            found = json.load(response)["data"]["result"]
    except OSError:
        return None
    return float(found[0]["value"][1]) if found else None
