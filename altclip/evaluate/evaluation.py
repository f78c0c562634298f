"""One evaluation of one model on one data set: what both tasks share.

    pictures, texts ─▶ stores under the work folder ─▶ rows to rank

Texts that occur several times are embedded once, so that they score exactly the same.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

import numpy as np
import numpy.typing as npt

from altclip.bulk.embedding import Service, embed
from altclip.bulk.progress import Progress
from altclip.bulk.store import Store
from altclip.datasets.dataset import Dataset
from altclip.datasets.items import LeftOut, Picture, Text, mark_of


@dataclass
class Evaluation:
    """What is under way; `stack` closes its stores.

    Attributes:
        service: The model.
        dataset: The data.
        source: Where the data is, so that another set of the same name has stores of its own.
        work: The folder for stores of any model and data.
        shown: Where progress goes; None for nowhere.
        left_out: What took no part so far, by where it stands; the reader's first.
    """

    service: Service
    dataset: Dataset
    source: str
    work: Path
    shown: TextIO | None
    stack: contextlib.ExitStack
    left_out: dict[str, LeftOut] = field(default_factory=dict)
    _pictures: tuple[Store, dict[int, LeftOut]] | None = None

    @property
    def folder(self) -> Path:
        """The stores of this revision of the model; another revision has another folder."""
        model = self.service.model
        return self.work / safe_name(f"{model.name}-{model.revision}-{model.dtype}")

    def store(self, kind: str, marks: Sequence[int], width: int, number: npt.DTypeLike) -> Store:
        """The store of one kind of rows for this data; it is closed with the evaluation."""
        model = self.service.model
        about = {
            "rows": kind,
            "data": self.source,
            "model": model.name,
            "revision": model.revision,
            "weights_sha256": model.weights_sha256,
            "dtype": model.dtype,
        }
        folder = self.folder / f"{safe_name(kind)}-{mark_of(self.source, kind):016x}"
        return self.stack.enter_context(Store(folder, marks, width, number, about))

    def leave_out(self, items: Iterable[LeftOut]) -> None:
        """Takes down what takes no part; the same thing once."""
        for item in items:
            self.left_out.setdefault(item.where, item)

    def pictures(self) -> tuple[Store, npt.NDArray[np.bool_]]:
        """The embeddings of all pictures, and which of them there are."""
        if self._pictures is None:
            self._pictures = self._embedded("images", "pictures", self.dataset.pictures)
            self.leave_out(self._pictures[1].values())
        store, _ = self._pictures
        return store, store.done

    def texts(self, kind: str, texts: Sequence[Text], shown: str) -> tuple[Store, npt.NDArray[np.int64]]:
        """The embeddings of these texts, and for each text its row; -1 for one that has none."""
        rows: dict[str, int] = {}
        distinct: list[Text] = []
        for text in texts:
            if text.text not in rows:
                rows[text.text] = len(distinct)
                distinct.append(text)
        store, left_out = self._embedded(kind, shown, distinct)
        self.leave_out(left_out.values())
        done = store.done
        found = np.array([rows[text.text] for text in texts], np.int64)
        return store, np.where(done[found], found, -1) if len(found) else found

    def _embedded(
        self, kind: str, shown: str, items: Sequence[Picture | Text]
    ) -> tuple[Store, dict[int, LeftOut]]:
        store = self.store(kind, [item.mark() for item in items], self.service.model.dimension, np.float32)
        progress = Progress(self.shown, shown, len(items))
        left_out: dict[int, LeftOut] = {}
        try:
            left_out = embed(self.service, store, items, progress)
        finally:
            progress.end(int(store.done.sum()) + len(left_out))
        return store, left_out


def safe_name(text: str) -> str:
    """The text as a part of a file's name."""
    return re.sub(r"[^\w.-]+", "_", text).strip(".") or "_"
