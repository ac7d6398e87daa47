#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Draws deep_model.svg from deep_model.jsonl, the losses that the programs of docs/deep_model.md print for

    ./build/mine text.txt 24 600

Needs matplotlib and jinja2, as the demonstration's page does.
"""

from themed import HERE, report, save

NAMES = {"post": "Post-norm", "admin-o1": "AdminResidual", "admin-o1-init": "+ SchemeInit"}

with report.plt.rc_context(report._style()):
    figure, axes = report._axes("Loss of a model of 24 layers", "updates", right=0.74)
    ends = []
    for number, (program, name) in enumerate(NAMES.items()):
        records = [record for record in report.read_events(HERE / "deep_model.jsonl") if record["program"] == program]
        colour = report.COLOURS[f"scheme-{number}"]
        losses = [record["loss"] for record in records]
        axes.plot([record["update"] for record in records], losses, color=colour)
        ends.append((losses[-1], name, colour))
    axes.get_ylim()  # settles the limits
    report._label_ends(axes, ends)
    save(report._themed(figure, "deep"), "deep_model.svg")
