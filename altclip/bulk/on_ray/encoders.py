"""The worker's own encoders behind the face of a connection: vectors without a service.

It needs the server's distribution, which is imported when it is used. Texts and images are treated as by a
service with default settings, so that the same items have the same vectors and the same errors.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, Iterable, Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np

from altclip import inputs
from altclip.bulk.columns import DTYPES
from altclip.calls.status import BY_REASON
from altclip.datasets.items import DataError
from altclip.errors import AltClipError, InvalidRequest
from altclip.results import Embeddings, Limits, Model, StreamResult

if TYPE_CHECKING:
    from altclip.streams.ledger import StreamInput
    from worker.models.batches import Outcome

PATH = "image.content"
"""What errors call an image, as in a stream."""


class Encoders:
    """See `Connection`. One model on one device of this process; `close` ends its threads and processes.

    Args:
        model: As `altclip-server --model` takes it: NAME=SOURCE, SOURCE or NAME; the bundled model if empty.
        threads: Of the encoder on a CPU, and that decode images; 0 means one for each core.

    Raises DataError where the server's distribution is missing or the model cannot be used.
    """

    def __init__(self, model: str, threads: int = 0) -> None:
        try:
            from service.config.settings import Settings
            from worker import checkpoint
            from worker.errors import ModelError
            from worker.models.offline import Offline, Sizes
            from worker.models.sources import BUNDLED, resolve
        except ImportError as error:
            told = "the encoders come with altclip-server: pip install 'altclip[server]'"
            raise DataError(f"{told} on every node, or name servers with --address ({error})") from None
        self._settings = Settings()
        sizes = Sizes(
            threads=threads,
            decoders=threads,
            max_file_bytes=self._settings.max_image_bytes,
            max_pixels=self._settings.max_image_pixels,
            decode_seconds=self._settings.decode_timeout,
        )
        try:
            spec = resolve(model or BUNDLED)
            checkpoint.check_digests(spec)
            self._sha256 = checkpoint.weights_sha256(spec)
            self._offline = Offline(spec, sizes=sizes)
        except ModelError as error:
            raise DataError(str(error)) from None

    def get_model(self, name: str = "") -> Model:
        """See `Connection`; there is only one."""
        from service.frontend.api.validation import Limits as ServiceLimits

        spec, info = self._offline.spec, self._offline.info
        return Model(
            name=spec.name,
            source=spec.source,
            revision=self._sha256[:16],
            languages=spec.languages,
            dimension=spec.dimension,
            max_tokens=spec.max_tokens,
            image_size=spec.image_size,
            logit_scale=info.logit_scale,
            device=info.device,
            dtype=info.dtype,
            weights_sha256=self._sha256,
            ready=True,
            state_dimension=spec.state_dimension,
            aliases=(),
            limits=Limits(**asdict(ServiceLimits.of(self._settings))),
        )

    def embed_stream(
        self,
        items: Iterable[StreamInput],
        *,
        model: str = "",
        encoding: inputs.Encoding = "float32",
        orientation: inputs.Orientation = "as_stored",
        priority: inputs.Priority = "default",
        window: int = 0,
    ) -> Generator[StreamResult]:
        """See `Connection`; model, priority and window say nothing here. An address is refused unless it
        holds the image (`data:`)."""
        from worker.errors import DeviceLost

        outcomes = self._offline.embed(map(self._plain, items), upright=orientation == "upright")
        try:
            for some in outcomes:
                yield from self._results(some, encoding)
        except DeviceLost as error:
            # Only a new process can use the device again. Ray starts one, and tries again what was under way.
            print(f"altclip: the device is lost: {error}", file=sys.stderr, flush=True)  # noqa: T201
            os._exit(1)
        finally:
            outcomes.close()

    def close(self) -> None:
        """Ends what was started."""
        self._offline.close()

    def _plain(self, item: StreamInput) -> tuple[object, str | bytes | Exception]:
        from service.frontend.api.errors import ServiceError
        from service.frontend.preprocessing.data_uri import read_data_uri

        key, content = item if isinstance(item, tuple) else (None, item)
        if isinstance(content, inputs.Uri):
            try:
                return key, read_data_uri("image.uri", content.address, self._settings.max_image_bytes)
            except ServiceError as error:
                return key, error
        if isinstance(content, str | bytes | AltClipError):
            return key, content
        raise TypeError(f"neither a text, nor bytes, nor an address: {type(content).__name__}")

    def _results(self, outcomes: list[Outcome], encoding: str) -> Iterator[StreamResult]:
        from service.frontend.api.encodings import encode, sound
        from service.frontend.api.errors import Internal
        from service.frontend.api.messages import Encoding
        from service.frontend.api.vectors import normalized

        kind = Encoding[encoding.upper()]
        yield from (
            StreamResult(each.key, 0, error=_told(each.error)) for each in outcomes if each.row is None
        )
        good = [each for each in outcomes if each.row is not None]
        if not good:
            return
        rows = normalized(np.stack([each.row for each in good if each.row is not None]))
        fits = sound(rows, kind)
        data, scales = encode(np.where(fits[:, None], rows, np.float32(0)), kind)
        codes = np.frombuffer(data, DTYPES[encoding]).reshape(len(good), -1)
        given = np.array(scales, np.float32)
        for n, each in enumerate(good):
            if not fits[n]:
                yield StreamResult(each.key, 0, error=_told(Internal()))
                continue
            yield StreamResult(
                each.key,
                0,
                Embeddings(encoding, rows.shape[1], codes[n : n + 1], given[n : n + 1]),
                truncated=each.truncated,
                token_count=each.token_count,
                revision=self._sha256[:16],
            )


def _told(error: Exception | None) -> AltClipError:
    """The error as a stream's result has it."""
    from service.frontend.api.errors import Internal, from_exception

    if isinstance(error, AltClipError):
        return error
    found = from_exception(error or RuntimeError(), PATH)
    entry = found.entry
    message = f"the encoder failed: {type(error).__name__}" if isinstance(found, Internal) else found.message
    return BY_REASON.get(entry.reason, InvalidRequest)(message, reason=entry.reason)
