"""Models of the values are served from where their weights are, and fetched as the hub must be reached."""

from __future__ import annotations

from service.config.command_line import load
from tests.deploy.chart.rendering import pod_of, render, server
from tests.deploy.chart.switches import COMMIT, SWITCHES


def test_every_model_is_served_from_where_its_weights_are() -> None:
    objects = render(SWITCHES["several models"])
    found = load(server(objects)["args"], {})
    assert found.model == ("m9=/weights/m9", "en=/models/en", "emoji=bundled")
    assert (found.alias, found.frontends, found.batch_wait) == (("clip=m9", "small=emoji"), 2, 0.005)
    pod = pod_of(objects)
    (download,) = pod["initContainers"]
    assert download["args"] == ["convert", "--keep", f"BAAI/AltCLIP@{COMMIT}", "/models/en"]
    mounts = {mount["mountPath"]: mount for mount in server(objects)["volumeMounts"]}
    assert mounts["/weights/m9"]["readOnly"] is True
    claims = {volume["name"]: volume.get("persistentVolumeClaim") for volume in pod["volumes"]}
    assert claims[mounts["/weights/m9"]["name"]] == {"claimName": "weights", "readOnly": True}
    assert mounts["/models"]["name"] == "models"


def test_a_download_is_given_what_it_needs_to_reach_the_hub_and_the_server_is_not() -> None:
    objects = render(SWITCHES["downloads through a proxy with an authority of its own"])
    (download,) = pod_of(objects)["initContainers"]
    assert {each["name"]: each["value"] for each in download["env"]} == {
        "HTTPS_PROXY": "http://proxy:3128",
        "SSL_CERT_FILE": "/authority/ca.crt",
    }
    assert "/authority" in [mount["mountPath"] for mount in download["volumeMounts"]]
    container = server(objects)
    assert not {"HTTPS_PROXY", "SSL_CERT_FILE"} & {each["name"] for each in container["env"]}
    assert "/authority" not in [mount["mountPath"] for mount in container["volumeMounts"]]
