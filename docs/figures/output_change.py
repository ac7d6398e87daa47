#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Draws output_change.svg from output_change.jsonl, which came from

    evenkeel-translate output-change --embed-dim 512 --dim-feedforward 2048 --depths 6,18,50,100 \\
        --trials 4 --seeds 3 --output docs/figures/output_change.jsonl

Needs matplotlib and jinja2, as the demonstration's page does.
"""

from themed import HERE, report, save

records = report.read_events(HERE / "output_change.jsonl")
report.TITLES.update({record["scheme"]: record["title"] for record in records})
save(report.output_change_chart(records), "output_change.svg")
