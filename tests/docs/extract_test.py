#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Tests extract.py on made-up pages: what is wrong with a page is found."""

import argparse
import contextlib
import io
import re
import tempfile
import unittest
from pathlib import Path

import extract
import stand_ins
from compare import first_difference
from extract import PageError, blocks_of, program


def page(*blocks: str) -> str:
    """Blocks as `language` or `<!-- note -->` lines and text, between sentences."""
    return "# A page\n\n" + "\nA sentence.\n\n".join(f"{block}\n```\n" for block in blocks)


def run(markdown: str) -> None:
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        run_page = extract.Run(argparse.Namespace(env=[], snippets="true"), Path(folder))
        output = ""
        for block in blocks_of("page.md", markdown):
            output = run_page.block(block, output)


class BlocksTest(unittest.TestCase):
    def test_a_block_has_its_language_place_and_text(self):
        block, = blocks_of("page.md", page("```sh\necho one\n\necho two"))
        self.assertEqual((block.language, block.where, block.text), ("sh", "page.md:4", "echo one\n\necho two"))

    def test_a_block_in_a_list_loses_its_indent(self):
        block, = blocks_of("page.md", "1. so:\n\n   ```sh\n   echo\n     more\n   ```\n")
        self.assertEqual(block.text, "echo\n  more")

    def test_a_language_that_nothing_tests_is_refused(self):
        for language in ("json", "perl", "", "c++", "cpp ignore"):
            with self.assertRaisesRegex(PageError, r"page.md:4: expected cpp, cmake, sh or text"):
                blocks_of("page.md", page(f"```{language}\nx"))

    def test_a_note_that_says_nothing_is_refused(self):
        for block in ("<!-- skip -->\n```sh\nfalse", "<!-- continues -->\n```sh\necho"):
            with self.assertRaisesRegex(PageError, "cannot be"):
                blocks_of("page.md", page(block))

    def test_text_that_nothing_printed_is_refused(self):
        for blocks in (("```text\nhello",), ("<!-- file: CMakeLists.txt -->\n```cmake\nproject(x)", "```text\nhello")):
            with self.assertRaisesRegex(PageError, "nothing that prints"):
                blocks_of("page.md", page(*blocks))

    def test_a_program_that_nobody_would_build_is_refused(self):
        for block in ("```cpp\nint main() {}", "```python\nprint()"):
            with self.assertRaisesRegex(PageError, "a program is a file"):
                blocks_of("page.md", page(block))

    def test_a_python_file_is_there_for_commands(self):
        run(page("<!-- file: say.py -->\n```python\nprint('hello')", "```sh\npython3 say.py", "```text\nhello"))

    def test_a_block_without_an_end_is_refused(self):
        with self.assertRaisesRegex(PageError, "does not end"):
            blocks_of("page.md", "```sh\necho\n")


class ProgramTest(unittest.TestCase):
    def test_statements_become_functions_behind_all_declarations(self):
        text = program(blocks_of("page.md", page("```cpp\nMine y;", "```cpp\n#include <vector>\nstruct Mine {};")))
        places = [text.index(part) for part in ("#include <vector>", "struct Mine {};", "block_0()", "Mine y;", "int main")]
        self.assertEqual(places, sorted(places))

    def test_the_compiler_is_told_page_and_line(self):
        self.assertIn('#line 4 "page.md"\nx = 1;', program(blocks_of("page.md", page("```cpp\nx = 1;"))))

    def test_what_continues_is_in_the_same_function(self):
        text = program(blocks_of("page.md", page("```cpp\nint y = 1;", "<!-- continues -->\n```cpp\ny = 2;")))
        self.assertIn("block_0", text)
        self.assertNotIn("block_1", text)

    def test_there_has_to_be_something_to_continue(self):
        with self.assertRaisesRegex(PageError, "no statements"):
            program(blocks_of("page.md", page("<!-- continues -->\n```cpp\ny = 2;")))


class OutputTest(unittest.TestCase):
    def test_words_have_to_be_the_same_and_numbers_close(self):
        self.assertEqual(first_difference("loss  1.00 at 1,000", "loss 1.01 at 1,010\n"), "")
        self.assertIn("but what came is", first_difference("loss 1.00", "loss 1.03"))
        self.assertIn("but what came is", first_difference("loss 1.00", "gain 1.00"))

    def test_numbers_that_vary_have_to_be_numbers(self):
        self.assertEqual(first_difference("after 3.5 s", "after 70 s", float("inf")), "")
        self.assertIn("nan", first_difference("after 3.5 s", "after nan s", float("inf")))

    def test_more_and_less_than_the_page_says_are_found(self):
        self.assertIn("does not say 'b'", first_difference("a", "a\nb"))
        self.assertIn("nothing more", first_difference("a\nb", "a"))

    def test_three_dots_stand_for_any_lines(self):
        self.assertEqual(first_difference("a\n...\nd", "a\nb\nc\nd"), "")
        self.assertEqual(first_difference("a\n...", "a\nb"), "")
        self.assertIn("nothing more", first_difference("a\n...\ne", "a\nb"))


