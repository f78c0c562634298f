"""One class gives the command line, the environment, the help and the table."""

from __future__ import annotations

import dataclasses
import json

import pytest

from service.config import options, readers
from service.config.command_line import load, markdown_tables, parser
from service.config.options import OptionError
from service.config.settings import Settings

FIELDS = dataclasses.fields(Settings)


def test_without_anything_the_defaults_hold() -> None:
    assert load([], {}) == Settings()


def test_the_options_of_the_contract_exist() -> None:
    arguments = (
        "--model a=/m --grpc-address 127.0.0.1:1 --http-address 127.0.0.1:2 --ops-address 127.0.0.1:3 "
        "--device cuda:1 --device cpu --dtype bfloat16 --frontends 2 --replicas 3"
    )
    settings = load(arguments.split(), {})
    assert settings.model == ("a=/m",)
    assert settings.device == ("cuda:1", "cpu")
    assert (settings.grpc_address, settings.http_address, settings.ops_address) == (
        "127.0.0.1:1",
        "127.0.0.1:2",
        "127.0.0.1:3",
    )
    assert (settings.dtype, settings.frontends, settings.replicas) == ("bfloat16", 2, 3)


def test_the_defaults_accept_what_the_contract_promises() -> None:
    settings = Settings()
    assert settings.max_texts >= 256
    assert settings.max_images >= 64
    assert settings.max_message_bytes >= 33 << 20


def test_the_environment_gives_what_the_command_line_leaves_open() -> None:
    environment = {"ALTCLIP_MAX_TEXTS": "7", "ALTCLIP_GRACE": "5", "ALTCLIP_DTYPE": ""}
    settings = load(["--grace", "6"], environment)
    assert (settings.max_texts, settings.grace, settings.dtype) == (7, 6.0, "auto")


def test_repeated_options_are_lists_in_the_environment() -> None:
    environment = {
        "ALTCLIP_MODEL": "a=stub:dimension=8,poison=x  b",
        "ALTCLIP_ALIAS": "text-embedding-3-small=a c/d=b",
        "ALTCLIP_DEVICE": "cuda:0,cpu cuda",
    }
    settings = load([], environment)
    assert settings.model == ("a=stub:dimension=8,poison=x", "b")
    assert settings.aliases() == {"text-embedding-3-small": "a", "c/d": "b"}
    assert settings.device == ("cuda:0", "cpu", "cuda:0")


@pytest.mark.parametrize("model", ["m9=/data/my models/m9", "m9=/data/a'b", 'm9=/data/a"b', "/data/a\\b"])
def test_a_model_on_the_command_line_is_one_text_whatever_it_holds(model: str) -> None:
    assert load(["--model", model, "--model", "b"], {}).model == (model, "b")


@pytest.mark.parametrize(
    "text", ['"m9=/data/my models/m9" b', "m9='/data/my models/m9' b", "m9=/data/my\\ models/m9 b"]
)
def test_quotes_keep_a_model_together_in_the_environment(text: str) -> None:
    assert load([], {"ALTCLIP_MODEL": text}).model == ("m9=/data/my models/m9", "b")


def test_a_quotation_mark_that_is_not_closed_is_told() -> None:
    with pytest.raises(OptionError, match=r"ALTCLIP_MODEL \(--model\).*no closing one"):
        load([], {"ALTCLIP_MODEL": "m9=/data/bob's b"})


@pytest.mark.parametrize("text", ["off", "OFF"])
def test_http_may_be_off(text: str) -> None:
    assert load(["--http-address", text], {}).http_address == ""
    assert load([], {"ALTCLIP_HTTP_ADDRESS": text}).http_address == ""


def test_only_http_may_be_off() -> None:
    for option in ("--grpc-address", "--ops-address"):
        with pytest.raises(OptionError, match=option):
            load([option, "off"], {})


def test_what_http_offers_is_chosen_by_lists() -> None:
    arguments = (
        "--http-apis OpenAI,tei --http-hosts altclip,*.example.com --http-prefix /ml/altclip/ "
        "--http-cors-origins https://App.example.com,http://localhost:3000 --http-max-items 5 "
        "--http-max-body-bytes 1MiB --immich-upstream http://immich-ml:3003/"
    )
    settings = load(arguments.split(), {})
    assert settings.http_apis == ("openai", "tei")
    assert settings.http_hosts == ("altclip", "*.example.com")
    assert settings.http_prefix == "/ml/altclip"
    assert settings.http_cors_origins == ("https://app.example.com", "http://localhost:3000")
    assert (settings.http_max_items, settings.http_max_body_bytes) == (5, 1 << 20)
    assert settings.immich_upstream == "http://immich-ml:3003"
    assert Settings().http_apis == readers.HTTP_APIS


