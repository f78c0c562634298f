"""What all parts of a job have in common, and who makes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from altclip.bulk.columns import Embedded, Shape
from altclip.bulk.flow.lanes import Connection
from altclip.bulk.output.manifest import Manifest, Part
from altclip.bulk.plan import Task
from altclip.bulk.sources.locations import Location
from altclip.bulk.sources.source import Source
from altclip.results import Model

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Work:
    """What all parts of a job have in common.

    Attributes:
        source: What is read.
        output: Where parts that are whole stand.
        manifest: What the output is made from and with; no parts are in it.
        size: Rows of the input in a part.
        schema: Of the parts.
        columns: The embedded columns.
        shape: What vectors are like.
        model: The model of the job.
        options: Further arguments of `Client.embed_stream`.
        identity: The column with the keys of the errors table.
        retry: Whether rows that failed are tried again.
        max_errors: Stop at so many failed rows.
        patience: Seconds without any progress until the run gives up.
    """

    source: Source
    output: Location
    manifest: Manifest
    size: int
    schema: pa.Schema
    columns: tuple[Embedded, ...]
    shape: Shape
    model: Model
    options: Mapping[str, str]
    identity: str | None
    retry: bool
    max_errors: int | None
    patience: float


Keep = Callable[[Part], object]
"""Called for each part that is whole, one at a time."""


class Maker(Protocol):
    """Makes the parts of a job.

    Attributes:
        elsewhere: Whether other processes do it, which may have another working folder.
    """

    elsewhere: bool

    @property
    def done(self) -> int:
        """Cells that were done or have failed since the start."""
        ...

    @property
    def failed_rows(self) -> int:
        """Rows that have failed since the start."""
        ...

    def sampling(self) -> Connection:
        """What a sample can be embedded with. Raises DataError where there is nothing."""
        ...

    def model(self, name: str, patience: float, tell: Callable[[str], object]) -> Model:
        """The model, as soon as the revision of its weights and its dtype are known. Raises AltClipError."""
        ...

    def make(
        self,
        work: Work,
        tasks: Sequence[Task],
        keep: Keep,
        look: Callable[[], object],
        tell: Callable[[str], object],
    ) -> None:
        """Makes these parts. Calls `look` now and then. Raises what ended the run early; of parts that were
        not kept by then nothing is left."""
        ...

    def close(self) -> None:
        """Leaves what it has connected to by itself."""
        ...

    def times(self, seconds: float) -> dict[str, float]:
        """Where the time went, of a run that took so many seconds."""
        ...
