"""Zero-shot classification: pictures are scored against an ensemble of prompts for each label.

    label ─ templates ─▶ prompts ─ embed, normalise ─▶ average ─ normalise ─▶ the label's vector ─▶ cache
    image ─ embed, normalise ─▶ · every label's vector × logit scale ─▶ softmax ─▶ top_k

BAAI's evaluation toolkit does the same: each prompt's embedding is scaled to length 1 before the average, and
the average is scaled to length 1 after.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from service.frontend.admission.cost import Cost
from service.frontend.api import validation
from service.frontend.api import vectors as similarity
from service.frontend.api.messages import Classification, Classified, Image, Orientation, Scores
from service.frontend.calls.call import Call
from service.frontend.core.class_labels import check_answer, check_labels
from service.frontend.core.core import Core
from service.frontend.core.rows import matrix, timings
from service.frontend.core.templates import TEMPLATES

__all__ = ["classify"]


async def classify(
    core: Core,
    call: Call,
    name: str,
    images: Sequence[Image],
    labels: Sequence[str],
    *,
    language: str = "",
    templates: Sequence[str] = (),
    top_k: int = 0,
    orientation: Orientation = Orientation.AS_STORED,
) -> Classified:
    """The labels of each picture by probability. templates: used in place of the language's own."""
    model = core.model_for(call, name)
    validation.count("images", len(images), model.limits.max_images)
    validation.count("labels", len(labels), model.limits.max_labels)
    known = TEMPLATES[validation.language(language)]
    validation.templates(templates, model.limits)
    info = model.info
    prompts = tuple(templates or known)
    looked_up = core.labels.look_up(model, call, labels, prompts)
    with looked_up.admitted(Cost.of_images(images)), model.items(call) as pictures:
        validation.pictures("images", images, model.limits)
        check_labels(labels, prompts, model.limits.max_text_bytes)
        check_answer(len(images), labels, top_k)
        looked_up.begin()
        await pictures.add_images([f"images[{index}]" for index in range(len(images))], images, orientation)
        labelled = await looked_up.vectors()
        outcomes = await pictures.outcomes()
    rows = matrix(outcomes, normalize=True)
    columns = np.stack([labelled.vectors[label].vector for label in labels])

    def work() -> Sequence[Classification]:
        scores = similarity.scores(rows, columns, Scores.PROBABILITY, info.logit_scale)
        best = [similarity.best(row, top_k) for row in scores]
        every = np.arange(len(labels), dtype=np.uint32)
        return [Classification(every if row.indices is None else row.indices, row.scores) for row in best]

    return Classified(
        model=model.name,
        revision=model.pool.revision,
        results=await model.threads.run(work) if rows.size * len(labels) > 1 << 20 else work(),
        timings=labelled.timings.merge(timings(outcomes)),
        truncated=[index for index, label in enumerate(labels) if labelled.vectors[label].truncated],
    )
