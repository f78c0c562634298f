"""A real Prometheus that scrapes services, and a real Alertmanager that tells this process of each alert.

    with monitored({"altclip": server.ops}, tmp_path, speed=60) as seen:
        seen.wait_for("AltclipFileStale", "altclip", seconds=60)

`speed` shortens every window and every wait of the rules: with 60 an hour is a minute.
"""

from __future__ import annotations

import contextlib
import http.server
import json
import re
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.deploy.rule_files import RULE_FILES
from tests.deploy.tools import tool
from tests.server import free_port, until

__all__ = ["Monitoring", "faster", "filled_in", "monitored", "prometheus"]

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


@dataclass
class Monitoring:
    """prometheus: its address. told: what Alertmanager has told so far, oldest first."""

    prometheus: str
    told: list[dict[str, Any]] = field(default_factory=list)

    def fired(self, alert: str, job: str = "") -> list[dict[str, Any]]:
        """What was told of this alert, of this job or of none."""
        return [
            each
            for each in self.told
            if each["status"] == "firing"
            and each["labels"]["alertname"] == alert
            and each["labels"].get("job", "") == job
        ]

    def wait_for(self, alert: str, job: str = "", *, seconds: float) -> dict[str, Any]:
        """The first word of it; AssertionError with all that was told if none comes."""
        end = time.monotonic() + seconds
        while not (found := self.fired(alert, job)):
            said = sorted(
                {f"{each['labels']['alertname']} {each['labels'].get('job')}" for each in self.told}
            )
            assert time.monotonic() < end, f"no {alert} of {job!r} within {seconds} s; told: {said}"
            time.sleep(0.1)
        return found[0]

    def summary(self, alert: str, job: str) -> str:
        """What the alert says now, by its rule's last evaluation; "" where it is not active."""
        active = self._get(f"http://{self.prometheus}/api/v1/alerts")["alerts"]
        labels = {"alertname": alert, "job": job}
        found = (
            each["annotations"]["summary"] for each in active if labels.items() <= each["labels"].items()
        )
        return next(found, "")

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The samples of an instant query. Raises AssertionError where Prometheus refuses it."""
        url = f"http://{self.prometheus}/api/v1/query?{urllib.parse.urlencode({'query': expression})}"
        return list(self._get(url)["result"])

    def query_range(self, expression: str, seconds: float, step: float) -> list[dict[str, Any]]:
        """The series of the last so many seconds, up to now."""
        now = time.time()
        asked = {"query": expression, "start": now - seconds, "end": now, "step": step}
        return list(
            self._get(f"http://{self.prometheus}/api/v1/query_range?{urllib.parse.urlencode(asked)}")[
                "result"
            ]
        )

    def value(self, expression: str) -> float | None:
        """The first sample; None where there is none."""
        found = self.query(expression)
        return float(found[0]["value"][1]) if found else None

    def _get(self, url: str) -> dict[str, Any]:
        try:
            with urllib.request.urlopen(url, timeout=60) as response:
                return dict(json.load(response)["data"])
        except urllib.error.HTTPError as error:
            with error:
                raise AssertionError(f"{url}: {error.read().decode()}") from None


def faster(text: str, speed: float) -> str:
    """A rule file whose windows `[5m]` and waits `for: 5m` are shorter. Thresholds stay as they are."""

    def shorter(match: re.Match[str]) -> str:
        seconds = float(match["number"]) * _UNITS[match["unit"]] / speed
        return f"{match['before']}{max(1, round(1000 * seconds))}ms"

    return re.sub(r"(?P<before>\[|\bfor: )(?P<number>\d+)(?P<unit>ms|s|m|h|d)\b", shorter, text)


def filled_in(query: str, interval: str) -> str:
    """A dashboard's query as Grafana asks it: of all namespaces and jobs, over this interval."""
    for name, value in (("$namespace", ".*"), ("$job", ".*"), ("$__rate_interval", interval)):
        query = query.replace(name, value)
    return query


