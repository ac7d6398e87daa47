#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Tests scripts/lib/debian_descriptions.py on made-up package lists; nothing is fetched."""

import gzip
import json
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts" / "lib"))

import debian_descriptions as dd  # noqa: E402

ENGLISH = b"""\
Package: heron
Description-md5: 11
Description-en: patient wading bird for the console
 The heron stands in shallow water and waits
 until a fish comes by.
 .
 It can do these things:
  * stand on one leg for hours
  * look at the water without moving
    for a very long time
 Then it flies away over the lake.
 .
 This paragraph was never translated by anyone.

Package: heron-doc
Description-md5: 22
Description-en: patient wading bird for the console (documentation)

this line is no field and belongs to nothing
 nor does what follows it
Package: stork
Description-md5: 33
Description-en: bird that brings other packages along

Package: nobody
Description-en: stanza without a checksum is left out
"""

ITALIAN = """\
Package: heron
Description-md5: 11
Description-it: paziente trampoliere per la console
 L'airone sta nell'acqua bassa e aspetta che passi
 un pesce.
 .
 Può fare queste cose:
  - stare su una zampa per ore
  - guardare l'acqua senza muoversi
    per un tempo molto lungo
 Poi vola via sopra il lago.
 .
 <trans>

Package: stork
Description-md5: 34
Description-it: traduzione di una descrizione non più attuale
""".encode()


def lines(text):
    return text.splitlines(keepends=True)


def read_part(folder, name):
    sides = [gzip.open(folder / f"{name}.{code}.gz", "rt").read().splitlines() for code in ("en", "it")]
    return list(zip(*sides))


class JoinTest(unittest.TestCase):
    def setUp(self):
        self.english = dd.descriptions(lines(ENGLISH), "en")
        self.italian = dd.descriptions(lines(ITALIAN), "it")

    def test_broken_stanzas_are_left_out_and_the_others_kept(self):
        self.assertEqual(set(self.english), {("heron", "11"), ("heron-doc", "22"), ("stork", "33")})

    def test_only_packages_translated_from_this_very_text_give_pairs(self):
        pairs = dd.segment_pairs(self.english, self.italian, {"heron": "birds"})
        self.assertEqual({group for group, _, _ in pairs}, {"birds"})

    def test_paragraphs_and_list_items_are_paired(self):
        pairs = dd.segment_pairs(self.english, self.italian, {})
        self.assertEqual(
            [(source, target) for _, source, target in pairs],
            [
                ("patient wading bird for the console", "paziente trampoliere per la console"),
                (
                    "The heron stands in shallow water and waits until a fish comes by.",
                    "L'airone sta nell'acqua bassa e aspetta che passi un pesce.",
                ),
                ("It can do these things:", "Può fare queste cose:"),
                ("stand on one leg for hours", "stare su una zampa per ore"),
                (
                    "look at the water without moving for a very long time",
                    "guardare l'acqua senza muoversi per un tempo molto lungo",
                ),
                ("Then it flies away over the lake.", "Poi vola via sopra il lago."),
            ],
        )

    def test_source_packages_come_from_the_package_list(self):
        packages = lines(b"Package: heron\nSource: birds (1.2-3)\n\nPackage: stork\nVersion: 1\n")
        self.assertEqual(dd.source_packages(packages), {"heron": "birds"})


class AlignmentTest(unittest.TestCase):
    def test_other_number_of_paragraphs_keeps_the_synopsis_alone(self):
        pairs = dd.aligned_segments("one\n First.\n .\n Second.", "uno\n Primo e secondo.")
        self.assertEqual(list(pairs), [("one", "uno")])

    def test_other_number_of_items_drops_that_paragraph_alone(self):
        pairs = dd.aligned_segments(
            "one\n  * a\n  * b\n .\n Last.", "uno\n  * a e b\n .\n Ultimo."
        )
        self.assertEqual(list(pairs), [("one", "uno"), ("Last.", "Ultimo.")])

    def test_bullets_are_stripped_and_numbers_in_text_are_not(self):
        text = "one\n - dash\n + plus\n 2) second\n o letter\n •  dot\n 3D view"
        self.assertEqual(dd.blocks(text)[1], ["dash", "plus", "second", "letter", "dot 3D view"])

    def test_white_space_of_any_kind_becomes_one_blank(self):
        self.assertEqual(dd.clean(" a\u00a0 b\u2028c\t"), "a b c")


