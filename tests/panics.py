"""Real panics of the tokenizers' library, whose Rust raises no Exception but a BaseException.

The table of its normalizer (a trie in an array, 4 bytes a node) has no node behind the first byte of some
letters, and leads out of the array there.
"""

from __future__ import annotations

import struct

import tokenizers
from tokenizers import Tokenizer, models, normalizers, processors

__all__ = ["LETTER", "charsmap", "panicking"]

LETTER = "é"
"""A text panics that holds it, and no other one."""

NODES = 256
FAR = 0x1FFFFF


def charsmap() -> bytes:
    """As `precompiled_charsmap` of a tokenizer.json: the size of the trie, the trie, no replacements."""
    first = LETTER.encode()[0]
    nodes = [FAR << 10 | first if number == first else 0 for number in range(NODES)]
    return struct.pack(f"<{NODES + 1}I", 4 * NODES, *nodes) + b"\0"


def panicking() -> tokenizers.Tokenizer:
    """A tokenizer that knows no word."""
    pieces = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    made = Tokenizer(models.Unigram(pieces, unk_id=3))
    made.normalizer = normalizers.Precompiled(charsmap())
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return made
