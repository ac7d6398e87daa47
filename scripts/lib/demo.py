#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Trains the same deep Transformer under several schemes, in parallel, and reports the results.

./scripts/demo builds the trainer and downloads the text, then runs this.
"""

import argparse
import datetime
import gzip
import itertools
import json
import os
import platform
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import debian_descriptions

ROOT = Path(__file__).resolve().parents[2]
ROW_SECONDS = 15
PAGE_SECONDS = 20

# In a few minutes, parallel runs of one thread each learn more than sequential runs on all cores.
CPU = {
    "max_words": 10,
    "model": {"embed-dim": 64, "dim-feedforward": 128, "num-heads": 4, "vocab-size": 2000},
    "training": {"batch-tokens": 500, "dropout": 0, "threads": 1},
    "scheme": {"lr": 0.003, "warmup": 200, "clip-norm": 0},
    "but": {
        "admin": {"lr": 0.002, "warmup": 200, "clip-norm": 0},
        "tfixup": {"lr": 0.002, "warmup": 0, "decay-period": 200},
    },
    "valid_every": 100,
    "valid_sentences": 250,
    "reserve": 35,  # seconds for the steps after training
}
GPU = {
    "max_words": 60,
    "model": {"embed-dim": 512, "dim-feedforward": 1024, "num-heads": 4, "vocab-size": 8000},
    "training": {"batch-tokens": 4096, "dropout": 0.1, "dtype": "bfloat16", "threads": 2},
    "scheme": {"lr": 0.001, "warmup": 400},
    "but": {"tfixup": {"lr": 0.0005, "warmup": 0, "decay-period": 1000}},
    "valid_every": 500,
    "valid_sentences": 500,
    "reserve": 60,
}
OUTPUT_CHANGE = {"depths": "2,6,12,18", "embed-dim": 256, "trials": 4, "seeds": 3}
TEST_SENTENCES = 500
VOCAB_SENTENCES = 20000  # enough for such a small vocabulary; takes a few seconds
OVERRUN_SECONDS = 90  # a trainer that runs for longer than this hangs
FEWEST_SECONDS = 20  # of training, even if less of the budget is left


def has_scheme(name):
    """Returns whether the library has a scheme of that name, before the trainer is built."""
    headers = (ROOT / "include" / "evenkeel" / "residual").glob("*.hpp")
    return bool(re.fullmatch("[a-z0-9-]+", name)) and any(f'"{name}"' in header.read_text() for header in headers)


def parse(arguments):
    parser = argparse.ArgumentParser(
        prog="scripts/demo",
        description="Trains a deep translation model with several schemes in parallel, from scratch, "
        "and writes a page about it. The text is Debian's package descriptions, English to Italian.",
        epilog="The whole takes --minutes, set-up included: the first time on a bare machine less of it "
        "is left for training than afterwards.",
    )
    parser.add_argument("--source", type=Path, metavar="FILE", help="your own text, a segment a line (may be .gz)")
    parser.add_argument("--target", type=Path, metavar="FILE", help="its translation, line by line (may be .gz)")
    parser.add_argument("--minutes", type=float, default=9.5, help="time for everything (default: 9.5)")
    parser.add_argument(
        "--schemes",
        default="post,admin-o1,tfixup",
        help="by the names that `evenkeel-translate schemes` lists (default: post,admin-o1,tfixup)",
    )
    parser.add_argument("--layers", type=int, default=18, help="of encoder and decoder each (default: 18)")
    parser.add_argument(
        "--max-words", type=int, help="leave out longer segments (default: 10, on a GPU 60)"
    )
    parser.add_argument("--seed", type=int, default=1, help="of weights and order of the text (default: 1)")
    parser.add_argument(
        "--output", type=Path, default=ROOT / "build" / "demo" / "report", metavar="DIR",
        help="for the page, logs and models (default: build/demo/report of the project)",
    )
    # Added by scripts/demo.
    for name in ("--plan", "--gpu"):
        parser.add_argument(name, action="store_true", help=argparse.SUPPRESS)
    for name in ("--program", "--data"):
        parser.add_argument(name, type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--started", type=float, default=time.time(), help=argparse.SUPPRESS)
    parser.add_argument("--libtorch", default="", help=argparse.SUPPRESS)
    parser.add_argument("--typed", default="./scripts/demo", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)

    options.schemes = list(dict.fromkeys(filter(None, options.schemes.split(","))))
    unknown = [scheme for scheme in options.schemes if not has_scheme(scheme)]
    if unknown or not options.schemes:
        parser.error(f"--schemes: expected names of schemes, such as post, admin-o1 or tfixup, got '{','.join(unknown)}'")
    if bool(options.source) != bool(options.target):
        parser.error("--source and --target go together")
    for path in filter(None, (options.source, options.target)):
        if not path.is_file():
            parser.error(f"no such file: {path}")
    if not options.minutes > 0:
        parser.error(f"--minutes: expected more than 0, got {options.minutes:g}")
    if options.layers < 1:
        parser.error(f"--layers: expected at least 1, got {options.layers}")
    options.hardware = GPU if options.gpu else CPU
    options.max_words = options.max_words or options.hardware["max_words"]
    return options


# ---------------------------------------------------------------- text


def read_lines(path):
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8", errors="replace", newline="\n") as file:
        return file.read().split("\n")


def prepare_own_text(options):
    """Splits the user's text like Debian's, by source segment; returns the folder."""
    source, target = read_lines(options.source), read_lines(options.target)
    for side in (source, target):
        if side[-1] == "":
            side.pop()
    if len(source) != len(target):
        raise SystemExit(
            f"error: {options.source} has {len(source):,} lines, but {options.target} {len(target):,}"
        )
    pairs = {}
    for ours, theirs in zip(source, target):
        pair = debian_descriptions.clean(ours), debian_descriptions.clean(theirs)
        if all(pair) and len(pair[0].split()) <= options.max_words and len(pair[1].split()) <= 2 * options.max_words:
            pairs[pair] = None
    print(f"==> {len(pairs):,} of {len(source):,} pairs are new and have at most {options.max_words} words", flush=True)
    if len(pairs) < 1000:
        raise SystemExit("error: this is too little text to train on; set a higher --max-words")
    parts = debian_descriptions.split([(pair[0], *pair) for pair in pairs])
    folder = options.output / "text"
    debian_descriptions.write_parts(parts, folder, "target", {"from": [str(options.source), str(options.target)]})
    return folder


# ---------------------------------------------------------------- processes


class Job:
    """A process of the trainer with its output in a file; started when a slot is free."""

    def __init__(self, name, command, log, done, is_training=False):
        self.name, self.command, self.log = name, [str(part) for part in command], log
        self.done = done  # called with the job when it ends
        self.is_training = is_training
        self.process = None
        self.started = None
        self.killed = False

    def start(self):
        self.started = time.monotonic()
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # so that Ctrl-C is only forwarded by this process
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )

    def signal(self, number):
        if self.process and self.process.poll() is None:
            self.process.send_signal(number)

    def last_lines(self, count=15):
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return text.splitlines()[-count:]


class Pool:
    """Runs jobs in the order in which they are added, at most `slots` at a time."""

    def __init__(self, slots):
        self.slots, self.waiting, self.running = slots, [], []

    def add(self, job):
        self.waiting.append(job)

    def poll(self):
        """Starts jobs if slots are free; returns the jobs that have ended since the last call."""
        ended = [job for job in self.running if job.process.poll() is not None]
        self.running = [job for job in self.running if job not in ended]
        while self.waiting and len(self.running) < self.slots:
            job = self.waiting.pop(0)
            job.start()
            self.running.append(job)
        return ended

    def signal(self, number):
        for job in self.running:
            job.signal(number)

    @property
    def busy(self):
        return bool(self.waiting or self.running)


class Interrupted(Exception):
    """Raised after Ctrl-C, between two polls of the jobs, never while one is being started."""


# ---------------------------------------------------------------- the demonstration


def flags(settings):
    return [part for name, value in settings.items() for part in (f"--{name}", str(value))]


def machine(gpu):
    model = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    except OSError:
        pass
    words = f"{model}, {cores()} core{'s' if cores() > 1 else ''}"
    if gpu and shutil.which("nvidia-smi"):
        names = subprocess.run(
            ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"], capture_output=True, text=True
        ).stdout.split("\n")
        words = f"{names[0].strip()}; {words}"
    return words


def cores():
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def clock(seconds):
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


class Demo:
    def __init__(self, options, report):
        self.options, self.report = options, report
        self.hardware = options.hardware
        self.program = options.program.resolve()
        self.output = options.output.resolve()
        self.page = self.output / "index.html"
        self.deadline = options.started + 60 * options.minutes
        # All in parallel, so that their curves can be compared during training and no core is idle; one
        # more slot for the measurements.
        self.pool = Pool(len(options.schemes) + 1)
        listed = subprocess.run([self.program, "schemes", "--json"], capture_output=True, text=True, check=True)
        for scheme in map(json.loads, listed.stdout.splitlines()):
            report.TITLES[scheme["name"]] = scheme["title"]
        self.runs = {scheme: report.Run(scheme) for scheme in options.schemes}
        self.failed = False
        self.interrupted = False
        self.rows = 0

    # -- text and vocabulary

    def prepare(self):
        options = self.options
        self.output.mkdir(parents=True, exist_ok=True)
        if options.source:
            self.text, self.codes = prepare_own_text(options), ("en", "target")
            pair = f"{options.source.name} to {options.target.name}"
        else:
            self.text, self.codes = options.data, ("en", "it")
            pair = "Debian's package descriptions, English to Italian"
        train = sum(1 for _ in gzip.open(self.part("train", 0)))
        held_out = list(itertools.islice(zip(*(gzip.open(self.part("test", i), "rt") for i in (0, 1))), TEST_SENTENCES))
        self.test = [(source.rstrip("\n"), target.rstrip("\n")) for source, target in held_out]
        (self.output / "test.source").write_text("".join(s + "\n" for s, _ in self.test))
        (self.output / "test.reference").write_text("".join(t + "\n" for _, t in self.test))
        self.about_text = f"{pair}; {train:,} pairs of at most {options.max_words} words to train on"

        self.vocabulary = self.output / "vocabulary.model"
        print("==> Making the vocabulary", flush=True)
        made = subprocess.run(
            [self.program, "vocabulary", "--source", self.part("train", 0), "--target", self.part("train", 1),
             "--vocab-size", str(self.hardware["model"]["vocab-size"]), "--vocab-sentences", str(VOCAB_SENTENCES),
             "--output", self.vocabulary],
            capture_output=True, text=True,
        )
        if made.returncode:
            sys.stderr.write((made.stdout + made.stderr)[-2000:])
            raise SystemExit("error: the vocabulary could not be made")

    def part(self, name, side):
        return self.text / f"{name}.{self.codes[side]}.gz"

    # -- jobs

    def seconds_of_training(self):
        """Returns the seconds for each run such that all of them, and the later steps, end in time."""
        left = self.deadline - time.time() - self.hardware["reserve"]
        return max(FEWEST_SECONDS, int(left) - 5)  # 5: loading, last evaluation

    def training_job(self, run):
        folder = self.output / "runs" / run.scheme
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        options, hardware = self.options, self.hardware
        run.settings = hardware["but"].get(run.scheme, hardware["scheme"])
        command = [
            self.program, "train",
            "--source", self.part("train", 0), "--target", self.part("train", 1),
            "--valid-source", self.part("valid", 0), "--valid-target", self.part("valid", 1),
            "--vocabulary", self.vocabulary, "--run-dir", folder, "--scheme", run.scheme,
            "--encoder-layers", options.layers, "--decoder-layers", options.layers,
            *flags(hardware["model"]), *flags(hardware["training"]), *flags(run.settings),
            "--max-seconds", self.training, "--max-steps", 0, "--seed", options.seed,
            "--valid-every", hardware["valid_every"], "--valid-sentences", hardware["valid_sentences"],
            "--log-every", 20, "--divergence-retries", 0,
        ]  # fmt: skip
        return Job(f"training {run.name}", command, folder / "output.txt", lambda job: self.trained(run, job), True)

    def trained(self, run, job):
        run.read_log(job.log.with_name("log.jsonl"))
        reason = run.end.get("reason")
        if reason == "diverged":
            run.status = "diverged"
            return
        if job.process.returncode != 0 or not run.end:
            run.status = "failed"
            return self.report_failure(job)
        run.status = "stopped" if reason == "stopped" else "finished"
        hypothesis = job.log.with_name("test.hypothesis")
        command = [self.program, "translate", "--run-dir", job.log.parent,
                   "--input", self.output / "test.source", "--output", hypothesis, "--beam", 1]  # fmt: skip
        self.add_after_training(
            Job(f"translating with {run.name}", command, job.log.with_name("translate.txt"),
                lambda done: self.translated(run, hypothesis, done))  # fmt: skip
        )

    def add_after_training(self, job):
        """Inserts a job after the waiting runs, but before the measurements."""
        place = sum(waiting.is_training for waiting in self.pool.waiting)
        self.pool.waiting.insert(place, job)

    def translated(self, run, hypothesis, job):
        if job.process.returncode != 0:
            return self.report_failure(job)
        lines = hypothesis.read_text(errors="replace").split("\n")
        run.translations = lines[: len(self.test)]
        score = subprocess.run(
            [self.program, "score", "--json",
             "--hypothesis", hypothesis, "--reference", self.output / "test.reference"],
            capture_output=True, text=True,
        )  # fmt: skip
        try:
            run.test_bleu = self.report.finite(json.loads(score.stdout).get("bleu"))
        except ValueError:
            self.failed = True
            print(f"error: scoring {run.name} failed: {(score.stderr or score.stdout).strip()[-500:]}")

    def output_change_job(self):
        schemes = [scheme for scheme in self.report.TITLES if scheme in self.runs or scheme in ("post", "admin")]
        self.change = self.output / "output-change.jsonl"
        self.change.unlink(missing_ok=True)
        command = [self.program, "output-change", "--schemes", ",".join(schemes),
                   *flags(OUTPUT_CHANGE), "--output", self.change]  # fmt: skip
        return Job("measuring output change", command, self.output / "output-change.txt", self.report_failure)

    def report_failure(self, job):
        if job.process.returncode == 0:
            return
        if job.killed:
            print(f"==> {job.name}: skipped, out of time", flush=True)
            return
        self.failed = True
        code = job.process.returncode
        print(f"error: {job.name} failed ({'signal ' + str(-code) if code < 0 else 'status ' + str(code)}):")
        for line in job.last_lines():
            print(f"    {line}")
        sys.stdout.flush()

    # -- while they run

    def refresh(self):
        for run in self.runs.values():
            folder = self.output / "runs" / run.scheme
            if run.status in ("waiting", "training") and (folder / "log.jsonl").exists():
                run.status = "training"
                run.read_log(folder / "log.jsonl")

    def write_page(self, running, note=""):
        options = self.options
        self.refresh()
        model = self.hardware["model"]
        state = self.report.State(
            runs=list(self.runs.values()),
            running=running,
            note=note,
            model=f"{options.layers} + {options.layers} layers, width {model['embed-dim']}, trained from scratch on "
            f"{self.about_text}. All schemes see the same text and get the same time.",
            seconds=self.training,
            test=self.test,
            output_change=self.report.read_events(self.change),
            facts=self.facts(),
        )
        self.report.write(state, self.page)
        return state

    def facts(self):
        def words(settings):
            numbers = {k: v if isinstance(v, str) else f"{v:g}" for k, v in settings.items()}
            return ", ".join(f"{name.replace('-', ' ')} {value}" for name, value in numbers.items())

        options = self.options
        lines = self.hardware["valid_sentences"], len(self.test)
        rates = "; ".join(f"{run.name}: {words(run.settings)}" for run in self.runs.values() if run.settings)
        facts = [
            ("text", self.about_text),
            ("model", f"{options.layers} encoder and {options.layers} decoder layers, {words(self.hardware['model'])}"),
            ("training", f"{self.training} s a run, {words(self.hardware['training'])}, seed {options.seed}"),
            ("learning rate", rates),
            ("BLEU", f"of greedy search on {lines[0]} lines (validation) and {lines[1]} others (test); one seed"),
            ("output change", words({k: v for k, v in OUTPUT_CHANGE.items() if k != "depths"})),
            ("command", options.typed),
            ("machine", machine(options.gpu)),
            ("LibTorch", options.libtorch),
            ("date", datetime.datetime.now().strftime("%Y-%m-%d %H:%M")),
        ]
        return [(name, value) for name, value in facts if value]

    def print_row(self):
        width = 27
        runs = list(self.runs.values())
        if self.rows % 20 == 0:
            print(("\n " + "time".rjust(5) + "".join("   " + run.name.ljust(width) for run in runs)).rstrip())
            heads = f"{'step':>6} {'loss':>7} {'BLEU':>6}".ljust(width)
            print((" " * 6 + "".join("   " + heads for _ in runs)).rstrip())
        self.rows += 1
        cells = []
        for run in runs:
            if run.status == "waiting":
                cells.append(" waits")
                continue
            number = self.report.number
            bleu, seen = run.valid_bleu, getattr(run, "shown", 0)
            new = len(run.valid) > seen or run.status != "training"
            run.shown = len(run.valid)
            cells.append(
                f"{number(run.step):>6} {number(run.last('loss'), '{:.2f}'):>7} "
                f"{number(bleu, '{:.1f}') if new and bleu is not None else '':>6}"
                + ("" if run.status == "training" else f" {run.status}")
            )
        line = f" {clock(time.time() - self.began):>5}" + "".join("   " + cell.ljust(width) for cell in cells)
        print(line.rstrip(), flush=True)

    def loop(self):
        """Runs until all jobs are done; the last ones are killed at the end of the time budget."""
        next_page = time.monotonic()
        next_row = next_page + ROW_SECONDS
        grace = self.deadline + 20
        while True:
            if self.interrupted:
                raise Interrupted
            for job in self.pool.poll():
                job.done(job)
            if not self.pool.busy:
                return
            now = time.monotonic()
            trains = any(run.status in ("waiting", "training") for run in self.runs.values())
            if trains and now >= next_row:
                self.refresh()
                self.print_row()
                next_row = now + ROW_SECONDS
            if now >= next_page:
                names = ", ".join(job.name for job in self.pool.running)
                self.write_page(True, names[:1].upper() + names[1:])
                next_page = now + PAGE_SECONDS
            if time.time() > grace and not trains:
                self.pool.waiting.clear()
                for job in self.pool.running:
                    job.killed = True
                    job.signal(signal.SIGKILL)
            for job in self.pool.running:
                if job.is_training and now > job.started + self.training + OVERRUN_SECONDS:
                    job.signal(signal.SIGKILL)
            time.sleep(0.3)

    def run(self):
        self.prepare()
        self.change = self.output / "output-change.jsonl"
        self.training = self.seconds_of_training()
        self.began = time.time()
        left = self.deadline - self.began
        for run in self.runs.values():
            self.pool.add(self.training_job(run))
        self.pool.add(self.output_change_job())
        print(
            f"==> Training {len(self.runs)} schemes side by side for {self.training} s "
            f"({clock(max(0, left))} of {self.options.minutes:g} minutes are left)",
            flush=True,
        )
        if self.training < 60:
            print("==> This is little time to learn; set a higher --minutes", flush=True)
        note = ""
        self.write_page(True)
        print(f"==> The page, updated during training: {self.page}", flush=True)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self.interrupt)
        try:
            self.loop()
        except Interrupted:
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # a second Ctrl-C exits at once
            print("\n==> Stopping; the page is still written", flush=True)
            self.stop()
            note = "Stopped before the end."
        state = self.write_page(False, note)
        self.print_summary(state)
        return 130 if self.interrupted else 1 if self.failed else 0

    def interrupt(self, *_):
        self.interrupted = True

    def stop(self):
        self.pool.waiting.clear()
        self.pool.signal(signal.SIGINT)
        end = time.monotonic() + 20
        while self.pool.running and time.monotonic() < end:
            for job in self.pool.poll():
                if job.is_training:
                    job.done(job)
                    self.pool.waiting.clear()  # skip the translations
            time.sleep(0.1)
        self.pool.signal(signal.SIGKILL)
        for run in self.runs.values():
            if run.status in ("waiting", "training"):
                run.status = "stopped"

    def print_summary(self, state):
        heads, rows = self.report.summary(state.runs)
        table = [heads, *rows]
        widths = [max(len(row[i]) for row in table) for i in range(len(heads))]
        print()
        for row in table:
            cells = [row[0].ljust(widths[0])] + [row[i].rjust(widths[i]) for i in range(1, len(row) - 1)] + [row[-1]]
            print((" " + "   ".join(cells)).rstrip())
        for source, reference, hypotheses in self.report.samples(state, 3):
            lines = [("source", source), ("reference", reference)]
            lines += [(run.name, hypothesis or "(nothing)") for run, hypothesis in hypotheses]
            print()
            for name, text in lines:
                print(f" {name + ':':<16} {text[:300]}")
        print(f"\n==> The page: {self.page}")
        took = time.time() - self.options.started
        print(f"==> {clock(took)} minutes in all", flush=True)


def main():
    options = parse(sys.argv[1:])
    if options.plan:  # for scripts/demo: checks the options and prints which text is needed
        print("own" if options.source else options.max_words)
        return 0
    if not options.program or not (options.data or options.source):
        raise SystemExit("error: expected --program and --data, which ./scripts/demo passes; run that instead")
    import report  # needs matplotlib and jinja2, which --help and --plan must not

    options.typed = shlex.join(shlex.split(options.typed))
    try:
        return Demo(options, report).run()
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
