"""From settings to what will run."""

from __future__ import annotations

import socket

import pytest

from service.config.keys import make_key, parse
from service.config.options import OptionError
from service.config.settings import Settings
from service.supervisor.startup import (
    check_aliases,
    check_batch_wait,
    check_tracing,
    doubts,
    places,
    prepare,
    useless_keys,
)
from worker.models.sources import resolve_all


def threads_of(settings: Settings, devices: tuple[str, ...], cores: int) -> list[int]:
    return [place.threads for place in places(settings, resolve_all(settings.model), devices, cores)]


def test_every_model_runs_on_every_device_as_often_as_wanted() -> None:
    settings = Settings(model=("a=stub:", "b=stub:"), replicas=2)
    found = places(settings, resolve_all(settings.model), ("cuda:0", "cpu"), cores=8)
    assert [(place.number, place.spec.name, place.device) for place in found] == [
        (0, "a", "cuda:0"),
        (1, "a", "cuda:0"),
        (2, "a", "cpu"),
        (3, "a", "cpu"),
        (4, "b", "cuda:0"),
        (5, "b", "cuda:0"),
        (6, "b", "cpu"),
        (7, "b", "cpu"),
    ]
    assert {place.title for place in found} == {
        "altclip-worker a cuda:0",
        "altclip-worker a cpu",
        "altclip-worker b cuda:0",
        "altclip-worker b cpu",
    }


@pytest.mark.parametrize(
    ("models", "cores", "threads"), [(1, 8, [8]), (2, 8, [4, 4]), (3, 8, [2, 2, 2]), (2, 1, [1, 1])]
)
def test_workers_on_the_cpu_share_its_cores(models: int, cores: int, threads: list[int]) -> None:
    settings = Settings(model=tuple(f"m{number}=stub:" for number in range(models)))
    assert threads_of(settings, ("cpu",), cores) == threads


def test_a_number_of_threads_that_was_set_is_kept() -> None:
    settings = Settings(model=("m=stub:",), threads=3, replicas=2)
    assert threads_of(settings, ("cpu",), cores=8) == [3, 3]


def test_a_taken_operations_port_is_told_before_a_model_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: pytest.fail("it is fetched"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        settings = Settings(model=("BAAI/AltCLIP",), grpc_address="127.0.0.1:0", ops_address=address)
        with pytest.raises(OptionError, match=rf"--ops-address.*cannot listen on {address}"):
            prepare(settings, "1")


def test_settings_that_are_hardly_meant_are_told() -> None:
    assert doubts(Settings()) == []
    assert doubts(Settings(image_urls=("https:443",), image_url_hosts=("a.example",))) == []
    (unused,) = doubts(Settings(image_url_hosts=("a.example",)))
    assert "--image-urls" in unused
    assert doubts(Settings(tracing="on", trace_endpoint="http://collector:4317")) == []
    (untraced,) = doubts(Settings(trace_endpoint="http://collector:4317"))
    assert "--tracing on" in untraced
    (small,) = doubts(Settings(max_message_bytes=1 << 20, max_image_bytes=1 << 20))
    assert "--max-message-bytes" in small


def test_a_key_for_a_model_that_is_not_served_is_told_once_for_each_model() -> None:
    limits = {"search": "models=m9,tiny", "web": "models=m8,m9", "app": "models=m8"}
    lines = [make_key(name, (models,))[1] for name, models in limits.items()] + [make_key("all")[1]]
    (told,) = useless_keys(parse("\n".join(lines)), ["m9", "tiny"])
    assert told == "the API key of web is for m8, but no model is called so; there are m9, tiny"


def test_tracing_without_what_it_needs_is_refused_with_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    check_tracing(Settings(tracing="on"))
    monkeypatch.setattr("service.supervisor.startup.OPENTELEMETRY", ("not_installed.sdk.trace",))
    check_tracing(Settings())
    with pytest.raises(OptionError, match=r"--tracing \(ALTCLIP_TRACING\).*altclip-server\[tracing\]"):
        check_tracing(Settings(tracing="on"))


def test_a_wait_for_company_that_looks_like_a_worker_that_hangs_is_refused() -> None:
    check_batch_wait(Settings())
    check_batch_wait(Settings(batch_wait=10.0))
    check_batch_wait(Settings(batch_wait=0.49, hang_timeout=1.0))
    with pytest.raises(
        OptionError, match=r"--batch-wait \(ALTCLIP_BATCH_WAIT\): 0\.5 s .*--hang-timeout, 1 s"
    ):
        check_batch_wait(Settings(batch_wait=0.5, hang_timeout=1.0))


@pytest.mark.parametrize(
    ("aliases", "complaint"),
    [
        (("a=b",), "a is the name of a model"),
        (("x=c",), "no model is called c; give a, b"),
        (("x=a", "y=x"), "no model is called x"),
        (("x=a", "x=b"), "x is given for a and for b"),
    ],
)
def test_an_alias_that_could_mean_two_things_or_none_is_refused(
    aliases: tuple[str, ...], complaint: str
) -> None:
    with pytest.raises(OptionError, match=rf"--alias \(ALTCLIP_ALIAS\): .*{complaint}"):
        check_aliases(Settings(alias=aliases), ["a", "b"])


def test_an_alias_may_be_given_twice_for_one_model() -> None:
    check_aliases(Settings(alias=("x=a", "x=a", "y=a")), ["a", "b"])
