"""What `helm test` runs in the pods of the chart, run here against a real HTTP port."""

from __future__ import annotations

import asyncio
import os
import sys

from tests.deploy.chart.rendering import of_kind, render
from tests.service.http.asking import asking

RESOLVED = """
import socket

found = socket.getaddrinfo

def getaddrinfo(host, *rest, **options):
    return found("127.0.0.1" if host == "altclip" else host, *rest, **options)

socket.getaddrinfo = getaddrinfo
"""
"""What a cluster's name server does: the service's name leads to the server."""


async def test_http_answers_also_where_it_may_not_be_asked_for_the_name_of_the_service() -> None:
    hosts = ["embed.example.com"]
    (pod,) = of_kind(render({"settings": {"http-hosts": hosts}}), "Pod")
    (container,) = [each for each in pod["spec"]["containers"] if each["name"] == "http"]
    assert container["command"] == ["python3", "-c"]
    (url,) = [each["value"] for each in container["env"] if each["name"] == "URL"]
    assert url.startswith("http://altclip:8080/")
    (code,) = container["args"]
    async with asking(http_hosts=tuple(hosts)) as http:
        port = http.service.http.rpartition(":")[2]
        refused = await http.get("/v1/models", headers={"host": "altclip"})
        assert refused.status == 421
        asked = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            RESOLVED + code,
            env={**os.environ, "URL": url.replace(":8080/", f":{port}/"), "no_proxy": "altclip"},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        told, problem = await asyncio.wait_for(asked.communicate(), 60)
    assert asked.returncode == 0, problem.decode()
    assert '"data"' in told.decode()
