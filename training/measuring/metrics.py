"""Retrieval metrics over similarity matrices; pure functions."""

import torch
from torch import Tensor


def ranks(similarity: Tensor, positive: Tensor) -> Tensor:
    """How many candidates come before the right one, per query: 0 is first place.

    `similarity` is [queries, candidates] and `positive` [queries] the index of the right candidate. A wrong
    candidate with exactly the right one's score counts as before it, so ties never flatter.
    """
    right = similarity.gather(1, positive[:, None])
    return (similarity >= right).sum(dim=1) - 1


def recall_at(place: Tensor, cutoffs: tuple[int, ...] = (1, 5, 10)) -> dict[str, float]:
    """Share of queries, in per cent, whose right candidate is among the first k, as {"R@k": …}."""
    return {f"R@{cutoff}": round(100 * (place < cutoff).float().mean().item(), 2) for cutoff in cutoffs}


def both_ways(similarity: Tensor, labels: Tensor) -> tuple[dict[str, float], dict[str, float]]:
    """R@1/5/10 of text → picture, then of picture → text.

    similarity: [pictures, concepts]; labels: each picture's concept, [pictures], none twice.
    """
    to_text = ranks(similarity, labels)
    to_picture = ranks(similarity[:, labels].T, torch.arange(len(labels)))
    return recall_at(to_picture), recall_at(to_text)


def mean_recalls(tables: list[dict[str, float]]) -> dict[str, float]:
    """The mean of tables of recall, cutoff by cutoff."""
    return {cutoff: round(sum(table[cutoff] for table in tables) / len(tables), 2) for cutoff in tables[0]}
