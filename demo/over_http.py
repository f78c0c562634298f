"""The same embeddings over HTTP: with the openai package where it is installed, else with urllib."""

from __future__ import annotations

import base64
import importlib
import importlib.util
import json
import sys
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

OVERLAY = Path(sys.prefix) / "sdks"
SECONDS = 60.0


@dataclass(frozen=True)
class Answer:
    """vectors: float32 [inputs, dimension]. tokens: what the model read. code: how to call it."""

    vectors: npt.NDArray[np.float32]
    tokens: int
    client: str
    code: str


def as_uri(picture: Path) -> str:
    """A PNG file as the `data:` URI that `input` takes for an image."""
    return f"data:image/png;base64,{base64.b64encode(picture.read_bytes()).decode()}"


def openai_is_here() -> bool:
    """Whether `import openai` works: in the environment itself, or from what `make sdks` laid beside it."""
    if (OVERLAY / ".stamp").exists() and str(OVERLAY) not in sys.path:
        sys.path.append(str(OVERLAY))  # at the end: what the environment holds goes before it
    return importlib.util.find_spec("openai") is not None


def with_openai(address: str, model: str, inputs: Sequence[str]) -> Answer:
    """address: `host:port`. Raises OSError."""
    openai = importlib.import_module("openai")
    try:
        with openai.OpenAI(base_url=f"http://{address}/v1", api_key="none", timeout=SECONDS) as client:
            answer = client.embeddings.create(model=model, input=list(inputs))
    except openai.OpenAIError as error:
        raise ConnectionError(f"the openai package: {error}") from error
    return Answer(
        np.asarray([each.embedding for each in answer.data], dtype=np.float32),
        answer.usage.prompt_tokens,
        f"the openai package {openai.__version__}",
        f'client = openai.OpenAI(base_url="http://{address}/v1", api_key="none")\n'
        f'client.embeddings.create(model="{model}", input=[…])',
    )


def with_urllib(address: str, model: str, inputs: Sequence[str]) -> Answer:
    """address: `host:port`. Raises OSError."""
    url = f"http://{address}/v1/embeddings"
    body = json.dumps({"model": model, "input": list(inputs)}).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=SECONDS) as response:  # noqa: S310 - always http
        answer = json.load(response)
    return Answer(
        np.asarray([each["embedding"] for each in answer["data"]], dtype=np.float32),
        answer["usage"]["prompt_tokens"],
        "Python's urllib",
        f'body = json.dumps({{"model": "{model}", "input": […]}}).encode()\n'
        f'urllib.request.urlopen(Request("{url}", body, {{"Content-Type": "application/json"}}))',
    )