@pytest.mark.parametrize(
    ("option", "text"),
    [
        ("--http-address", "on"),
        ("--http-apis", "openai,ollama"),
        ("--http-hosts", "altclip:8080"),
        ("--http-hosts", "https://altclip"),
        ("--http-prefix", "altclip"),
        ("--http-prefix", "/a//b"),
        ("--http-cors-origins", "app.example.com"),
        ("--http-cors-origins", "https://app.example.com/"),
        ("--immich-upstream", "immich:3003"),
        ("--immich-upstream", "http://user@immich:3003"),
        ("--immich-upstream", "http://immich:99999"),
        ("--alias", "a"),
        ("--alias", "=b"),
        ("--alias", "a=b c"),
    ],
)
def test_what_http_cannot_use_is_refused_by_name(option: str, text: str) -> None:
    with pytest.raises(OptionError, match=rf"{option} .*is not accepted; give "):
        load([option, text], {})


@pytest.mark.parametrize(
    ("text", "size"),
    [("65536", 65_536), ("64KiB", 65_536), ("32MiB", 32 << 20), ("1g", 1 << 30), ("3 kB", 3072)],
)
def test_sizes_may_have_a_unit(text: str, size: int) -> None:
    assert load(["--max-text-bytes", text], {}).max_text_bytes == size


@pytest.mark.parametrize(
    ("text", "ratio"), [("0", 0.0), ("1", 1.0), ("0.01", 0.01), (".5", 0.5), ("2.5%", 0.025)]
)
def test_a_ratio_may_be_a_percentage(text: str, ratio: float) -> None:
    assert load(["--trace-ratio", text], {}).trace_ratio == pytest.approx(ratio)


@pytest.mark.parametrize("text", ["1.01", "101%", "-0.1", "nan", "1e-2", "one", ""])
def test_a_ratio_lies_between_0_and_1(text: str) -> None:
    with pytest.raises(OptionError, match=r"--trace-ratio .*a number from 0 to 1"):
        load(["--trace-ratio", text], {})


def test_a_collector_is_an_address() -> None:
    assert load(["--trace-endpoint", "https://otel:4317/"], {}).trace_endpoint == "https://otel:4317"
    with pytest.raises(OptionError, match=r"--trace-endpoint .*http://collector:4317"):
        load(["--trace-endpoint", "otel:4317"], {})


@pytest.mark.parametrize(("text", "seconds"), [("3", 3.0), ("0.5", 0.5), ("250ms", 0.25), ("2m", 120.0)])
def test_times_may_have_a_unit(text: str, seconds: float) -> None:
    assert load(["--grace", text], {}).grace == seconds


@pytest.mark.parametrize(
    ("address", "parts"),
    [
        ("0.0.0.0:50051", ("0.0.0.0", 50_051)),
        ("localhost:0", ("localhost", 0)),
        ("[::]:1", ("::", 1)),
        ("[fe80::1%eth0]:65535", ("fe80::1%eth0", 65_535)),
    ],
)
def test_addresses_may_be_names_and_ipv6(address: str, parts: tuple[str, int]) -> None:
    assert load(["--grpc-address", address], {}).grpc_address == address
    assert readers.split_address(address) == parts


@pytest.mark.parametrize(
    "address", ["50051", ":50051", "::1:50051", "host:", "host:65536", "http://h:1", "a b:1"]
)
def test_other_addresses_are_refused(address: str) -> None:
    with pytest.raises(OptionError, match="HOST:PORT"):
        load(["--ops-address", address], {})


