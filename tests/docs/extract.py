#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Keeps README.md and docs/ true: every fenced block of a page is compiled, configured, run or compared.

    extract.py generate OUTPUT PAGE...   the C++ blocks of all pages as one program, a function a block
    extract.py run PAGE ...              runs a page from top to bottom in a new folder; see --help

A block is, by its language,
    cpp     statements, behind the names of prelude.hpp, or declarations, told by their first line
    cmake   the part of a CMakeLists.txt behind `project` and `add_executable(my_program main.cpp)`
    sh      commands, each run as it stands or as stand_ins.py says
    text    the output of the block before it; a line `...` stands for any lines, numbers may differ by 2 %
    python  a file
and anything else is an error. A comment directly above a block says what cannot be seen in it:
    <!-- file: NAME -->     the block is that file, in the folder where the page's commands run
    <!-- continues -->      statements of one function with those of the C++ block before
    <!-- declarations -->   declarations that their first line does not tell
    <!-- numbers vary -->   output whose numbers, such as times, are others each time; or <!-- numbers within 9 % -->
and one directly above a table that its rows are what a command prints as JSON, an object a line:
    <!-- rows: COMMAND -->
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import stand_ins
from compare import first_difference, table_difference

ROOT = Path(__file__).resolve().parents[2]
NOTES = {"cpp": "continues|declarations", "text": r"numbers vary|numbers within \d+ %"}
DECLARATION = re.compile(r"(template|struct|class|namespace|enum|TORCH_MODULE)\b")
PROJECT = """\
cmake_minimum_required(VERSION 3.25)
project(page LANGUAGES CXX)
add_executable(my_program main.cpp)
{}
get_target_property(libraries my_program LINK_LIBRARIES)
if(NOT libraries MATCHES "evenkeel::evenkeel")
  message(FATAL_ERROR "my_program does not link evenkeel")
endif()
"""


class PageError(Exception):
    """A page that is not true, or a block that nobody would test."""


