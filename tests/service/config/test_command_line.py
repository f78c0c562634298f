"""Variables that look like settings and are none."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import altclip
from service.config.command_line import CLIENT_VARIABLES, unknown_variables


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("ALTCLIP_MAX_TEXT", "ALTCLIP_MAX_TEXTS"),
        ("ALTCLIP_MODELS", "ALTCLIP_MODEL"),
        ("ALTCLIP_GRPC_ADDR", "ALTCLIP_GRPC_ADDRESS"),
        ("altclip_max_texts", "ALTCLIP_MAX_TEXTS"),
        ("ALTCLIP_GRPC_PORT", "ALTCLIP_GRPC_ADDRESS"),
    ],
)
def test_an_unknown_variable_is_told_with_the_nearest_one_and_without_its_value(
    name: str, nearest: str
) -> None:
    (message,) = unknown_variables({name: "a-secret"})
    assert message == f"{name} is no setting and is ignored; did you mean {nearest}?"


def test_what_is_near_to_nothing_leads_to_the_help() -> None:
    (message,) = unknown_variables({"ALTCLIP_QXZQXZQXZQXZQXZQXZ": "1"})
    assert message.endswith("see altclip-server --help")


def test_settings_and_other_programs_variables_are_not_told() -> None:
    environment = {"ALTCLIP_MAX_TEXTS": "5", "ALTCLIP_GRACE": "", "PATH": "/bin", "MY_ALTCLIP_MODEL": "a"}
    assert unknown_variables(environment) == []


def test_the_clients_variables_are_not_told() -> None:
    folder = Path(altclip.__file__).parent
    named = {
        name
        for path in folder.rglob("*.py")
        for name in re.findall(r"\bALTCLIP_[A-Z_]+[A-Z]\b", path.read_text())
    }
    assert named == CLIENT_VARIABLES
    assert unknown_variables(dict.fromkeys(named, "x")) == []


@pytest.mark.parametrize("service", ["ALTCLIP", "ALTCLIP_SERVER", "ALTCLIP_GRPC"])
def test_kubernetes_service_variables_are_not_told(service: str) -> None:
    given = {
        f"{service}_SERVICE_HOST": "10.0.0.7",
        f"{service}_SERVICE_PORT": "50051",
        f"{service}_SERVICE_PORT_GRPC": "50051",
        f"{service}_PORT": "tcp://10.0.0.7:50051",
        f"{service}_PORT_50051_TCP": "tcp://10.0.0.7:50051",
        f"{service}_PORT_50051_TCP_PROTO": "tcp",
        f"{service}_PORT_50051_TCP_PORT": "50051",
        f"{service}_PORT_50051_TCP_ADDR": "10.0.0.7",
    }
    assert unknown_variables(given) == []
    assert len(unknown_variables({**given, "ALTCLIP_HTTP_PORT": "8080"})) == 1