class FilterTest(unittest.TestCase):
    def wanted(self, source, target):
        return dd.is_wanted(source, target, 4, 6)

    def test_keeps_a_plain_pair(self):
        self.assertTrue(self.wanted("a small tool for birds", "un piccolo strumento per uccelli"))

    def test_drops_what_is_too_short_or_too_long(self):
        self.assertFalse(self.wanted("three small words", "tre piccole parole"))
        self.assertFalse(self.wanted("one two three four five six seven", "uno due tre quattro"))

    def test_drops_unlike_lengths(self):
        self.assertFalse(self.wanted("one two three four five", "uno due"))
        self.assertFalse(self.wanted("one two three four", "uno due tre quattro cinque sei sette otto nove"))

    def test_drops_what_is_hardly_letters(self):
        self.assertFalse(self.wanted("1.0 2.0 3.0 four", "uno due tre quattro"))
        self.assertFalse(self.wanted("one two three four", "1.0 2.0 3.0 quattro"))

    def test_drops_what_is_not_translated(self):
        self.assertFalse(self.wanted("one two three four", "<trans> uno due tre"))
        self.assertFalse(self.wanted("Noto Sans Thai UI", "Noto Sans Thai UI"))

    def test_drops_broken_characters(self):
        self.assertFalse(self.wanted("one two three four", "uno due tre quattr\ufffd"))


class SplitTest(unittest.TestCase):
    def setUp(self):
        self.pairs = [
            (f"group{i // 3}", f"English {i // 2} of group", f"italiano {i} del gruppo")
            for i in range(600)
        ]
        self.parts = dd.split(self.pairs, held_out=40)

    def test_sizes(self):
        self.assertEqual(len(self.parts["test"]), 40)
        self.assertEqual(len(self.parts["valid"]), 40)
        self.assertGreater(len(self.parts["train"]), 450)

    def test_no_side_is_in_two_parts(self):
        sides = {name: {side for pair in part for side in pair} for name, part in self.parts.items()}
        self.assertTrue(sides["train"].isdisjoint(sides["test"]))
        self.assertTrue(sides["train"].isdisjoint(sides["valid"]))
        self.assertTrue(sides["valid"].isdisjoint(sides["test"]))

    def test_no_group_is_in_two_parts(self):
        group_of = {(source, target): group for group, source, target in self.pairs}
        groups = {name: {group_of[pair] for pair in part} for name, part in self.parts.items()}
        self.assertTrue(groups["train"].isdisjoint(groups["test"] | groups["valid"]))
        self.assertTrue(groups["valid"].isdisjoint(groups["test"]))

    def test_does_not_depend_on_the_order_of_the_packages(self):
        self.assertEqual(dd.split(self.pairs[::-1], held_out=40)["test"], self.parts["test"])

    def test_few_pairs_give_a_tenth_to_each_held_out_part(self):
        parts = dd.split(self.pairs[:100])
        self.assertEqual((len(parts["test"]), len(parts["valid"])), (10, 10))


class WriteTest(unittest.TestCase):
    def test_files_are_aligned_complete_and_alone(self):
        parts = {"train": [("one", "uno"), ("two", "due")], "valid": [("è", "é")], "test": []}
        with tempfile.TemporaryDirectory() as folder:
            output = Path(folder) / "data"
            for _ in range(2):  # the second time over the first
                dd.write_parts(parts, output, "it", {"format": 1})
            self.assertEqual(len(list(output.iterdir())), 7)
            for name, part in parts.items():
                self.assertEqual(read_part(output, name), part)
            self.assertEqual(json.loads((output / "made.json").read_text()), {"format": 1})


if __name__ == "__main__":
    unittest.main()
