#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Trains the same model by every method on real text: the tables of docs/methods_compared.md.

    benchmarks/methods.py PROGRAM --data DIR multi30k               # all methods, translation
    benchmarks/methods.py PROGRAM --data DIR deep no-warmup ...     # other experiments, see --help

PROGRAM is `evenkeel-translate`, and DIR holds the text: train, val and test_2016_flickr as NAME.de.gz and
NAME.en.gz, as in Multi30k. Runs share the GPUs (or, without one, the cores), --at-once of them a GPU, each for the
same number of seconds. Where a run folder is there already, the run goes on until it has had --seconds in all. The
result is a table in Markdown, and one JSON object a run in FOLDER/EXPERIMENT.jsonl.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue

WARM = ["--lr", "1e-3", "--warmup", "400"]
COLD = ["--warmup", "0", "--decay-period", "1000"]
# What differs from WARM. Others of these rates were not tried: it is no search for the best.
RATES = {
    "tfixup": ["--lr", "5e-4", *COLD],
    "rezero": ["--lr", "1e-3", *COLD],
    "skipinit": ["--lr", "1e-3", *COLD],
    "keel": ["--lr", "2e-3", "--warmup", "400"],
}
# Layers of each stack, width-inner-heads, more options. Narrow models wait for their host: autocast would only add to its work.
NARROW = ["--dropout", "0", "--dtype", "float32", "--log-every", "5"]
WIDE = ["--dropout", "0.2", "--log-every", "20"]
MODEL = {
    "multi30k": (18, "512-1024-4", [*WIDE, "--batch-tokens", "3072"]),
    "tfixup-200": (200, "64-128-2", NARROW),
    "no-warmup": (6, "512-1024-4", WIDE),
    "admin-100": (100, "64-128-2", NARROW),
    # A graph of so many layers takes seconds to capture: few shapes.
    "deep-500": (500, "64-128-2", [*NARROW, "--batch-shapes", "4"]),
}
# The loss whose time the table gives.
GOAL = {"deep-500": 5.6}


def experiments(schemes):
    """The runs of each experiment: a name and the options that differ."""
    return {
        "multi30k": [(scheme, ["--scheme", scheme, *RATES.get(scheme, WARM)]) for scheme in schemes],
        "tfixup-200": [
            ("T-Fixup", ["--scheme", "tfixup", "--lr", "5e-4", *COLD]),
            ("the same model, plain weights", ["--scheme", "tfixup", "--init", "plain", "--lr", "5e-4", *COLD]),
        ],
        "no-warmup": [
            (f"{scheme}, rate {rate}", ["--scheme", scheme, "--lr", rate, *COLD])
            for scheme in ("tfixup", "admin", "admin-o1", "post")
            for rate in ("1e-4", "3e-4", "1e-3", "2e-3")
        ],
        "admin-100": [
            (f"{scheme}, {batch}", ["--scheme", scheme, *options])
            for batch, options in (
                ("4,096 tokens", WARM),
                ("65,536 tokens",
                 ["--batch-tokens", "16384", "--accumulate", "4", "--lr", "2e-3", "--warmup", "40"]),
            )
            for scheme in ("post", "admin", "admin-o1", "admin-profiled", "deepnorm")
        ],
        "deep-500": [
            (scheme, ["--scheme", scheme, "--lr", "2e-3", "--warmup", "40"])
            for scheme in ("admin-o1", "keel", "deepnorm", "pre")
        ],
    }


def run(program, options, gpu=None, **kwargs):
    environment = dict(os.environ)
    if gpu is not None:
        environment["CUDA_VISIBLE_DEVICES"] = str(gpu)
    return subprocess.run([program, *options], env=environment, capture_output=True, text=True, **kwargs)


def read_log(folder):
    log = folder / "log.jsonl"
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


