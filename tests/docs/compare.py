# SPDX-License-Identifier: MIT
"""Compares the output that a page shows with what came: words one by one, numbers by their relative difference.

A line `...` stands for any lines. White space and empty lines do not count.
A table is compared with JSON, one object a line: each has one row, whose cells hold its values.
"""

import json
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


def plain(cell: str) -> str:
    """The text of a cell of Markdown: without its links and code marks."""
    return re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", cell.strip()).replace("`", "").replace("\\*", "*")


def table_difference(table: str, lines: str) -> str:
    """What the table has and the objects have not, or the reverse, or an empty string."""
    rows = [[plain(cell) for cell in line.strip().strip("|").split("|")] for line in table.splitlines()[2:]]
    rows = [row for row in rows if any(row[1:])]  # the others are headings
    objects = [json.loads(line) for line in lines.splitlines()]
    for values in (list(each.values()) for each in objects):
        matching = [row for row in rows if set(values) <= set(row)]
        if len(matching) != 1:
            return f"expected one row of the table with the cells {values}, but there are {len(matching)}"
    return "" if len(rows) == len(objects) else f"expected {len(objects)} rows, but the table has {len(rows)}"
