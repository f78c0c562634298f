"""A bulk job from its arguments to its summary: reads an input, embeds columns of it, writes an output.

    find, open, choose columns ─▶ ask the service for its model ─▶ lock the output, compare its manifest
      ─▶ make the parts that are missing ─▶ summary

The same call goes on where an earlier one stopped, whatever stopped it.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from altclip.bulk.columns import Embedded, Shape, choose, may_be_embedded, output_schema
from altclip.bulk.flow.servers import Servers
from altclip.bulk.flow.work import Maker, Work
from altclip.bulk.output.folder import Folder, faults_of_files
from altclip.bulk.output.layout import PARQUET, layout_of
from altclip.bulk.output.manifest import DONE, Manifest, Part
from altclip.bulk.output.parts import stored_schema
from altclip.bulk.output.reading import schema_of
from altclip.bulk.plan import FIXED, ROWS_PER_SHARD, Options, Summary, Task, Wanted, begin, check, tasks
from altclip.bulk.rehearsal import Rehearsal, rehearse
from altclip.bulk.sources.arrow import require
from altclip.bulk.sources.files import Found, find
from altclip.bulk.sources.locations import Location, absolute, location_of
from altclip.bulk.sources.opening import changed_image, identify, open_source
from altclip.bulk.sources.source import Source
from altclip.bulk.sources.tables import difference
from altclip.client import Client
from altclip.datasets.items import DataError
from altclip.results import Model

if TYPE_CHECKING:
    import pyarrow as pa


def run(
    source: str | Path,
    output: str | Path,
    *,
    client: Client | Sequence[Client] | Maker,
    text: str | Sequence[str] = (),
    image: str | Sequence[str] = (),
    id: str | None = None,  # noqa: A002 - the name of the option
    model: str = "",
    encoding: str = "float32",
    vector_type: str = "fixed",
    orientation: str = "as_stored",
    rows_per_shard: int = ROWS_PER_SHARD,
    format: str = PARQUET,  # noqa: A002 - the name of the option
    fresh: bool = False,
    retry_failed: bool = False,
    max_errors: int | None = None,
    patience: float = 600.0,
) -> Summary:
    """Embeds columns of an input into an output, or goes on with one.

    Args:
        source: A file, folder or glob, as in docs/bulk.md. output: A folder.
            Both may be addresses of a store.
        client: One or several connections, each to a server of its own; or `OnRay`, a cluster.
        text, image: Names of columns to embed.

    The other arguments are the options of `altclip bulk`. Raises DataError where input or output do not fit,
    OutputError where the output cannot be written, AltClipError where the service cannot be used, and
    TooManyErrors. What is whole by then is kept.

    >>> bulk.run("captions.jsonl", "vectors", client=client, text="caption", id="key").embedded
    2
    """
    wanted = Wanted(
        _names(text), _names(image), id, model, encoding, vector_type, orientation, rows_per_shard, format
    )
    options = Options(fresh, False, retry_failed, max_errors, patience)
    if isinstance(client, Client):
        client = [client]
    maker = Servers(client) if isinstance(client, Sequence) else client
    job = Job(str(source), location_of(output), wanted, options, maker)
    with contextlib.closing(maker):
        job.run()
    return job.summary()


def _names(given: str | Sequence[str]) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)


@dataclass
class Job:
    """One run of a job; `summary` tells how far it has come, also after it was stopped.

    Attributes:
        maker: Makes the parts.
        look: Called now and then while the parts are made.
        tell: Told what people may want to know, a line at a time.
    """

    source: str
    output: Location
    wanted: Wanted
    options: Options
    maker: Maker
    look: Callable[[], object] = lambda: None
    tell: Callable[[str], object] = lambda line: None
    manifest: Manifest | None = None
    cells: int = 0
    """Cells of the parts that this run makes."""
    handled: int = 0
    """Rows that this run has written or put into errors tables."""
    started: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        if self.maker.elsewhere:
            self.source = absolute(self.source)
            self.output = self.output.absolute() if isinstance(self.output, Path) else self.output

    def rehearse(self) -> Rehearsal:
        """Reads the input and embeds a sample; writes nothing. Raises as `run` of this module."""
        _, source, columns = self._opened()
        connection = self.maker.sampling()
        return rehearse(source, columns, connection, self._model(), self._stream_options())

    def run(self) -> None:
        """Makes what is missing. Raises as `run` of this module."""
        found, source, columns = self._opened()
        layout_of(self.wanted.format, columns)
        with Folder(self.output) as folder:
            earlier = folder.prepare()
            model = self._model()
            wanted = self._manifest(found, source, columns, model)
            manifest = begin(self._same_listing(found, earlier, wanted), wanted, self.options)
            if earlier is not None and self.options.fresh:
                folder.clear(earlier)
            self.manifest = manifest
            folder.make(manifest.layout)
            self._make(folder, source, columns, model, manifest)

    def summary(self) -> Summary:
        """How far the job has come."""
        manifest, seconds = self.manifest, time.monotonic() - self.started
        return Summary(
            rows=manifest.rows if manifest else 0,
            embedded=manifest.embedded if manifest else 0,
            errors=manifest.errors if manifest else 0,
            seconds=seconds,
            rows_per_second=self.handled / seconds if seconds else 0.0,
            times=self.maker.times(seconds),
        )

    def _opened(self) -> tuple[Found, Source, tuple[Embedded, ...]]:
        require()
        check(self.wanted)
        found = find(self.source, self.output)
        source = open_source(found, may_be_embedded(self.wanted.text, self.wanted.image))
        return found, source, choose(source.schema, self.wanted.text, self.wanted.image, self.wanted.id)

    def _stream_options(self) -> dict[str, str]:
        return {"encoding": self.wanted.encoding, "orientation": self.wanted.orientation}

    def _model(self) -> Model:
        return self.maker.model(self.wanted.model, self.options.patience, self.tell)

    def _make(
        self,
        folder: Folder,
        source: Source,
        columns: tuple[Embedded, ...],
        model: Model,
        manifest: Manifest,
    ) -> None:
        size = self.wanted.rows_per_shard
        todo = tasks(manifest, size, self._is_whole, retry=self.options.retry_failed)
        self.cells = len(columns) * sum(task.rows for task in todo)
        shape = Shape(self.wanted.encoding, model.dimension, self.wanted.vector_type == FIXED)
        metadata = {
            "altclip.model": model.name,
            "altclip.revision": model.revision,
            "altclip.encoding": self.wanted.encoding,
            "altclip.dimension": str(model.dimension),
        }
        vectors = self.wanted.format == PARQUET
        work = Work(
            source,
            self.output,
            replace(manifest, parts=()),
            size,
            output_schema(source.schema, source.hidden, columns, shape, metadata, vectors=vectors),
            columns,
            shape,
            model,
            self._stream_options(),
            self.wanted.id,
            self.options.retry_failed,
            self.options.max_errors,
            self.options.patience,
        )
        self._check_columns(work.schema, manifest, todo)
        self._save(folder, manifest)

        def keep(part: Part) -> None:
            nonlocal manifest
            manifest = manifest.with_part(part)
            self._save(folder, manifest)
            self.handled += part.rows + part.errors

        self.maker.make(work, todo, keep, self.look, self.tell)
        self._save(folder, replace(manifest, state=DONE))

    def _check_columns(self, schema: pa.Schema, manifest: Manifest, todo: Sequence[Task]) -> None:
        """Raises DataError where parts that stay have other columns than those that are made: new files of
        JSON lines or tar files may add some, and change types."""
        made = {manifest.layout.main(task.number) for task in todo}
        kept = next((part for part in manifest.parts if part.name not in made), None)
        if kept is None or not todo:
            return
        if told := difference(schema_of(self.output, kept), stored_schema(schema)):
            hint = "give the new files another output" if self.options.extend else "--fresh begins anew"
            raise DataError(f"the output was made otherwise: {told} than in {kept.name}; {hint}")

    def _save(self, folder: Folder, manifest: Manifest) -> None:
        folder.save(manifest)
        self.manifest = manifest

    def _is_whole(self, part: Part) -> bool:
        # What a store holds is not fetched for this: it keeps its objects whole.
        contents = isinstance(self.output, Path)
        faults = list(faults_of_files(self.output, part, contents=contents))
        for fault in faults:
            self.tell(f"{fault}: it is made again")
        return not faults

    def _same_listing(self, found: Found, earlier: Manifest | None, wanted: Manifest) -> Manifest | None:
        """Of a folder of images that is extended the entry stands for as many files as there were before.
        Raises DataError that names an image which has changed."""
        if earlier is None or self.options.fresh or {found.kind, earlier.input["kind"]} != {"images"}:
            return earlier
        before = earlier.input["files"][0]
        count = min(before["files"], len(found.files))
        now = identify(found, [count])[0] if self.options.extend else wanted.input["files"][0]
        if told := changed_image(found, before, now):
            hint = (
                "" if self.options.extend else "; --fresh begins anew, `altclip bulk extend` adds new files"
            )
            raise DataError(f"the output was made otherwise: input: {told}{hint}")
        return replace(earlier, input=wanted.input)

    def _manifest(self, found: Found, source: Source, columns: Sequence[Embedded], model: Model) -> Manifest:
        return Manifest(
            input={"kind": found.kind, "base": str(found.base), "files": identify(found)},
            options={
                "text": [each.name for each in columns if each.is_text],
                "image": [each.name for each in columns if not each.is_text],
                "id": self.wanted.id,
                "vector_type": self.wanted.vector_type,
                "orientation": self.wanted.orientation,
                "rows_per_shard": self.wanted.rows_per_shard,
                "format": self.wanted.format,
            },
            model=model.name,
            revision=model.revision,
            dtype=model.dtype,
            dimension=model.dimension,
            encoding=self.wanted.encoding,
            rows=source.rows,
        )
