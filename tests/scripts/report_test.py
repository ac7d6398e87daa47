#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Tests scripts/lib/report.py on made-up logs."""

import json
import re
import sys
import tempfile
import unittest
import xml.etree.ElementTree
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts" / "lib"))

try:
    import report
except ModuleNotFoundError as missing:
    if missing.name not in ("jinja2", "matplotlib"):
        raise
    print(f"skipped: {missing.name} is not installed")
    sys.exit(0)


report.TITLES.update(
    {
        "post": "Post-LN",
        "pre": "Pre-LN",
        "admin": "Admin O(logn)",
        "admin-o1": "Admin O(1)",
        "admin-constant": "Admin constant",
        "tfixup": "T-Fixup",
    }
)


def train(step, loss, **more):
    return {"event": "train", "step": step, "seconds": step / 10, "loss": loss, "tokens_per_second": 3000, **more}


def valid(step, loss, bleu, samples=()):
    return {"event": "valid", "step": step, "seconds": step / 10, "loss": loss, "bleu": bleu, "samples": list(samples)}


def run_of(scheme, events, status="finished"):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log.jsonl"
        path.write_text("".join(json.dumps(event) + "\n" for event in events))
        run = report.Run(scheme, status)
        run.read_log(path)
    return run


def learning(scheme="tfixup", bleu=20.0):
    events = [train(step, 7.0 - step / 200) for step in range(50, 850, 50)]
    sample = {"source": "a <b>bold</b> claim", "reference": "R & D", "hypothesis": "<script>x</script>"}
    return run_of(scheme, [*events, valid(400, 5.0, bleu / 2), valid(800, 3.5, bleu, [sample])])


def stuck(scheme="post"):
    return run_of(scheme, [*(train(step, 6.2) for step in range(50, 850, 50)), valid(800, 6.1, 0.0)])


def change(scheme, layers, value):
    return {"scheme": scheme, "layers": layers, "sublayers": 2 * layers, "mean": value, "standard_error": value / 10}


class LogTest(unittest.TestCase):
    def test_a_line_still_being_written_is_left_out(self):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "log.jsonl"
            path.write_text(json.dumps(train(50, 6.0)) + '\n{"event":"train","step":1')
            self.assertEqual([event["step"] for event in report.read_events(path)], [50])

    def test_a_missing_log_is_an_empty_one(self):
        self.assertEqual(report.read_events("/nowhere/log.jsonl"), [])

    def test_the_end_gives_steps_and_speed(self):
        run = run_of("post", [train(50, 6.0), {"event": "end", "reason": "time", "step": 70, "tokens_per_second": 9.0}])
        self.assertEqual((run.step, run.tokens_per_second), (70, 9.0))

    def test_only_a_level_loss_without_translations_is_stuck(self):
        self.assertTrue(stuck().is_stuck())
        self.assertFalse(learning().is_stuck())
        self.assertFalse(learning(bleu=0.0).is_stuck())


class ReadingTest(unittest.TestCase):
    def test_names_what_learns_first_best_and_what_is_stuck(self):
        state = report.State(runs=[stuck(), learning("admin-o1", 18.0), learning("tfixup", 21.0)], seconds=150)
        text = report.reading(state)
        self.assertIn("After 150 s", text)
        self.assertLess(text.index("T-Fixup"), text.index("Admin O(1) at 18.0"))
        self.assertIn("Post-LN stays", text)

    def test_says_how_output_change_grows(self):
        records = [change("post", 2, 0.01), change("post", 18, 0.08), change("admin-o1", 2, 0.01)]
        self.assertIn("8.0 times as much with Post-LN", report.reading(report.State(runs=[], output_change=records)))


class PageTest(unittest.TestCase):
    def page(self, *runs, **more):
        return report.render(report.State(runs=list(runs), **more))

    def test_names_every_scheme(self):
        learned = ("admin", "admin-o1", "admin-constant", "tfixup", "pre")
        page = self.page(stuck(), *(learning(scheme) for scheme in learned))
        for name in report.TITLES.values():
            self.assertIn(name, page)

    def test_escapes_what_comes_from_texts(self):
        page = self.page(learning(), facts=[("command", "./demo '<i>'")])
        self.assertNotIn("<script>x", page)
        self.assertIn("&lt;script&gt;x", page)
        self.assertIn("a &lt;b&gt;bold", page)
        self.assertIn("R &amp; D", page)
        self.assertNotIn("<i>", page)

    def test_needs_nothing_but_itself(self):
        page = self.page(learning(), output_change=[change("post", 2, 0.01), change("post", 6, 0.03)])
        self.assertEqual(re.findall(r'(?:src|href)="(?!#)[^"]*"|@import|url\((?!#)', page), [])
        self.assertNotIn("<script", page)

    def test_charts_are_well_formed_and_their_ids_unique(self):
        page = self.page(stuck(), learning(), output_change=[change("post", 2, 0.01), change("post", 6, 0.03)])
        charts = re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL)
        self.assertEqual(len(charts), 3)
        for chart in charts:
            xml.etree.ElementTree.fromstring(chart)
            self.assertNotIn("#0a00", chart)
            self.assertNotIn("#0101", chart)
        ids = re.findall(r'\bid="([^"]*)"', page)
        self.assertEqual(len(ids), len(set(ids)))

    def test_renews_itself_only_while_running(self):
        self.assertIn('http-equiv="refresh"', self.page(learning(), running=True))
        self.assertNotIn('http-equiv="refresh"', self.page(learning(), running=False))

    def test_a_run_that_diverged_is_shown_without_a_number(self):
        events = [train(50, 6.0), train(100, 900.0), train(150, float("nan")), valid(150, float("inf"), None)]
        page = self.page(run_of("post", events, "diverged"), learning())
        self.assertIn("diverged", page)
        self.assertIsNone(re.search(r"\b(nan|inf|None)\b", page))

    def test_nothing_but_losses_that_are_no_numbers(self):
        self.page(run_of("post", [train(50, None), train(100, float("nan")), valid(100, None, None)], "diverged"))

    def test_before_the_first_validation_and_before_the_first_step(self):
        page = self.page(run_of("post", [train(50, 6.0)], "training"), report.Run("tfixup"), running=True)
        self.assertIn("waits its turn", page)
        self.page(report.Run("post"), report.Run("tfixup"), running=True)

    def test_one_run_with_one_point(self):
        self.page(run_of("post", [train(1, 6.0), valid(1, 6.0, 0.0)]))

    def test_output_change_that_is_broken_or_lonely(self):
        lonely = [change("post", 2, 0.01), change("admin", 2, float("nan")), change("pre", 2, 0.0), {"scheme": "admin"}]
        self.assertIn("<svg", self.page(report.Run("post"), output_change=lonely))

    def test_test_lines_replace_those_of_validation(self):
        run, other = learning("tfixup"), learning("admin")
        run.translations = ["tradotto"]
        page = self.page(run, other, test=[("translated", "riferimento")])
        self.assertIn("tradotto", page)
        self.assertNotIn("bold", page)


if __name__ == "__main__":
    unittest.main()