class RunTest(unittest.TestCase):
    def test_commands_run_in_order_in_one_folder(self):
        run(page("<!-- file: a/b.txt -->\n```text\nhello", "```sh\ncp a/b.txt c.txt\ncat c.txt \\\n  a/b.txt", "```text\nhello\nhello"))

    def test_a_command_that_fails_is_found(self):
        with self.assertRaisesRegex(PageError, "page.md:4: failed with 1: false"):
            run(page("```sh\ntrue\nfalse\ntrue"))

    def test_a_note_says_how_far_numbers_may_lie_apart(self):
        run(page("```sh\necho 108", "<!-- numbers within 10 % -->\n```text\n100"))
        with self.assertRaisesRegex(PageError, "the page says '100'"):
            run(page("```sh\necho 112", "<!-- numbers within 10 % -->\n```text\n100"))
        run(page("```sh\necho 112", "<!-- numbers vary -->\n```text\n100"))

    def test_output_that_differs_is_found(self):
        with self.assertRaisesRegex(PageError, "the page says 'two'"):
            run(page("```sh\necho one", "```text\ntwo"))

    def test_the_network_is_out_of_reach(self):
        run(page("```sh\necho $https_proxy", "```text\nhttp://127.0.0.1:9"))

    def test_a_stand_in_runs_in_place_of_its_command(self):
        stand_ins.STAND_INS.insert(0, (r"slow (\w+)", r"echo \1", "for this test"))
        self.addCleanup(stand_ins.STAND_INS.pop, 0)
        run(page("```sh\nslow thing  # which takes long", "```text\nthing"))

    def test_cplusplus_of_another_state_of_the_page_is_found(self):
        with self.assertRaisesRegex(PageError, "another state"):
            run(page("```cpp\nx = 1;"))

    def test_a_wrong_cmake_block_is_found(self):
        with self.assertRaisesRegex(PageError, "failed with 1: cmake"):
            run(page("```cmake\nfind_package(there_is_none REQUIRED)"))


class TableTest(unittest.TestCase):
    COMMAND = """printf '{"name":"a","title":"A"}\\n{"name":"b","title":"B*"}\\n'"""

    def check(self, *rows: str, command: str = COMMAND) -> None:
        run(f"# A page\n\n<!-- rows: {command} -->\n| title | name |\n| --- | --- |\n" + "\n".join(rows) + "\n\nText.\n")

    def test_rows_that_are_those_of_the_program_pass(self):
        self.check("| **Group** | |", "| [B*](b.md) | `b` |", "| A | `a` |")

    def test_a_missing_row_is_found(self):
        with self.assertRaisesRegex(PageError, r"page.md:4: expected one row .*'b', 'B\*'.* there are 0"):
            self.check("| A | `a` |")

    def test_a_row_of_other_words_is_found(self):
        with self.assertRaisesRegex(PageError, "there are 0"):
            self.check("| [B](b.md) | `b` |", "| A | `a` |")

    def test_a_row_too_many_is_found(self):
        with self.assertRaisesRegex(PageError, "expected 2 rows, but the table has 3"):
            self.check("| B* | `b` |", "| A | `a` |", "| C | `c` |")
        with self.assertRaisesRegex(PageError, "there are 2"):
            self.check("| B* | `b` |", "| A | `a` |", "| A | `a` |")

    def test_a_command_that_fails_is_found(self):
        with self.assertRaisesRegex(PageError, "failed with 1: false"):
            self.check("| A | `a` |", command="false")

    def test_no_table_is_an_error(self):
        with self.assertRaisesRegex(PageError, "expected a table below"):
            run("<!-- rows: echo -->\n\nText.\n")


class PagesTest(unittest.TestCase):
    def setUp(self):
        self.pages = [extract.ROOT / "README.md", *extract.ROOT.glob("docs/**/*.md")]

    def test_each_stand_in_is_used(self):
        blocks = [block for path in self.pages for block in extract.read_page(str(path.relative_to(extract.ROOT)))]
        commands = [command for block in blocks if block.language == "sh" for command in extract.commands_of(block)]
        for pattern, _, reason in stand_ins.STAND_INS:
            self.assertTrue(any(re.fullmatch(pattern, command) for command in commands), pattern)
            self.assertTrue(reason)

    def test_links_lead_to_files(self):
        # Without anchors: Doxygen does not know those of Markdown.
        for path in self.pages:
            for link in re.findall(r"\]\((?!https?://)([^) ]*)\)", path.read_text(encoding="utf-8")):
                self.assertTrue((path.parent / link).exists(), f"{path.name}: {link}")


if __name__ == "__main__":
    unittest.main()
