# SPDX-License-Identifier: MIT
"""Compares the output that a page shows with what came: words one by one, numbers by their relative difference.

A line `...` stands for any lines. White space and empty lines do not count.
"""

import re

NUMBER = re.compile(r"[-+]?\d+(?:,\d{3})*(?:\.\d+)?(?:e[-+]?\d+)?")


def first_difference(expected: str, actual: str, tolerance: float = 0.02) -> str:
    """What the page says and was not printed, or an empty string."""
    told = [line.split() for line in expected.splitlines() if line.strip()]
    printed = [line.split() for line in actual.splitlines() if line.strip()]
    any_lines = False
    at = 0
    for words in told:
        if words == ["..."]:
            any_lines = True
            continue
        while any_lines and at < len(printed) and not same_words(words, printed[at], tolerance):
            at += 1
        if at == len(printed) or not same_words(words, printed[at], tolerance):
            got = " ".join(printed[at]) if at < len(printed) else "nothing more"
            return f"the page says '{' '.join(words)}', but what came is '{got}'"
        any_lines, at = False, at + 1
    return "" if any_lines or at == len(printed) else f"the page does not say '{' '.join(printed[at])}'"


def same_words(told: list[str], printed: list[str], tolerance: float) -> bool:
    told_text, printed_text = " ".join(told), " ".join(printed)
    if NUMBER.sub("0", told_text) != NUMBER.sub("0", printed_text):
        return False
    pairs = zip(NUMBER.findall(told_text), NUMBER.findall(printed_text))
    values = [(float(a.replace(",", "")), float(b.replace(",", ""))) for a, b in pairs]
    return all(a == b or abs(a - b) <= tolerance * max(abs(a), abs(b)) for a, b in values)