class Experiment:
    def __init__(self, name, args, folder, gpus):
        self.name, self.args, self.gpus = name, args, gpus
        self.layers, self.size, self.more = MODEL[name]
        self.folder = folder / name
        self.folder.mkdir(parents=True, exist_ok=True)
        self.slots = Queue()
        for _ in range(args.at_once):
            for gpu in gpus or [None]:
                self.slots.put(gpu)

    def text(self, name, side):
        return str(Path(self.args.data) / f"{name}.{side}.gz")

    def vocabulary(self):
        file = self.folder / "vocabulary.model"
        if not file.exists():
            run(self.args.program, ["vocabulary", "--source", self.text("train", "de"), "--target",
                                    self.text("train", "en"), "--vocab-size", "8000", "--output", str(file)],
                check=True)
        return str(file)

    def options(self, options, folder, seed):
        width, inner, heads = self.size.split("-")
        result = ["--source", self.text("train", "de"), "--target", self.text("train", "en"), "--valid-source",
                  self.text("val", "de"), "--valid-target", self.text("val", "en"), "--vocabulary",
                  str(self.folder / "vocabulary.model"), "--encoder-layers", str(self.layers), "--decoder-layers",
                  str(self.layers), "--embed-dim", width, "--dim-feedforward", inner, "--num-heads", heads,
                  "--max-steps", "0", "--valid-every", "1000000", "--valid-sentences", "0",
                  "--save-every", "1000000", "--save-minutes", "0", "--keep-last", "1", "--divergence-retries", "0",
                  "--seed", str(seed), "--threads", "1", *self.more, *options]
        if self.gpus and "--dtype" not in result:
            result += ["--dtype", self.args.dtype]
        return [*result, "--run-dir", str(folder)]

    def train(self, label, options, seed):
        gpu = self.slots.get()
        try:
            folder = self.folder / f"{label.replace(' ', '_').replace(',', '')}-{seed}"
            began = time.monotonic()
            ending = ["--max-seconds", str(self.args.seconds)]
            if (folder / "last.safetensors").exists():
                done = run(self.args.program, ["train", "--resume", "--run-dir", str(folder), *ending], gpu)
            else:
                done = run(self.args.program, ["train", *self.options(options, folder, seed), *ending], gpu)
            events = read_log(folder)
            log = {event["event"]: event for event in events}  # the last of each kind
            result = {"experiment": self.name, "run": label, "seed": seed, "options": options,
                      "code": done.returncode, "wall": time.monotonic() - began}
            if done.returncode not in (0, 3):
                result["error"] = done.stderr.strip().splitlines()[-1:]
            result["updates"] = log.get("train", {}).get("step", 0)
            result["loss"] = log.get("train", {}).get("loss")
            result["seconds"] = log.get("end", {}).get("seconds")
            result["valid_loss"] = log.get("valid", {}).get("loss")
            if self.name in GOAL:
                result["goal_after"] = next((event["seconds"] for event in events if event["event"] == "train"
                                             and event["loss"] < GOAL[self.name]), None)
            profile = log.get("profile")
            if profile:
                result["last_omegas"] = [profile["encoder"][-1], profile["decoder"][-1]]
            if self.name == "multi30k" and self.args.translate and done.returncode == 0:
                result["bleu"] = self.bleu(folder, gpu)
            with open(self.folder.parent / f"{self.name}.jsonl", "a") as out:
                out.write(json.dumps(result) + "\n")
            print(json.dumps(result), file=sys.stderr, flush=True)
            return result
        finally:
            self.slots.put(gpu)

    def bleu(self, folder, gpu):
        output = str(folder / "test.hyp")
        done = run(self.args.program, ["translate", "--run-dir", str(folder), "--input",
                                       self.text("test_2016_flickr", "de"), "--output", output, "--beam", "5"], gpu)
        if done.returncode != 0:
            return None
        scored = run(self.args.program, ["score", "--hypothesis", output, "--reference",
                                         self.text("test_2016_flickr", "en"), "--json"])
        return json.loads(scored.stdout)["bleu"]

    def run_all(self, runs):
        self.vocabulary()
        with ThreadPoolExecutor(self.slots.qsize()) as pool:
            jobs = [pool.submit(self.train, label, options, seed) for seed in self.args.seeds
                    for label, options in runs if self.args.only in label]
            return [job.result() for job in jobs]


def table(name, results):
    has_bleu = any("bleu" in r for r in results)
    head = ["run", "options", "updates", "training loss", "validation perplexity"]
    head += [f"under {GOAL[name]} after"] if name in GOAL else []
    head += ["BLEU"] if has_bleu else []
    yield "| " + " | ".join(head) + " |"
    yield "|" + " --- |" * len(head)
    for r in results:
        valid = r.get("valid_loss")
        cells = [r["run"], "`" + " ".join(r["options"]) + "`", f"{r['updates']:,}",
                 "diverged" if r["code"] == 3 else f"{r['loss']:.2f}" if r["loss"] is not None else "-",
                 f"{math.exp(valid):,.1f}" if valid is not None and valid < 50 else "-"]
        if name in GOAL:
            cells.append(f"{r['goal_after']:.0f} s" if r.get("goal_after") is not None else "-")
        if has_bleu:
            cells.append(f"{r['bleu']:.1f}" if r.get("bleu") is not None else "-")
        yield "| " + " | ".join(cells) + " |"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("experiments", nargs="+", choices=list(MODEL), metavar="EXPERIMENT",
                        help=", ".join(MODEL))
    parser.add_argument("--data", default=os.path.join(os.environ.get("EVENKEEL_DATA_DIR", "."), "multi30k"))
    parser.add_argument("--folder", default="runs/methods", help="of the runs (default: %(default)s)")
    parser.add_argument("--schemes", help="of multi30k, by name (default: all)")
    parser.add_argument("--only", default="", help="runs whose name contains this")
    parser.add_argument("--seconds", type=float, default=600, help="of training, a run (default: %(default)s)")
    parser.add_argument("--seeds", type=lambda text: [int(seed) for seed in text.split(",")], default=[1],
                        help="such as 1,2,3 (default: 1)")
    parser.add_argument("--at-once", type=int, default=2, help="runs at a time, on each GPU (default: %(default)s)")
    parser.add_argument("--gpus", type=int, default=0, help="0: on the CPU (default)")
    parser.add_argument("--dtype", default="bfloat16", help="of wide models on a GPU (default: %(default)s)")
    parser.add_argument("--no-translate", dest="translate", action="store_false", help="no BLEU")
    args = parser.parse_args()
    listed = run(args.program, ["schemes", "--json"], check=True).stdout.splitlines()
    schemes = args.schemes.split(",") if args.schemes else [json.loads(line)["name"] for line in listed]
    for name in args.experiments:
        experiment = Experiment(name, args, Path(args.folder), list(range(args.gpus)))
        results = experiment.run_all(experiments(schemes)[name])
        print(f"\n{name}: {experiment.layers}+{experiment.layers} layers, {experiment.size}, {args.seconds:g} s a run\n")
        print("\n".join(table(name, results)), flush=True)


if __name__ == "__main__":
    main()