@pytest.mark.parametrize(
    ("option", "text"),
    [
        ("--max-texts", "0"),
        ("--max-texts", "many"),
        ("--max-texts", "1.5"),
        ("--frontends", "0"),
        ("--device", "tpu"),
        ("--device", "cuda:"),
        ("--dtype", "float64"),
        ("--dtype", "int4"),
        ("--grace", "-1"),
        ("--grace", "nan"),
        ("--hang-timeout", "0"),
        ("--hang-timeout", "900ms"),
        ("--max-message-bytes", "4GiB"),
        ("--model", " "),
        ("--max-texts", "_"),
        ("--max-texts", "1__0"),
        ("--max-texts", "9" * 5000),
        ("--max-text-bytes", "_"),
        ("--max-text-bytes", "1__0k"),
        ("--max-text-bytes", "9" * 5000),
        ("--max-connection-age", "9999h"),
    ],
)
def test_an_error_names_the_option_the_variable_and_what_is_accepted(option: str, text: str) -> None:
    variable = "ALTCLIP_" + option[2:].upper().replace("-", "_")
    for arguments, environment in ([option, text], {}), ([], {variable: text}):
        if not text.strip() and not arguments:
            continue  # an empty variable is one that is not set
        with pytest.raises(OptionError) as caught:
            load(arguments, environment)
        message = str(caught.value)
        assert option in message
        assert variable in message
        assert "; give " in message
        assert "\n" not in message


@pytest.mark.parametrize(
    ("field", "unit"),
    [(field, "") for field in FIELDS if field.metadata["metavar"] == "N"]
    + [(field, "g") for field in FIELDS if field.metadata["metavar"] == "SIZE"],
    ids=lambda value: getattr(value, "name", value),
)
def test_no_count_and_no_size_is_without_bounds(field: dataclasses.Field[object], unit: str) -> None:
    with pytest.raises(OptionError, match=r"give a (whole number|number of bytes) from \d+ to \d+"):
        load([options.flag(field), "4294967296" + unit], {})


@pytest.mark.parametrize("arguments", [["--max-text", "1"], ["--unknown"], ["stray"], ["--grace"]])
def test_what_is_no_option_is_an_error_and_not_an_exit(arguments: list[str]) -> None:
    with pytest.raises(OptionError):
        load(arguments, {})


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.name)
def test_every_default_can_be_written_as_it_is_shown(field: dataclasses.Field[object]) -> None:
    if shown := options.show(field):
        assert load([options.flag(field), *shown.split()], {}) == Settings()


def test_the_help_and_the_table_list_every_option() -> None:
    text, table = parser().format_help(), markdown_tables()
    for field in FIELDS:
        assert options.flag(field) in text
        assert f"| `{options.flag(field)}` | `{options.variable(field)}` |" in table


def test_settings_cross_a_process_border_as_json() -> None:
    settings = load(["--model", "a", "--model", "b=c", "--grace", "1ms"], {})
    assert Settings.from_dict(json.loads(json.dumps(settings.to_dict()))) == settings


def test_origins_have_a_port_and_hosts_may_begin_with_a_star() -> None:
    settings = load(["--image-urls", "https,http:8080", "--image-urls", "HTTP"], {})
    assert settings.image_urls == ("https:443", "http:8080", "http:80")
    settings = load([], {"ALTCLIP_IMAGE_URL_HOSTS": "*.Example.com images.example.org"})
    assert settings.image_url_hosts == ("*.example.com", "images.example.org")
    for wrong in ("ftp", "https:0", "https:99999", "on", "https://x"):
        with pytest.raises(OptionError, match="--image-urls"):
            load(["--image-urls", wrong], {})
    for wrong in ("*", "localhost", "a.example/x", "https://a.example", "*.com.*"):
        with pytest.raises(OptionError, match="--image-url-hosts"):
            load(["--image-url-hosts", wrong], {})


@pytest.mark.parametrize("option", ["--immich-upstream", "--trace-endpoint"])
def test_a_password_in_an_address_is_refused_and_not_shown(option: str) -> None:
    with pytest.raises(OptionError, match=f"{option} .*what was given is not accepted") as refused:
        load([option, "https://user:a-password@collector:4317"], {})
    assert "a-password" not in str(refused.value)


def test_key_lines_are_read_at_once() -> None:
    line = f"search sha256:{'0' * 64} requests=1/s"
    assert load([], {"ALTCLIP_API_KEY_LINES": line}).api_key_lines == line
    with pytest.raises(OptionError, match="altclip-server key") as refused:
        load(["--api-key-lines", "search a-key-and-no-hash"], {})
    assert "a-key-and-no-hash" not in str(refused.value)
    for mistake in ("altclip_the-key-itself", line):
        with pytest.raises(OptionError, match="--api-key-lines") as refused:
            load([], {"ALTCLIP_API_KEYS": mistake})
        assert mistake not in str(refused.value)