@contextlib.contextmanager
def monitored(
    targets: Mapping[str, str],
    folder: Path,
    *,
    speed: float,
    scrape: float = 1.0,
    thresholds: Mapping[str, float] | None = None,
) -> Iterator[Monitoring]:
    """targets: operations ports by their job. scrape: every so many seconds; rules are evaluated as
    often. thresholds: other numbers for series of objectives.yaml."""
    told: list[dict[str, Any]] = []
    with _receiver(told) as receiver, _alertmanager(folder, receiver) as alertmanager:
        rule_files = []
        for path in RULE_FILES:
            content = yaml.safe_load(faster(path.read_text(), speed))
            for rule in (rule for group in content["groups"] for rule in group["rules"]):
                if rule.get("record") in (thresholds or {}):
                    rule["expr"] = str((thresholds or {})[rule["record"]])
            rule_files.append(folder / path.name)
            rule_files[-1].write_text(yaml.safe_dump(content))
        with prometheus(folder, targets, scrape, rule_files, alertmanager) as address:
            yield Monitoring(address, told)


@contextlib.contextmanager
def prometheus(
    folder: Path,
    targets: Mapping[str, str],
    scrape: float,
    rule_files: list[Path] | None = None,
    alertmanager: str = "",
) -> Iterator[str]:
    """The address of a Prometheus that is ready. targets: by their job."""
    every = f"{round(1000 * scrape)}ms"
    configuration: dict[str, Any] = {
        "global": {"scrape_interval": every, "scrape_timeout": every, "evaluation_interval": every},
        "rule_files": [str(path) for path in rule_files or []],
        "scrape_configs": [
            {"job_name": job, "static_configs": [{"targets": [target]}]} for job, target in targets.items()
        ],
    }
    if alertmanager:
        configuration["alerting"] = {"alertmanagers": [{"static_configs": [{"targets": [alertmanager]}]}]}
    path = folder / "prometheus.yaml"
    path.write_text(yaml.safe_dump(configuration))
    address = f"127.0.0.1:{free_port()}"
    command = [
        tool("prometheus"),
        f"--config.file={path}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={address}",
        # An alert is told again after this; the default is a minute.
        "--rules.alert.resend-delay=1s",
    ]
    with _running(command, folder / "prometheus.log", f"http://{address}/-/ready"):
        yield address


@contextlib.contextmanager
def _alertmanager(folder: Path, receiver: str) -> Iterator[str]:
    """The address of an Alertmanager that passes everything on at once."""
    path = folder / "alertmanager.yaml"
    route = {"receiver": "test", "group_by": ["..."], "group_wait": "0s", "group_interval": "1s"}
    hook = {"url": receiver, "send_resolved": True}
    path.write_text(
        yaml.safe_dump({"route": route, "receivers": [{"name": "test", "webhook_configs": [hook]}]})
    )
    address = f"127.0.0.1:{free_port()}"
    command = [
        tool("prometheus-alertmanager"),
        f"--config.file={path}",
        f"--storage.path={folder / 'alertmanager'}",
        f"--web.listen-address={address}",
        "--cluster.listen-address=",
    ]
    with _running(command, folder / "alertmanager.log", f"http://{address}/-/ready"):
        yield address


@contextlib.contextmanager
def _receiver(told: list[dict[str, Any]]) -> Iterator[str]:
    """The address of a webhook that writes down each alert."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            told.extend(json.loads(body)["alerts"])
            self.send_response(200)
            self.end_headers()

        def log_request(self, *_: object) -> None:
            """Says nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def _running(command: list[str], log: Path, ready: str) -> Iterator[None]:
    """A process from when it is ready until the block ends; its log is shown where it never is."""

    def answers() -> bool:
        assert process.poll() is None, log.read_text()[-2000:]
        with contextlib.suppress(OSError), urllib.request.urlopen(ready, timeout=5) as response:
            return bool(response.status == 200)
        return False

    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    try:
        until(answers, seconds=60, what=f"{command[0]} is ready: {log}", interval=0.05)
        yield
    finally:
        process.kill()
        process.wait(10)
