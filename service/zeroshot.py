"""Zero-shot classification: an ensemble of prompts for each label, and pictures scored against them.

    label ─ templates ─▶ prompts ─ embed, normalise ─▶ average ─ normalise ─▶ the label's vector ─▶ cache
    image ─ embed, normalise ─▶ · every label's vector × logit scale ─▶ softmax ─▶ top_k

As BAAI's evaluation toolkit does it: each prompt's embedding has length 1 before the average, the average
after.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from service import similarity, validation
from service.core import Core
from service.cost import Cost
from service.encodings import normalized
from service.label_cache import LabelKey, LabelVector
from service.messages import Call, Classification, Classified, Image, Scores, Timings
from service.model import Model, matrix, timings
from service.prompts import TEMPLATES

__all__ = ["classify"]

PROMPTS_AT_ONCE = 1024
"""A thousand labels in a hundred templates are a hundred thousand texts: they are embedded in parts."""


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
) -> Classified:
    """The labels of each picture by probability. templates: in place of the language's own."""
    model = core.model_for(call, name)
    validation.count("images", len(images), model.limits.max_images)
    validation.count("labels", len(labels), model.limits.max_labels)
    known = TEMPLATES[validation.language(language)]
    validation.templates(templates, model.limits)
    info = model.info
    prompts = tuple(templates or known)
    keys = [LabelKey(model.name, model.pool.revision, prompts, label) for label in dict.fromkeys(labels)]
    found = [core.label_cache.get(key) for key in keys]
    missing = [key for key, entry in zip(keys, found, strict=True) if entry is None]
    core.metrics.cache_lookups.inc("hit", by=len(keys) - len(missing))
    core.metrics.cache_lookups.inc("miss", by=len(missing))
    # The queue never sees more prompts at a time than one part.
    cost = Cost.of_images(images)._replace(texts=min(len(missing) * len(prompts), PROMPTS_AT_ONCE))
    with model.admitted(call, cost), model.wanted(call) as pictures:
        validation.pictures("images", images, model.limits)
        check_labels(labels, prompts, model.limits.max_text_bytes)
        paths = [f"images[{index}]" for index in range(len(images))]
        await model.add_images(pictures, paths, images)
        vectors = {key.label: entry for key, entry in zip(keys, found, strict=True) if entry is not None}
        label_timings = await embed_labels(core, model, call, missing, vectors)
        outcomes = await pictures.outcomes()
    rows = matrix(outcomes, normalize=True)
    columns = np.stack([vectors[label].vector for label in labels])

    def work() -> Sequence[Classification]:
        scores = similarity.scores(rows, columns, Scores.PROBABILITY, info.logit_scale)
        best = [similarity.best(row, top_k) for row in scores]
        every = np.arange(len(labels), dtype=np.uint32)
        return [Classification(every if row.indices is None else row.indices, row.scores) for row in best]

    return Classified(
        model=model.name,
        revision=model.pool.revision,
        results=await model.threads.run(work) if rows.size * len(labels) > 1 << 20 else work(),
        timings=label_timings.merge(timings(outcomes)),
        truncated=[index for index, label in enumerate(labels) if vectors[label].truncated],
    )


def check_labels(labels: Sequence[str], templates: Sequence[str], most_bytes: int) -> None:
    """Each label fits the byte limit in each template."""
    room = most_bytes - max(validation.utf8_length(template) - 2 for template in templates)
    for index, label in enumerate(labels):
        if validation.utf8_length(label) > room:
            raise validation.too_long(f"labels[{index}]", max(room, 0))


async def embed_labels(
    core: Core, model: Model, call: Call, keys: Sequence[LabelKey], vectors: dict[str, LabelVector]
) -> Timings:
    """Computes the vectors of these labels into `vectors` and into the cache."""
    took = Timings()
    templates = keys[0].templates if keys else ()
    labels_at_once = max(1, PROMPTS_AT_ONCE // max(1, len(templates)))
    for start in range(0, len(keys), labels_at_once):
        part = keys[start : start + labels_at_once]
        # Not str.format: a label or a template may hold other braces.
        prompts = [template.replace("{}", key.label, 1) for key in part for template in templates]
        with model.wanted(call) as wanted:
            await model.add_texts(wanted, prompts)
            outcomes = await wanted.outcomes()
        rows = matrix(outcomes, normalize=True).reshape(len(part), len(templates), -1)
        means = normalized(rows.mean(axis=1, dtype=np.float64).astype(np.float32))
        took = took.merge(timings(outcomes))
        for index, key in enumerate(part):
            cut = any(wanted.truncated[index * len(templates) : (index + 1) * len(templates)])
            entry = LabelVector(means[index], cut)
            core.label_cache.put(key, entry)
            vectors[key.label] = entry
    return took
