#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes parallel text to try the trainer with, without a download: numbers in English and French words.

    number_words.py FOLDER [PAIRS]    FOLDER/train.en and train.fr, valid.* and test.* of 250 pairs each; no pair occurs twice
"""

import random
import sys
from pathlib import Path

ENGLISH = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
).split()
ENGLISH_TENS = "- - twenty thirty forty fifty sixty seventy eighty ninety".split()
FRENCH = "zéro un deux trois quatre cinq six sept huit neuf dix onze douze treize quatorze quinze seize".split()
FRENCH_TENS = "- - vingt trente quarante cinquante soixante - quatre-vingt".split()


def english(n: int) -> str:
    if n < 20:
        return ENGLISH[n]
    if n < 100:
        return ENGLISH_TENS[n // 10] + (f"-{ENGLISH[n % 10]}" if n % 10 else "")
    for size, name in ((1000, "thousand"), (100, "hundred")):
        if n >= size:
            return f"{english(n // size)} {name}" + (f" {english(n % size)}" if n % size else "")
    raise ValueError(n)


def french(n: int, last: bool = True) -> str:
    """`last`: nothing follows, so that `cent` and `quatre-vingt` have their plural."""
    if n < 17:
        return FRENCH[n]
    if n < 20:
        return f"dix-{FRENCH[n - 10]}"
    if n < 100:
        ten, one = divmod(n, 10)
        if ten in (7, 9):
            ten, one = ten - 1, one + 10
        if one == 0:
            return FRENCH_TENS[ten] + ("s" if ten == 8 and last else "")
        return FRENCH_TENS[ten] + (" et " if one in (1, 11) and ten < 8 else "-") + french(one)
    if n < 1000:
        hundreds, rest = divmod(n, 100)
        cent = "cent" if hundreds == 1 else f"{FRENCH[hundreds]} cent"
        if rest:
            return f"{cent} {french(rest, last)}"
        return cent + ("s" if hundreds > 1 and last else "")
    thousands, rest = divmod(n, 1000)
    mille = "mille" if thousands == 1 else f"{french(thousands, last=False)} mille"
    return f"{mille} {french(rest)}" if rest else mille


def main() -> None:
    folder = Path(sys.argv[1])
    pairs = int(sys.argv[2]) if len(sys.argv) > 2 else 20000
    numbers = random.Random(1).sample(range(1, 1_000_000), pairs + 500)
    parts = {"valid": numbers[:250], "test": numbers[250:500], "train": numbers[500:]}
    folder.mkdir(parents=True, exist_ok=True)
    for name, part in parts.items():
        for language, words in (("en", english), ("fr", french)):
            (folder / f"{name}.{language}").write_text("".join(f"{words(n)}\n" for n in part), encoding="utf-8")


if __name__ == "__main__":
    main()
