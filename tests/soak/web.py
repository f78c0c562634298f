"""Callers over HTTP: texts and pictures in one request, some of them bad; some callers give up.

Their endings are written down by the gRPC codes under which the server counts its callers.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import Sequence
from typing import Any

import aiohttp
import numpy as np

from service.frontend.api.errors import TABLE
from tests.soak.content import Content, Floats
from tests.soak.ledger import Untold
from tests.soak.traffic import (
    ANY,
    CALLS_A_CONNECTION,
    GIVES_UP_SECONDS,
    PATIENCE,
    REST_SECONDS,
    RETRYABLE,
    Caller,
)

__all__ = ["METHOD", "WEB", "web"]

WEB = "web"
METHOD = "HTTP"
GIVES_UP, BAD = 0.3, 0.06
LATE_SECONDS = 10.0
"""After its deadline a call is not waited for any longer."""

_CODES = {entry.reason: entry.code.name for entry in TABLE.values()}


async def web(caller: Caller, contents: Sequence[Content], stop: asyncio.Event) -> None:
    """Calls one after another until told to stop."""
    headers = {"authorization": f"Bearer {caller.key}", "x-request-timeout-ms": str(round(1000 * PATIENCE))}
    while not stop.is_set():
        async with aiohttp.ClientSession(f"http://{caller.address}", headers=headers) as session:
            for _ in range(CALLS_A_CONNECTION):
                await _call(caller, session, caller.random.choice(contents))
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), caller.random.expovariate(1 / REST_SECONDS))
                if stop.is_set():
                    return


async def _call(caller: Caller, session: aiohttp.ClientSession, content: Content) -> None:
    text, first = content.text(caller.random)
    picture, second = content.picture(caller.random)
    bad = caller.random.random() < BAD
    if bad:
        picture = picture[: len(picture) // 2]
    items = [text, {"image": base64.b64encode(picture).decode()}]
    seconds, untold = PATIENCE + LATE_SECONDS, "deadline"
    if caller.random.random() < GIVES_UP:
        caller.ledger.asked_to_cancel += 1
        seconds, untold = caller.random.expovariate(1 / GIVES_UP_SECONDS), "cancelled"
    how: Untold = "cancelled" if untold == "cancelled" else "deadline"
    try:
        async with (
            asyncio.timeout(seconds),
            session.post("/v1/embeddings", json={"model": content.model, "input": items}) as answer,
        ):
            body = await answer.json()
    except TimeoutError:
        caller.ledger.untold[caller.name, METHOD, how] += 1
    except aiohttp.ClientError:
        caller.ledger.untold[caller.name, METHOD, "lost"] += 1
    else:
        _told(caller, content, answer, body, np.stack([first, second]), bad=bad)


def _told(
    caller: Caller,
    content: Content,
    answer: aiohttp.ClientResponse,
    body: Any,
    expected: Floats,
    *,
    bad: bool,
) -> None:
    ledger = caller.ledger
    if answer.status == 200:
        ledger.told[caller.name, METHOD, "OK"] += 1
        got = np.array([row["embedding"] for row in body["data"]], np.float32)
        near = got.shape == expected.shape and np.allclose(got, expected, rtol=0, atol=content.tolerance)
        ledger.check(bool(near) and not bad, METHOD)
        ledger.answered[content.model, "text"] += 1
        ledger.answered[content.model, "image"] += 1
        return
    reason = body["error"]["code"].upper()
    ledger.told[caller.name, METHOD, _CODES.get(reason, reason)] += 1
    ledger.reasons[reason] += 1
    if reason in RETRYABLE and "retry-after-ms" not in answer.headers:
        ledger.surprise(f"HTTP: {reason} without Retry-After")
    if reason == "UNDECODABLE_IMAGE":
        if not bad:
            ledger.blamed_on_decoders += 1
    elif reason not in ANY:
        ledger.surprise(f"HTTP ended {answer.status} {reason}")
