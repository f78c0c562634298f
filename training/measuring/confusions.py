"""What a model still takes for what: the concepts that are confused in most languages and looks."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Confusion:
    """Pictures of `shown` were taken for `taken_for`, in so many of the questions asked."""

    shown: int
    taken_for: int
    count: int


def confusions(answers: Iterable[tuple[Tensor, Tensor]], most: int) -> list[Confusion]:
    """The commonest wrong answers, most common first.

    answers: per look and language, the first answer's class number and the right one's, both [pictures].
    """
    counts: Counter[tuple[int, int]] = Counter()
    for given, right in answers:
        wrong = given != right
        counts.update(zip(right[wrong].tolist(), given[wrong].tolist(), strict=True))
    return [Confusion(shown, taken_for, count) for (shown, taken_for), count in counts.most_common(most)]
