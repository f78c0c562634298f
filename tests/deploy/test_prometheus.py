"""Prometheus and its own tool accept the scrape configuration and what the running service answers."""

from __future__ import annotations

import json
import subprocess
import urllib.parse
import urllib.request
from pathlib import Path

import grpc
import yaml

from altclip.v1.embedding_service_pb2 import EmbedTextRequest
from altclip.v1.embedding_service_pb2_grpc import EmbeddingServiceStub
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


def test_a_real_prometheus_sees_the_service(server: RunningServer, tmp_path: Path) -> None:
    prometheus = tool("prometheus")
    configuration = yaml.safe_load(CONFIGURATION.read_text())
    configuration["global"]["scrape_interval"] = "1s"
    configuration["scrape_configs"] = [
        {"job_name": "altclip-local", "static_configs": [{"targets": [server.ops]}]}
    ]
    (tmp_path / "prometheus.yaml").write_text(yaml.safe_dump(configuration))
    address = f"127.0.0.1:{free_port()}"
    process = subprocess.Popen(
        [
            prometheus,
            f"--config.file={tmp_path / 'prometheus.yaml'}",
            f"--storage.tsdb.path={tmp_path / 'data'}",
            f"--web.listen-address={address}",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        with grpc.insecure_channel(server.grpc) as channel:
            EmbeddingServiceStub(channel).EmbedText(EmbedTextRequest(texts=["seen"]), timeout=30)
        seen = 'sum(altclip_requests_total{method="EmbedText",code="OK"})'

        def is_seen() -> bool:
            sent = server.metric("altclip_requests_total", method="EmbedText", code="OK")
            return sent >= 1 and query(address, seen) == sent

        until(is_seen, seconds=60, what="Prometheus has the count", interval=0.2)
        assert query(address, "sum(altclip_worker_up)") == 1
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