@dataclass
class Block:
    page: str
    line: int  # of the block's first line of text
    language: str
    note: str
    text: str

    @property
    def where(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def file(self) -> str:
        return self.note[len("file: "):] if self.note.startswith("file: ") else ""

    @property
    def includes(self) -> list[str]:
        return [line for line in self.text.splitlines() if line.startswith("#include")]

    @property
    def code(self) -> str:
        """The text without its includes, which stand elsewhere; as many lines as before."""
        return "\n".join("" if line.startswith("#include") else line for line in self.text.splitlines())

    @property
    def tolerance(self) -> float:
        if self.note == "numbers vary":
            return float("inf")
        return float(self.note.split()[2]) / 100 if self.note else 0.02

    @property
    def declares(self) -> bool:
        if self.note == "declarations":
            return True
        lines = [line for line in self.code.splitlines() if line and not line.startswith("//")]
        return not lines or (bool(DECLARATION.match(lines[0])) and self.note != "continues")


def blocks_of(page: str, markdown: str) -> list[Block]:
    blocks, lines, opened, table, above = [], markdown.splitlines(), None, None, ""
    for number, line in enumerate(lines, start=1):
        if table and not opened and line.startswith("|"):
            table.text += line + "\n"
            continue
        table = None
        fence = re.fullmatch(r"( *)(```+|~~~+)(.*)", line)
        if opened and fence and not fence[3].strip():
            indent, block = opened
            block.text = "\n".join(text[indent:] for text in lines[block.line - 1:number - 1])
            blocks.append(check(block, blocks))
            opened = None
        elif fence and not opened:
            opened = len(fence[1]), Block(page, number + 1, fence[3].strip(), above, "")
        note = re.fullmatch(r" *<!-- (.*) -->", line)
        above = note[1] if note else ""
        if above.startswith("rows: ") and not opened:
            table = Block(page, number + 1, "table", above, "")
            blocks.append(table)
    if opened:
        raise PageError(f"{opened[1].where}: the block does not end")
    for block in blocks:
        if block.language == "table" and not block.text:
            raise PageError(f"{block.where}: expected a table below '{block.note}'")
    return blocks


def check(block: Block, before: list[Block]) -> Block:
    if block.language not in ("cpp", "cmake", "sh", "text", "python"):
        raise PageError(f"{block.where}: expected cpp, cmake, sh or text, but got '{block.language}', which nothing tests")
    if block.language == "python" and not block.file:
        raise PageError(f"{block.where}: a program is a file, <!-- file: NAME -->, that commands run")
    if block.note and not block.file and not re.fullmatch(NOTES.get(block.language, "-"), block.note):
        raise PageError(f"{block.where}: a {block.language} block cannot be '{block.note}'")
    if block.language == "text" and not block.file:
        if not before or before[-1].file or before[-1].language not in ("cpp", "sh"):
            raise PageError(f"{block.where}: a text block is output, but nothing that prints stands before it")
    if block.language == "cpp" and not block.file and re.search(r"^int main\(", block.text, re.MULTILINE):
        raise PageError(f"{block.where}: a program is a file, <!-- file: main.cpp -->, that commands build and run")
    return block


def read_page(page: str) -> list[Block]:
    return blocks_of(page, (ROOT / page).read_text(encoding="utf-8"))


# ---------------------------------------------------------------- C++


def program(blocks: list[Block]) -> str:
    """All statements as functions behind all declarations, each line known to the compiler by its page and number."""
    cpp = [block for block in blocks if block.language == "cpp" and not block.file]
    functions: list[list[Block]] = []
    for block in cpp:
        if block.declares:
            continue
        if block.note == "continues":
            if not functions or functions[-1][-1].page != block.page:
                raise PageError(f"{block.where}: there are no statements on this page that it could continue")
            functions[-1].append(block)
        else:
            functions.append([block])

    def numbered(block: Block) -> str:
        return f'#line {block.line} "{block.page}"\n{block.code}\n'

    includes = dict.fromkeys(include for block in cpp for include in block.includes)
    parts = ["// Made by tests/docs/extract.py.", '#include "prelude.hpp"', *includes, "using namespace docs;"]
    parts += [numbered(block) for block in cpp if block.declares]
    for index, group in enumerate(functions):
        begins = [f'docs::begins("{block.where}");\n{numbered(block)}' for block in group]
        parts.append(f"static void block_{index}() {{\n{''.join(begins)}}}")
    table = ", ".join(f'{{"{group[0].page}", block_{index}}}' for index, group in enumerate(functions))
    parts.append(f"int main(int argc, char** argv) {{ return docs::run(argc, argv, {{{table}}}); }}")
    return "\n".join(parts) + "\n"


# ---------------------------------------------------------------- a page, from top to bottom


def commands_of(block: Block) -> list[str]:
    joined = re.sub(r"\\\n\s*", "", block.text)
    lines = [re.sub(r"\s+#.*", "", line).strip() for line in joined.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


class Run:
    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self.options, self.folder = options, folder
        self.environment = {**os.environ, **dict(setting.split("=", 1) for setting in options.env)}
        # Nothing comes from the network.
        dead_end = {f"{name}_proxy": "http://127.0.0.1:9" for name in ("http", "https")}
        self.environment.update(dead_end, PIP_NO_INDEX="1", GIT_ALLOW_PROTOCOL="file", HOME=str(folder))
        (folder / "evenkeel").symlink_to(ROOT)
        self.snippets = None

    def block(self, block: Block, output: str) -> str:
        """Does what the block says and returns what that printed; `output` is what the one before did."""
        if block.file:
            path = self.folder / block.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text + "\n", encoding="utf-8")
        elif block.language == "cpp":
            return self.cpp(block)
        elif block.language == "cmake":
            self.cmake(block)
        elif block.language == "table":
            difference = table_difference(block.text, self.command(block.note[len("rows: "):], block))
            if difference:
                raise PageError(f"{block.where}: {difference}")
        elif block.language == "sh":
            return "".join(self.command(command, block) for command in commands_of(block))
        else:
            difference = first_difference(block.text, output, block.tolerance)
            if difference:
                raise PageError(f"{block.where}: {difference}")
        return ""

    def command(self, command: str, block: Block) -> str:
        for pattern, instead, _ in stand_ins.STAND_INS:
            match = re.fullmatch(pattern, command)
            if match:
                command = match.expand(instead)
                break
        print(f"{block.where}$ {command}", flush=True)
        return self.shell(command, block.where) if command else ""

    def shell(self, command: str, where: str) -> str:
        result = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command], cwd=self.folder, env=self.environment,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        print(result.stdout, end="", flush=True)
        if result.returncode:
            raise PageError(f"{where}: failed with {result.returncode}: {command}")
        return result.stdout

    def cpp(self, block: Block) -> str:
        if self.snippets is None:
            text = self.shell(f"'{self.options.snippets}' {block.page}", block.page)
            parts = re.split(r"^begins (\S+)\n", text, flags=re.MULTILINE)
            self.snippets = dict(zip(parts[1::2], parts[2::2]))
        if not block.declares and block.where not in self.snippets:
            raise PageError(f"{block.where}: the program of the C++ blocks is of another state of the page; build it")
        return self.snippets.get(block.where, "")

    def cmake(self, block: Block) -> None:
        folder = self.folder / f"cmake-{block.line}"
        folder.mkdir()
        (folder / "evenkeel").symlink_to(ROOT)
        (folder / "main.cpp").write_text("int main() {}\n")
        (folder / "CMakeLists.txt").write_text(PROJECT.format(block.text))
        source = f"-DEVENKEEL_URL='{ROOT}' -DFETCHCONTENT_SOURCE_DIR_EVENKEEL='{ROOT}'"
        self.shell(f"cmake -S '{folder}' -B '{folder}/build' {source} --no-warn-unused-cli --log-level=ERROR", block.where)


def run(options: argparse.Namespace) -> None:
    folder = Path(tempfile.mkdtemp(prefix=f"{Path(options.page).stem}-", dir=options.work))
    try:
        page = Run(options, folder)
        for command in stand_ins.BEFORE.get(options.page, []):
            page.shell(command, options.page)
        output = ""
        for block in read_page(options.page):
            output = page.block(block, output)
    finally:
        shutil.rmtree(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    actions = parser.add_subparsers(dest="action", required=True)
    generate = actions.add_parser("generate")
    generate.add_argument("output", type=Path)
    generate.add_argument("pages", nargs="+")
    one = actions.add_parser("run")
    one.add_argument("page")
    one.add_argument("--snippets", required=True, help="the program that `generate` wrote, built")
    one.add_argument("--work", required=True, help="folder for the new folder")
    one.add_argument("--env", action="append", default=[], metavar="NAME=VALUE", help="for the commands")
    options = parser.parse_args()
    try:
        if options.action == "generate":
            blocks = [block for page in options.pages for block in read_page(page)]
            options.output.write_text(program(blocks), encoding="utf-8")
        else:
            run(options)
    except PageError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
