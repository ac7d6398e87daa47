#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What each line of this library does for models of a user's own: the tables of docs/own_models.md.

Trains them on characters with Adam at a constant rate, without warm-up, dropout or clipping, one thread a run, and
prints the loss: the mean of the last 50 updates over three seeds, and how far seeds lie apart. A run that has learned
no more than the frequencies of the characters is "stuck".

    benchmarks/own_model.py build/benchmarks/own_model            # half an hour on two cores
    benchmarks/own_model.py build/benchmarks/own_model --text my.txt --results runs.json
    benchmarks/own_model.py build/benchmarks/own_model --more     # other weights, packed projections, 48 layers
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SEEDS = (1, 2, 3)
MODELS = ("layernorm", "rmsnorm", "encoder-decoder")
WEIGHTS = ("default", "xavier", "normal")
METHODS = {
    "post": "Post-norm",
    "admin": "`AdminResidual`",
    "admin-o1": "of O(1)",
    "profiled": "`profile_admin`",
    "admin-init": "`AdminResidual`, `SchemeInit`",
    "admin-o1-init": "of O(1), `SchemeInit`",
    "tfixup": "T-Fixup",
    "pre": "Pre-norm",
}
# These initialise every weight themselves.
INDEPENDENT = ("admin-init", "admin-o1-init", "tfixup")
STEPS, MORE_STEPS = 200, 1000
FEW = ("post", "admin-o1-init", "pre")


def tables():
    """Each table: its title, its methods, and its rows, a name and all but method and seed of the runs in it."""
    for model in MODELS:
        yield (f"{model}, 24 layers, rate 0.002, {STEPS} updates", tuple(METHODS),
               [(weights, (model, weights, False, 24, 2e-3, STEPS)) for weights in WEIGHTS])
    yield low_rate("default")
    yield (f"default weights, rate 0.002, {STEPS} updates", FEW,
           [(f"{model}, {layers} layers", (model, "default", False, layers, 2e-3, STEPS))
            for model in MODELS for layers in (12, 24, 48)])
    yield (f"default weights, 12 layers, rate 0.0005, {MORE_STEPS:,} updates", FEW[:2],
           [(model, (model, "default", False, 12, 5e-4, MORE_STEPS)) for model in MODELS])


def low_rate(weights):
    return (f"{weights} weights, 24 layers, rate 0.0005, {STEPS} updates", ("post", "profiled", "admin-o1-init", "pre"),
            [(model, (model, weights, False, 24, 5e-4, STEPS)) for model in MODELS])


def more_tables():
    """The same of what two cores have no time for in half an hour."""
    yield low_rate("xavier")
    each = [(f"{model}, {weights}", model, weights) for model in MODELS for weights in WEIGHTS]
    for layers in (24, 48):
        yield (f"Query, key and value in one matrix, {layers} layers, rate 0.002, {STEPS} updates", FEW,
               [(name, (model, weights, True, layers, 2e-3, STEPS)) for name, model, weights in each])
    yield (f"48 layers, rate 0.002, {STEPS} updates", FEW,
           [(name, (model, weights, False, 48, 2e-3, STEPS)) for name, model, weights in each])
    yield (f"48 layers, rate 0.0005, {STEPS} updates", FEW,
           [(name, (model, weights, False, 48, 5e-4, STEPS)) for name, model, weights in each])


def runs_of(method, row):
    """The runs of a cell, by seed."""
    model, weights, packed, layers, rate, steps = row
    if method in INDEPENDENT:
        weights = "default"
    return [(model, method, weights, packed, layers, rate, steps, seed) for seed in SEEDS]


def train(program, text, run):
    model, method, weights, packed, layers, rate, steps, seed = run
    command = [program, text, "--model", model, "--method", method, "--weights", weights, "--layers", str(layers),
               "--rate", str(rate), "--steps", str(steps), "--seed", str(seed)]
    done = subprocess.run(command + ["--packed"] * packed, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))} failed: {done.stderr}")
    return json.loads(done.stdout)


def entropy_of_characters(text):
    counts = Counter(Path(text).read_bytes())
    total = sum(counts.values())
    return -sum(count / total * math.log(count / total) for count in counts.values())


def cell(results, stuck, method, row):
    losses = [results[run]["loss"][-1] for run in runs_of(method, row)]
    if any(loss is None for loss in losses):
        return "NaN"
    mean = sum(losses) / len(losses)
    text = f"{mean:.2f} ± {max(losses) - mean:.2f}" if max(losses) - min(losses) > 0.1 else f"{mean:.2f}"
    count = sum(loss > stuck for loss in losses)
    return text + (" stuck" if count == len(losses) else f" ({count} stuck)" if count > 0 else "")


def table(head, rows):
    print(f"| {' | '.join(head)} |")
    print("|" + " --- |" * len(head))
    for row in rows:
        print(f"| {' | '.join(row)} |")
    print()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", type=Path)
    parser.add_argument("--text", type=Path, help="default: this library's headers")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="runs at once")
    parser.add_argument("--more", action="store_true", help="other tables: other weights, packed projections, 48 layers")
    parser.add_argument("--results", type=Path, help="where to write every run's result, as JSON lines")
    arguments = parser.parse_args()

    chosen = list(more_tables() if arguments.more else tables())
    runs = {run for _, methods, rows in chosen for _, row in rows for method in methods for run in runs_of(method, row)}
    with tempfile.TemporaryDirectory() as folder:
        text = arguments.text
        if text is None:
            text = Path(folder) / "headers.txt"
            text.write_text("".join(path.read_text() for path in sorted((ROOT / "include").rglob("*.hpp"))))
        entropy = entropy_of_characters(text)
        # The longest first, so that no core waits at the end.
        order = sorted(runs, key=lambda run: (-run[4] * run[6], run))
        begin = time.monotonic()
        with ThreadPoolExecutor(arguments.jobs) as pool:
            results = dict(zip(order, pool.map(lambda run: train(arguments.program.resolve(), text, run), order)))
        minutes = (time.monotonic() - begin) / 60
    if arguments.results:
        lines = [json.dumps({"run": run, **result}) + "\n" for run, result in results.items()]
        arguments.results.write_text("".join(lines))

    for title, methods, rows in chosen:
        print(f"{title}:\n")
        table(("", *(METHODS[method] for method in methods)),
              [(name, *(cell(results, 0.97 * entropy, method, row) for method in methods)) for name, row in rows])
    used = os.times()
    print(f"{len(runs)} runs in {minutes:.0f} minutes, {arguments.jobs} at once, "
          f"{(used.children_user + used.children_system) / 60:.0f} minutes of a core; "
          f"the characters' entropy is {entropy:.2f}")


if __name__ == "__main__":
    main()
