"""A program ends when it has nothing more to do, whatever still holds a stream."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.altclip.fake_service import RunningFake
from tests.altclip.scripts import run_script

HOLDERS = {
    # One in three of these never ended: its results were finalised when no thread could give up a lock.
    "a global variable": """
from altclip import Client
def main():
    global results
    client = Client(ADDRESS)
    results = iter(client.embed_stream(["a cat", "a dog"] * 2000, window=8))
    print(next(results).error)
main()
""",
    "a default argument, after the client was dropped": """
from altclip import Client
def held(results=Client(ADDRESS).embed_stream(("text" for _ in iter(int, 1)), window=4)):
    return next(results)
print(held().error)
""",
    "a thread that is a daemon": """
import threading, time
from altclip import Client
first = threading.Event()
def read():
    for result in Client(ADDRESS).embed_stream("text" for _ in iter(int, 1)):
        first.set()
threading.Thread(target=read, daemon=True).start()
first.wait()
print(None)
""",
    "items that never come": """
import threading
from altclip import Client
def items():
    yield "text"
    threading.Event().wait()
results = Client(ADDRESS).embed_stream(items())
print(next(results).error)
""",
    "an event loop that was never closed": """
import asyncio, warnings
from altclip import AsyncClient
warnings.simplefilter("ignore")
loop = asyncio.new_event_loop()
async def begin():
    global results
    results = AsyncClient(ADDRESS).embed_stream(["text"] * 2000, window=8)
    return (await anext(results)).error
print(loop.run_until_complete(begin()))
""",
}


@pytest.mark.parametrize("holder", HOLDERS)
def test_a_half_read_stream_does_not_keep_a_program_from_its_end(fake: RunningFake, holder: str) -> None:
    runs = 8 if holder == "a global variable" else 1
    with ThreadPoolExecutor(2) as pool:
        printed = list(pool.map(lambda _: run_script(HOLDERS[holder], fake.address, 90), range(runs)))
    assert printed == ["None\n"] * runs
