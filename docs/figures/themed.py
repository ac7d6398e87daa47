# SPDX-License-Identifier: MIT
"""Writes the charts of the demonstration's page as pictures of their own, for light and dark mode."""

import re
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
LIBRARY = HERE.parents[1] / "scripts" / "lib"
sys.path.insert(0, str(LIBRARY))

import report  # noqa: E402


def save(chart, name):
    light, dark = re.findall(r":root\s*{([^}]*)}", (LIBRARY / "report.html.j2").read_text())[:2]
    style = (f"<style>:root{{{light}}} @media (prefers-color-scheme: dark){{:root{{{dark}}}}} "
             "text{font-family:sans-serif}</style>")
    svg = re.sub(r"(<svg [^>]*>)", lambda match: match.group(1) + style, str(chart), count=1)
    (HERE / name).write_text(svg)
