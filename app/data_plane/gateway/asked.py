"""Which words a trusted text asks with, so that a policy can tell whether an effect was asked for at all."""

from __future__ import annotations

import re

MAX_WORDS = 2_000
"""Words of one text; what stands beyond them was not asked for."""

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)?")


def words_of(text: str) -> frozenset[str]:
    """Every word in small letters, as it is and as it would be without its usual English endings.

    ``sending``, ``sends`` and ``sent`` are three words to a policy; the first two also count as ``send``. Forms that
    no rule leads to are named by the policy: ``containsAny(["send", "sent"])``.
    """
    found: set[str] = set()
    for count, match in enumerate(_WORD.finditer(text)):
        if count >= MAX_WORDS:
            break
        word = match.group().casefold()
        found.add(word)
        found.update(stems(word))
    return frozenset(found)


def stems(word: str) -> list[str]:
    """What a word may be a form of: ``invited`` of ``invite``, ``planned`` of ``plan``, ``replies`` of ``reply``."""
    word = re.sub(r"['’].*", "", word)
    for ending in ("ing", "ed"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            base = word[: -len(ending)]
            return [base, f"{base}e", *([base[:-1]] if base[-1] == base[-2] else [])]
    if word.endswith("ies") and len(word) > 4:
        return [f"{word[:-3]}y", word[:-1]]
    if word.endswith("es") and len(word) > 4:
        return [word[:-1], word[:-2]]
    if word.endswith("s") and not word.endswith("ss") and len(word) > 3:
        return [word[:-1]]
    return []
