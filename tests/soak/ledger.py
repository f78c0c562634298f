"""How every call ended as its caller saw it: counts by who called, what and how. Bounded, whatever happens.

An ending is *told* when the server said it: an answer, or an error with details. All others are *untold*:
the caller gave up (`cancelled`), its deadline passed (`deadline`), or the connection broke (`lost`). The
server may have counted an untold call as anything, or, if it never saw it or died with it, not at all.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

__all__ = ["Ledger", "Untold"]

Untold = Literal["cancelled", "deadline", "lost"]
_KEPT = 20


@dataclass(slots=True)
class Ledger:
    """told: by caller, method and code. untold: by caller, method and how. reasons: of told errors.

    answered: items of answered calls, by model and modality. streamed: items of streams, by what became of
    them. surprises: the first of the endings that no promise allows; there were `surprising` of them. wrong:
    answers that were not those of what was asked. asked_to_cancel: calls that their caller meant to give up.
    """

    told: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    untold: Counter[tuple[str, str, Untold]] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    answered: Counter[tuple[str, str]] = field(default_factory=Counter)
    streamed: Counter[str] = field(default_factory=Counter)
    surprises: list[str] = field(default_factory=list)
    surprising: int = 0
    wrong: int = 0
    checked: int = 0
    asked_to_cancel: int = 0
    blamed_on_decoders: int = 0
    """Good pictures that ended as UNDECODABLE_IMAGE: their decoder was killed."""

    def surprise(self, what: str) -> None:
        """An ending that should not be."""
        self.surprising += 1
        if len(self.surprises) < _KEPT:
            self.surprises.append(what[:300])

    def check(self, right: bool, what: str) -> None:
        """An answer that was compared with what it should be."""
        self.checked += 1
        if not right:
            self.wrong += 1
            self.surprise(f"a wrong answer: {what}")

    @property
    def calls(self) -> int:
        """All that were made."""
        return self.told.total() + self.untold.total()

    def told_of(self, caller: str) -> Counter[str]:
        """One caller's told endings by code."""
        found: Counter[str] = Counter()
        for (who, _, code), count in self.told.items():
            if who == caller:
                found[code] += count
        return found

    def untold_of(self, caller: str) -> Counter[str]:
        """One caller's untold endings."""
        found: Counter[str] = Counter()
        for (who, _, how), count in self.untold.items():
            if who == caller:
                found[how] += count
        return found
