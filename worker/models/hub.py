"""Models on the Hugging Face hub: which ones are known, and how their files come here. No torch.

Only data is fetched: weights as safetensors (or, for a conversion, as pickle), JSON, tokenizers, licences.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from pathlib import Path

from worker.errors import ModelError
from worker.spec import ALL_LANGUAGES

__all__ = ["KNOWN", "NOTICES", "Known", "download", "is_hub_name", "split_revision"]

log = logging.getLogger(__name__)

NOTICES = ("LICENSE*", "LICENCE*", "NOTICE*", "README*", "MODEL_LICENSE*", "USE_POLICY*")
"""What goes with every copy of a model."""
SERVING = ["*.safetensors", "*.safetensors.index.json", "*.json", "*.model", *NOTICES]
BELOW = "*/*"
"""Folders hold other things: the checkpoints of a training, each as large as the model, or other formats."""
PICKLES = ["pytorch_model*.bin", "pytorch_model*.bin.index.json"]
HUB_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True, slots=True)
class Known:
    """A model whose commit we pin, and the languages its authors trained it for."""

    revision: str
    languages: tuple[str, ...]


KNOWN = {
    "BAAI/AltCLIP": Known("17788d7d45af0e41d0f10682fe91d655ac96435c", ("en", "zh")),
    "BAAI/AltCLIP-m9": Known("41d03cb9f2d9f904e7c63e90817d4bbed0d4a3a8", ALL_LANGUAGES),
}


def is_hub_name(text: str) -> bool:
    """Whether the text is OWNER/NAME, with or without @REVISION."""
    return HUB_NAME.fullmatch(split_revision(text)[0]) is not None


def split_revision(source: str) -> tuple[str, str]:
    """NAME@REVISION in two; without one it is the pinned revision of a known model, or "main"."""
    name, at, revision = source.partition("@")
    if at:
        return name, revision
    return name, KNOWN[name].revision if name in KNOWN else "main"


def download(source: str, *, pickles: bool = False) -> tuple[Path, str]:
    """The local directory of NAME[@REVISION] and the commit it is of; raises `ModelError`.

    Files already in the hub's cache are not fetched again, and suffice without a network.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError, RepositoryNotFoundError

    name, revision = split_revision(source)
    if not revision:
        raise ModelError(f"{source}: no revision after the @")
    patterns = SERVING + (PICKLES if pickles else [])
    try:
        # Workers run in another directory than ours, which the cache's may be relative to.
        path = Path(
            snapshot_download(name, revision=revision, allow_patterns=patterns, ignore_patterns=[BELOW])
        ).absolute()
    except LocalEntryNotFoundError as error:
        raise ModelError(
            f"{name} at revision {revision} is not in the local cache and the hub cannot be reached; give a"
            f" directory, or fetch it where there is a network: hf download {name} --revision {revision}"
        ) from error
    except RepositoryNotFoundError as error:
        raise ModelError(f"the hub has no model {name}, or it needs a token that may read it") from error
    except Exception as error:  # what its transports raise, such as of a proxy, has no class of its own
        raise ModelError(f"{name} at revision {revision} cannot be fetched: {_first_line(error)}") from error
    commit = path.name  # the cache keeps each snapshot in a directory named by its commit
    if commit != revision:
        log.info(
            "hub model %s: revision %s is commit %s; pin it with %s@%s", name, revision, commit, name, commit
        )
    return path, commit


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
