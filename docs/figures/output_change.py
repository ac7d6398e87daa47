#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Draws output_change.svg from output_change.jsonl, which came from

    evenkeel-translate output-change --embed-dim 512 --dim-feedforward 2048 --depths 6,18,50,100 \\
        --trials 4 --seeds 3 --output docs/figures/output_change.jsonl

Needs matplotlib and jinja2, as the demonstration's page does.
"""

import re
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "scripts" / "lib"))

import report  # noqa: E402

page = (HERE.parents[1] / "scripts" / "lib" / "report.html.j2").read_text()
light, dark = re.findall(r":root\s*{([^}]*)}", page)[:2]
style = f"<style>:root{{{light}}} @media (prefers-color-scheme: dark){{:root{{{dark}}}}} text{{font-family:sans-serif}}</style>"

records = report.read_events(HERE / "output_change.jsonl")
report.TITLES.update({record["scheme"]: record["title"] for record in records})
svg = str(report.output_change_chart(records))
svg = re.sub(r"(<svg [^>]*>)", lambda match: match.group(1) + style, svg, count=1)
(HERE / "output_change.svg").write_text(svg)
