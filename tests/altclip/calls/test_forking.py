"""A client in a process that was forked: it works, or says at once why it cannot."""

from __future__ import annotations

import pytest

from altclip.calls.forking import SPAWN
from tests.altclip.fake_service import RunningFake
from tests.altclip.scripts import run_script

BEGIN = """
import asyncio, itertools, os, threading, time
import altclip
from altclip import AsyncClient, Client
client = Client(ADDRESS, timeout=120)

def forked(use):
    "Runs this in a forked child, and prints there what it gives or raises."
    child = os.fork()
    if child == 0:
        began = time.monotonic()
        try:
            print("child:", use(), flush=True)
        except altclip.AltClipError as error:
            assert time.monotonic() - began < 60  # not at the end of the timeout
            print("child:", type(error).__name__, error.message, flush=True)
        sys.exit(0)  # with all that an interpreter does at its end
    assert os.waitpid(child, 0)[1] == 0

def embed(client):
    return client.embed_text("a").vectors.tolist()
"""
DURING_A_CALL = (
    "child: ClientUnusable this process was forked while a call or stream was under way, "
    "and gRPC does not work in it"
)
VECTOR = "child: [[1.0, 1.0, 2.0, 3.0]]\n"


def run(fake: RunningFake, code: str) -> str:
    return run_script(f"{BEGIN}{code}\nprint('parent:', embed(client))", fake.address)


@pytest.mark.parametrize("before", ["", "embed(client)", "list(client.embed_stream('a'))"])
def test_it_works_where_nothing_was_under_way(fake: RunningFake, before: str) -> None:
    uses = "forked(lambda: embed(client))\n" * 2 + "forked(lambda: embed(Client(ADDRESS)))"
    assert run(fake, f"{before}\n{uses}") == VECTOR * 3 + VECTOR.replace("child", "parent")


def test_it_works_in_a_pool_of_forked_processes(fake: RunningFake) -> None:
    code = """
import multiprocessing
embed(client)
def work(text):
    return client.embed_text(text).vectors[0].tolist()
with multiprocessing.get_context("fork").Pool(2) as pool:
    print(pool.map(work, ["a", "bc", "def", "ghij"]))
"""
    output = run(fake, code).splitlines()
    assert output[0] == str([[float(n), 1.0, 2.0, 3.0] for n in (1, 2, 3, 4)])


def test_it_says_so_where_a_call_was_under_way(fake: RunningFake) -> None:
    code = """
from altclip.calls import forking
threading.Thread(target=embed, args=(client,), daemon=True).start()
while not forking._process.under_way:
    time.sleep(0.01)
for use in (embed, lambda _: embed(Client(ADDRESS)), Client.list_models, Client.wait_until_ready):
    forked(lambda: use(client))
"""
    with fake.service.lock:  # the server cannot answer
        lines = run_script(f"{BEGIN}{code}", fake.address).splitlines()
    assert lines == [f"{DURING_A_CALL}: fork before, or {SPAWN}"] * 4


def test_a_stream_of_the_parent_says_so(fake: RunningFake) -> None:
    code = """
results = client.embed_stream("text" for _ in itertools.count())
next(results)
forked(lambda: [next(results) for _ in range(2000)])
forked(lambda: embed(client))
forked(client.close)
print("more:", next(results).error)
"""
    lines = run(fake, code).splitlines()
    assert lines[0] == "child: ClientUnusable a stream cannot go on in a forked process: open a new one there"
    assert lines[1].startswith(DURING_A_CALL)
    assert lines[2:4] == ["child: None", "more: None"]


ASYNCIO = """
async def use(client):
    async with client:
        return embed_now(await client.embed_text("a"))
def embed_now(result):
    return result.vectors.tolist()
"""


def test_asyncio_after_asyncio_says_so_and_the_blocking_client_works(fake: RunningFake) -> None:
    code = f"""{ASYNCIO}
asyncio.run(use(AsyncClient(ADDRESS)))
forked(lambda: asyncio.run(use(AsyncClient(ADDRESS))))
forked(lambda: embed(client))
"""
    lines = run(fake, code).splitlines()
    used = "child: ClientUnusable this process was forked after an AsyncClient had been used"
    assert lines[0] == f"{used}: use Client in it, or {SPAWN}"
    assert lines[1] == VECTOR.rstrip()


def test_asyncio_works_where_only_the_child_uses_it(fake: RunningFake) -> None:
    code = f"{ASYNCIO}\nmade = AsyncClient(ADDRESS)\nforked(lambda: asyncio.run(use(made)))"
    assert run(fake, code).splitlines()[0] == VECTOR.rstrip()


def test_support_that_was_switched_off_is_named(fake: RunningFake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRPC_ENABLE_FORK_SUPPORT", "0")
    output = run_script(f"{BEGIN}\nforked(lambda: embed(client))", fake.address)
    forked = "child: ClientUnusable this process was forked, and GRPC_ENABLE_FORK_SUPPORT is off"
    assert output == f"{forked}: set it to 1, or {SPAWN}\n"
