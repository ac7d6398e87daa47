#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Draws output_change_all.svg, and prints the table of docs/output_change.md, from output_change_all.jsonl, which
came from both of

    evenkeel-translate output-change --embed-dim 512 --dim-feedforward 2048 --seeds 3 --depths 6,12,25,50,100
    evenkeel-translate output-change --embed-dim 512 --dim-feedforward 2048 --seeds 3 --depths 3,6,12,20,40 --model both

Needs matplotlib and jinja2, as the demonstration's page does.
"""

import math
from collections import defaultdict

from themed import HERE, report, save

curves = {"encoder": defaultdict(list), "both": defaultdict(list)}
titles = {}
for record in report.read_events(HERE / "output_change_all.jsonl"):
    titles[record["scheme"]] = record["title"]
    curves[record["model"]][record["scheme"]].append((record["sublayers"], record["mean"]))


def slope(points):
    """Of the line from the first depth to the last, on logarithmic axes; nothing where nothing moves."""
    (first, low), (last, high) = points[0], points[-1]
    return math.log(high / low) / math.log(last / first) if low > 0 and high > 0 else None


def cells(points):
    steep = slope(points)
    return [*(f"{points[i][1]:.2g}" if points[i][1] else "0" for i in (0, -1)),
            f"{steep:.2f}" if steep is not None else "-"]


# Those whose branches begin at 0 or nearly so would need ten more decades.
drawn = {scheme: points for scheme, points in curves["encoder"].items() if points[0][1] > 1e-4 and points[-1][1] > 1e-6}
panels = {
    "grows with depth": lambda steep: steep > 0.7,
    "grows slowly": lambda steep: 0.1 < steep <= 0.7,
    "does not grow": lambda steep: steep <= 0.1,
}
with report.plt.rc_context(report._style()):
    figure, all_axes = report.plt.subplots(3, 1, figsize=(5.6, 9.6), sharex=True)
    figure.subplots_adjust(left=0.11, right=0.7, top=0.96, bottom=0.06, hspace=0.22)
    for axes, (title, belongs) in zip(all_axes, panels.items()):
        axes.set_title(title)
        axes.set_xscale("log")
        axes.set_yscale("log")
        ends = []
        members = sorted((s for s, points in drawn.items() if belongs(slope(points))), key=lambda s: drawn[s][-1][1])
        for number, scheme in enumerate(members):
            colour = report.COLOURS[f"scheme-{number % 8}"]
            x, y = zip(*drawn[scheme])
            axes.plot(x, y, color=colour, marker="o", markersize=3)
            ends.append((y[-1], titles[scheme], colour))
        axes.get_ylim()  # settles the limits
        report._label_ends(axes, ends)
    depths = [n for n, _ in drawn["post"]]
    all_axes[-1].set_xlabel("residual sub-layers of the encoder")
    all_axes[-1].xaxis.set_major_locator(report.FixedLocator(depths))
    all_axes[-1].xaxis.set_minor_locator(report.NullLocator())
    all_axes[-1].set_xticklabels([f"{n}" for n in depths])
    save(report._themed(figure, "all"), "output_change_all.svg")

print("| scheme | encoder: at 12 | at 200 | slope | encoder-decoder: at 15 | at 200 | slope |")
print("| --- | --- | --- | --- | --- | --- | --- |")
for scheme in sorted(titles, key=lambda s: -curves["encoder"][s][-1][1]):
    row = [titles[scheme], *cells(curves["encoder"][scheme]), *cells(curves["both"][scheme])]
    print("| " + " | ".join(row) + " |")
