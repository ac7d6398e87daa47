#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Compares what the doctor says before training with what becomes of it: the table of docs/doctor.md.

    benchmarks/doctor.py PROGRAM --data DIR --jobs 16        # runs what is not there yet, then the table
    benchmarks/doctor.py PROGRAM --data DIR --table          # the table alone

PROGRAM is `evenkeel-translate`, and DIR holds train.de.gz and train.en.gz, as in Multi30k. Each run diagnoses a fresh
model and trains it for 300 updates; --jobs runs share the cores, a thread each, the deepest first. FOLDER/runs.jsonl
has a line a run. Started again, it goes on with the runs that have none; what was cut off begins anew.

A run has diverged if its loss is not finite, or if the mean of its last 50 updates is not 0.05 below that of updates
151 to 200: at 300 updates every model that learns is still learning. The limit is fitted to the runs of one half, every
other one in rates, warm-ups and depths, and the table is of the other.
"""

import argparse
import json
import math
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from threading import Lock

# A scheme, and the initial weights where they are not its own.
SCHEMES = ["post", "b2t", "admin", "admin-o1", "deepnorm", "pre", "peri", "tfixup", "tfixup/plain"]
DEPTHS = [6, 18, 50]
RATES = ["3e-4", "1e-3", "2e-3", "4e-3"]
WARMUPS = [0, 100]
LEAST_DROP = 0.05
LIMIT = 5e-5  # VerdictLimits::kCollapsed of diagnose/detail/judge.hpp


def mean(values):
    return sum(values) / len(values) if values else math.nan


def has_diverged(events):
    """Whether a run has, from its log."""
    losses = {event["step"]: event["loss"] for event in events if event["event"] == "train"}
    if any(loss is None or not isinstance(loss, float) or not math.isfinite(loss) for loss in losses.values()):
        return True
    middle = mean([loss for step, loss in losses.items() if 150 < step <= 200])
    last = mean([loss for step, loss in losses.items() if 250 < step <= 300])
    return not middle - last >= LEAST_DROP


class Grid:
    def __init__(self, args):
        self.args = args
        self.folder = Path(args.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.results = self.folder / "runs.jsonl"
        self.lock = Lock()
        every = product(args.schemes, args.depths, RATES, WARMUPS)
        self.runs = [(number, *run) for number, run in enumerate(every)]

    def read(self):
        lines = self.results.read_text().splitlines() if self.results.exists() else []
        return {result["name"]: result for result in map(json.loads, lines)}

    def call(self, *options):
        return subprocess.run([self.args.program, *options], capture_output=True, text=True)

    def vocabulary(self):
        file = self.folder / "vocabulary.model"
        if not file.exists():
            self.call("vocabulary", *self.text(), "--vocab-size", "1000", "--output", str(file))
        return str(file)

    def text(self):
        data = Path(self.args.data)
        return ["--source", str(data / "train.de.gz"), "--target", str(data / "train.en.gz")]

    def model(self, scheme, depth, rate, warmup):
        scheme, _, init = scheme.partition("/")
        return [*self.text(), "--vocabulary", str(self.folder / "vocabulary.model"), "--scheme", scheme,
                *(["--init", init] if init else []), "--encoder-layers", str(depth), "--decoder-layers", str(depth),
                "--embed-dim", str(self.args.width), "--dim-feedforward", str(2 * self.args.width), "--num-heads", "2",
                "--dropout", "0", "--max-steps", "300", "--batch-tokens", "500", "--max-length", "32", "--lr", rate,
                "--warmup", str(warmup), "--seed", str(self.args.seed), "--threads", "1", "--device", self.args.device]

    def run(self, number, scheme, depth, rate, warmup):
        name = f"{scheme.replace('/', '+')}-{depth}-{rate}-{warmup}"
        options = self.model(scheme, depth, rate, warmup)
        said = self.folder / f"{name}.json"
        done = self.call("doctor", *options, "--json", str(said))
        if done.returncode != 0:
            raise SystemExit(f"{name}: {done.stderr}")
        run_dir = self.folder / name
        shutil.rmtree(run_dir, ignore_errors=True)
        done = self.call("train", *options, "--log-every", "10", "--valid-every", "0", "--save-every", "0",
                         "--save-minutes", "0", "--keep-last", "1", "--divergence-retries", "0", "--quiet",
                         "--run-dir", str(run_dir))
        if done.returncode not in (0, 3):
            raise SystemExit(f"{name}: {done.stderr}")
        events = [json.loads(line) for line in (run_dir / "log.jsonl").read_text().splitlines()]
        shutil.rmtree(run_dir)
        diagnosis = json.loads(said.read_text())
        trial = diagnosis["trial"]
        correlation = trial[-1]["token_correlation"]
        result = {
            "name": name, "number": number, "scheme": scheme, "depth": depth, "lr": rate, "warmup": warmup,
            "said": diagnosis["verdict"]["outcome"], "confidence": diagnosis["verdict"]["confidence"],
            "distance": None if correlation is None else 1.0 - correlation,
            "distances": [None if step["token_correlation"] is None else 1.0 - step["token_correlation"]
                          for step in trial],
            "losses": [step["loss"] for step in trial],
            "gradient_norms": [step["gradient_norm"] for step in trial],
            "step_change": [stack["step_change"] for stack in diagnosis["stacks"]],
            "output_change": [stack["output_change"] for stack in diagnosis["stacks"]],
            "diverged": done.returncode == 3 or has_diverged(events),
            "curve": [event["loss"] for event in events if event["event"] == "train"],
        }
        with self.lock, open(self.results, "a") as out:
            out.write(json.dumps(result) + "\n")
        print(f"{name}: said {result['said']}, {'diverged' if result['diverged'] else 'trained'}", file=sys.stderr,
              flush=True)

    def run_all(self):
        self.vocabulary()
        there = self.read()
        waiting = [run for run in self.runs
                   if f"{run[1].replace('/', '+')}-{run[2]}-{run[3]}-{run[4]}" not in there]
        waiting.sort(key=lambda run: -run[2])
        with ThreadPoolExecutor(self.args.jobs) as pool:
            for job in [pool.submit(self.run, *run) for run in waiting]:
                job.result()


def said_with(limit, result):
    """Whether a limit says that a run diverges; what explodes does with any."""
    finite = all(loss is not None for loss in result["losses"])
    if not finite or result["losses"][-1] > 1.5 * result["losses"][0]:
        return True
    return result["distance"] is not None and result["distance"] < limit


def fitted(results):
    """The middle, by its logarithm, of the widest range of limits that are right most often."""
    measured = {max(r["distance"], 1e-9) for r in results if r["distance"] is not None}
    distances = sorted({1e-10, *measured, 10.0})  # limits below and above all, too
    limits = [math.sqrt(a * b) for a, b in zip(distances, distances[1:])]
    right = {limit: count_right(results, limit) for limit in limits}
    best = [limit for limit in limits if right[limit] == max(right.values())]
    return math.sqrt(best[0] * best[-1]), max(right.values()) / len(results)


def half_of(number):
    """A checkerboard of the grid, whose rows are warm-ups, rates, and depths of schemes."""
    return (number + number // len(WARMUPS) + number // (len(WARMUPS) * len(RATES))) % 2


def count_right(results, limit):
    """How many runs the limit is right about; without one, the doctor."""
    return sum((r["said"] == "diverges" if limit is None else said_with(limit, r)) == r["diverged"] for r in results)


def share(results, limit=None):
    return f"{count_right(results, limit)}/{len(results)}" if results else "-"


def table(results, limit):
    depths = sorted({r["depth"] for r in results})
    yield "| scheme | diverged | " + " | ".join(f"right, {depth}+{depth} layers" for depth in depths) + " |"
    yield "|" + " --- |" * (2 + len(depths))
    for scheme in dict.fromkeys(r["scheme"] for r in results):
        of_scheme = [r for r in results if r["scheme"] == scheme]
        cells = [share([r for r in of_scheme if r["depth"] == depth], limit) for depth in depths]
        yield f"| {scheme} | {sum(r['diverged'] for r in of_scheme)}/{len(of_scheme)} | " + " | ".join(cells) + " |"


def report(results):
    results = sorted(results, key=lambda r: r["number"])
    fit, judged = ([r for r in results if half_of(r["number"]) == half] for half in (0, 1))
    limit, right = fitted(fit)
    print(f"\nlimit fitted to {len(fit)} runs: {limit:.1e}, right in {100 * right:.1f}%; the doctor's: {LIMIT:.0e}")
    for whose, of in (("that limit", limit), ("the doctor", None)):
        print(f"the other {len(judged)} runs: {whose} is right in {share(judged, of)}, "
              f"{100 * count_right(judged, of) / max(len(judged), 1):.1f}%")
    diverged = [r for r in judged if r["diverged"]]
    print(f"of the {len(diverged)} that diverged, it says so of {count_right(diverged, limit)}; saying \"trains\" of all would be "
          f"right in {len(judged) - len(diverged)}/{len(judged)}")
    print("\nThe other runs, by that limit:\n")
    print("\n".join(table(judged, limit)))
    print("\n| confidence | right |\n| --- | --- |")
    for low, high in ((0.5, 0.75), (0.75, 0.9), (0.9, 1.0)):
        print(f"| {low} to {high} | {share([r for r in results if low <= r['confidence'] < high])} |")
    for r in results:
        if count_right([r], None) == 0:
            print(f"\nwrong: {r['name']}: said {r['said']} ({r['confidence']:.2f}), distance {r['distance']}", end="")
    print()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--data", default=os.path.join(os.environ.get("EVENKEEL_DATA_DIR", "."), "multi30k"))
    parser.add_argument("--folder", default="runs/doctor", help="of the runs (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time (default: %(default)s)")
    parser.add_argument("--width", type=int, default=32, help="embed_dim (default: %(default)s)")
    parser.add_argument("--device", default="cpu", help="default: %(default)s")
    parser.add_argument("--schemes", type=lambda text: text.split(","), default=SCHEMES,
                        help="SCHEME or SCHEME/INIT (default: %(default)s)")
    parser.add_argument("--depths", type=lambda text: [int(depth) for depth in text.split(",")], default=DEPTHS,
                        help="layers of each stack (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=2, help="of all runs; the doctor's limit is from 1 (default: %(default)s)")
    parser.add_argument("--table", action="store_true", help="run nothing")
    args = parser.parse_args()
    grid = Grid(args)
    if not args.table:
        grid.run_all()
    report(list(grid.read().values()))


if __name__ == "__main__":
    main()
