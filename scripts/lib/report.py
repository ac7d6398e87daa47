# SPDX-License-Identifier: MIT
"""The page with the results of the demo: a single file without scripts or network access."""

import io
import json
import math
import re
from dataclasses import dataclass, field
from pathlib import Path

import jinja2
import markupsafe
import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator  # noqa: E402

REFRESH_SECONDS = 20

# Titles of schemes by name, in the library's order, from `evenkeel-translate schemes --json`.
TITLES = {}

# Charts are drawn with placeholder colours, which the page's style sheet resolves for light and dark
# mode: see _themed().
STAND_INS = {
    "#010101": "--ink",
    "#010102": "--muted",
    "#010103": "--line",
    **{f"#0a000{i}": f"--scheme-{i}" for i in range(8)},
}
COLOURS = {variable[2:]: stand_in for stand_in, variable in STAND_INS.items()}


def colour_name(scheme):
    """Returns the colour of a scheme, which is the same in every chart."""
    return f"scheme-{list(TITLES).index(scheme) % 8}" if scheme in TITLES else "ink"


# ---------------------------------------------------------------- what was measured


def finite(value):
    """Returns the value if it is a finite number, otherwise None."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        return value
    return None


def read_events(path):
    """Returns the JSON objects of a log that may still grow; an incomplete line is skipped."""
    events = []
    try:
        text = Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return events
    for line in text.split("\n"):
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict):
            events.append(event)
    return events


@dataclass
class Run:
    """The training of one scheme: the values of its log, and the results."""

    scheme: str
    status: str = "waiting"  # waiting, training, finished, stopped, diverged, failed
    settings: dict = field(default_factory=dict)
    train: list = field(default_factory=list)
    valid: list = field(default_factory=list)
    end: dict = field(default_factory=dict)
    test_bleu: float = None
    translations: list = field(default_factory=list)  # of the held-out lines, in their order

    @property
    def name(self):
        return TITLES.get(self.scheme, self.scheme)

    @property
    def colour(self):
        return colour_name(self.scheme)

    def read_log(self, path):
        events = read_events(path)
        self.train = [event for event in events if event.get("event") == "train"]
        self.valid = [event for event in events if event.get("event") == "valid"]
        ends = [event for event in events if event.get("event") == "end"]
        self.end = ends[-1] if ends else {}

    def last(self, key, events=None):
        """Returns the latest value of a field of the log, or None if there is none or it is not a number."""
        events = self.train if events is None else events
        return finite(events[-1].get(key)) if events else None

    @property
    def step(self):
        return finite(self.end.get("step")) or self.last("step")

    @property
    def tokens_per_second(self):
        return finite(self.end.get("tokens_per_second")) or self.last("tokens_per_second")

    @property
    def valid_loss(self):
        return self.last("loss", self.valid)

    @property
    def valid_bleu(self):
        return self.last("bleu", self.valid)

    @property
    def bleu(self):
        return self.valid_bleu if self.test_bleu is None else self.test_bleu

    def points(self, events, key):
        """[(seconds, value)] of the finite values."""
        pairs = [(finite(event.get("seconds")), finite(event.get(key))) for event in events]
        return [pair for pair in pairs if None not in pair]

    def is_stuck(self):
        """Returns whether it has hardly learned anything since the first quarter of its training."""
        losses = [loss for _, loss in self.points(self.train, "loss")]
        if len(losses) < 8 or self.bleu is None or self.bleu >= 1:
            return False
        quarter = len(losses) // 4
        return mean(losses[quarter : 2 * quarter]) - mean(losses[-quarter:]) < 0.3


@dataclass
class State:
    """Everything that the page shows."""

    runs: list
    running: bool = False
    note: str = ""  # the progress of the demo
    model: str = ""  # "18 + 18 layers, ..."
    seconds: float = 0.0  # training time of each run
    test: list = field(default_factory=list)  # [(source, reference)]
    output_change: list = field(default_factory=list)
    facts: list = field(default_factory=list)  # [(name, value)]: settings, command, machine, date

    @property
    def title(self):
        return "One deep Transformer, trained with " + listed(run.name for run in self.runs)


def mean(values):
    return sum(values) / len(values)


# ---------------------------------------------------------------- in words


def listed(parts):
    parts = list(parts)
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]


def growth(records, scheme):
    """(from layers, to layers, ratio) of a scheme's output change over the depths measured."""
    points = sorted(
        (finite(r.get("layers")), finite(r.get("mean")))
        for r in records
        if r.get("scheme") == scheme and finite(r.get("mean")) and finite(r.get("layers"))
    )
    if len(points) < 2 or points[0][1] <= 0:
        return None
    return points[0][0], points[-1][0], points[-1][1] / points[0][1]


def reading(state):
    """Returns a few sentences that describe the numbers."""
    sentences = []
    learning, stuck, diverged = [], [], []
    for run in state.runs:
        if run.status == "diverged":
            diverged.append(run)
        elif run.is_stuck():
            stuck.append(run)
        elif run.bleu is not None:
            learning.append(run)
    if learning:
        learning.sort(key=lambda run: -run.bleu)
        best, *others = learning
        after = "So far" if state.running else f"After {state.seconds:.0f} s of training each"
        scores = [f"{best.name} translates lines it has not seen at {best.bleu:.1f} BLEU"]
        scores += [f"{run.name} at {run.bleu:.1f}" for run in others]
        sentences.append(f"{after}, {listed(scores)}.")
    if stuck:
        verb = "stays" if len(stuck) == 1 else "stay"
        losses = listed(f"{run.last('loss'):.1f}" for run in stuck if run.last("loss") is not None)
        sentences.append(
            f"{listed(run.name for run in stuck)} {verb} where the first steps led, at a training "
            f"loss of {losses}: too high for a translation to come out."
        )
    if diverged:
        sentences.append(f"{listed(run.name for run in diverged)} diverged: the loss is NaN or infinite.")
    if not sentences:
        sentences.append("Training has started; the first translations are scored in a minute or so.")
    ratios = [(name, growth(state.output_change, scheme)) for scheme, name in TITLES.items()]
    ratios = [(name, found) for name, found in ratios if found]
    if ratios:
        first, last, _ = ratios[0][1]
        times = [f"{ratio:.1f} times as much with {name}" for name, (_, _, ratio) in ratios[:1]]
        times += [f"{ratio:.1f} times with {name}" for name, (_, _, ratio) in ratios[1:]]
        sentences.append(
            f"Before any training, a small change of all weights moves the output of {last} encoder layers, "
            f"compared with that of {first}, {listed(times)}."
        )
    return " ".join(sentences)


def number(value, form="{:,.0f}"):
    return "–" if finite(value) is None else form.format(value)


STATUS_WORDS = {
    "waiting": "waits its turn",
    "training": "training",
    "finished": "trained",
    "stopped": "stopped by you",
    "diverged": "diverged",
    "failed": "failed",
}


def summary(runs):
    """Returns (heads, rows) of the table of results as text, which the terminal prints too."""
    heads = ["scheme", "steps", "tokens/s", "training loss", "validation loss", "validation BLEU"]
    heads += ["test BLEU", "outcome"]
    rows = []
    for run in runs:
        words = STATUS_WORDS.get(run.status, run.status)
        rows.append(
            [
                run.name,
                number(run.step),
                number(run.tokens_per_second),
                number(run.last("loss"), "{:.2f}"),
                number(run.valid_loss, "{:.2f}"),
                number(run.valid_bleu, "{:.1f}"),
                number(run.test_bleu, "{:.1f}"),
                "stuck" if run.status == "finished" and run.is_stuck() else words,
            ]
        )
    return heads, rows


def samples(state, count):
    """[(source, reference, [(run, hypothesis)])]: test lines, or validation's before there are any."""
    found = {}
    for run in state.runs:
        if run.translations:
            triples = [(s, r, h) for (s, r), h in zip(state.test, run.translations)]
        elif not any(other.translations for other in state.runs) and run.valid:
            triples = [
                (str(s.get("source", "")), str(s.get("reference", "")), str(s.get("hypothesis", "")))
                for s in run.valid[-1].get("samples") or []
            ]
        else:
            continue
        for source, reference, hypothesis in triples[:count]:
            found.setdefault((source, reference), []).append((run, hypothesis))
    return [(source, reference, rows) for (source, reference), rows in list(found.items())[:count]]


# ---------------------------------------------------------------- charts


def _style():
    return {
        "font.size": 10,
        "font.family": "sans-serif",
        "svg.fonttype": "none",  # keep text as text, in the page's font
        "svg.hashsalt": "evenkeel",
        "text.color": COLOURS["ink"],
        "axes.labelcolor": COLOURS["muted"],
        "axes.edgecolor": COLOURS["line"],
        "axes.titlecolor": COLOURS["ink"],
        "axes.titlesize": 11,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.titlepad": 10,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.spines.left": False,
        "axes.grid": True,
        "axes.grid.axis": "y",
        "grid.color": COLOURS["line"],
        "grid.linewidth": 0.7,
        "xtick.color": COLOURS["line"],
        "ytick.color": COLOURS["line"],
        "xtick.labelcolor": COLOURS["muted"],
        "ytick.labelcolor": COLOURS["muted"],
        "ytick.major.size": 0,
        "lines.linewidth": 1.8,
        "lines.solid_capstyle": "round",
        "lines.solid_joinstyle": "round",
    }


def _themed(figure, prefix):
    """Returns the figure as inline SVG with the colours of the page and unique ids."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    plt.close(figure)
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(<svg [^>]*?) ?width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg [^>]*?) ?height="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'\bid="', f'id="{prefix}-', svg)
    svg = svg.replace("url(#", f"url(#{prefix}-").replace('href="#', f'href="#{prefix}-')
    svg = re.sub(r"font: [^;\"]*?(\d+(?:\.\d+)?px)[^;\"]*", r"font-size: \1", svg)
    for stand_in, variable in STAND_INS.items():
        svg = svg.replace(stand_in, f"var({variable})")
    return markupsafe.Markup(svg)


def _axes(title, x_label, right=0.77):
    figure, axes = plt.subplots(figsize=(5.6, 3.5))
    figure.subplots_adjust(left=0.085, right=right, top=0.88, bottom=0.16)
    axes.set_title(title)
    axes.set_xlabel(x_label)
    return figure, axes


def _label_ends(axes, ends):
    """Labels the lines at the right edge; labels that would overlap are moved apart."""
    if not ends:
        return
    to_axes = axes.transData + axes.transAxes.inverted()
    placed = sorted((to_axes.transform((1, y))[1], name, colour) for y, name, colour in ends)
    gap = 0.072
    heights = [min(max(height, 0.0), 1.0) for height, _, _ in placed]
    for _ in range(100):  # push neighbours apart until all have room
        moved = False
        for i in range(len(heights) - 1):
            short = gap - (heights[i + 1] - heights[i])
            if short > 1e-6:
                heights[i] -= short / 2
                heights[i + 1] += short / 2
                moved = True
        if not moved:
            break
    shift = max(0.0, -heights[0])
    for height, (_, name, colour) in zip(heights, placed):
        axes.text(1.025, height + shift, name, transform=axes.transAxes, color=colour, va="center", weight="bold")


def _thinned(points, most=240):
    """Reduces the number of points to a limit by averaging neighbours."""
    size = math.ceil(len(points) / most) if points else 1
    chunks = [points[i : i + size] for i in range(0, len(points), size)]
    return [(chunk[-1][0], mean([y for _, y in chunk])) for chunk in chunks]


def curves(runs, title, prefix, events_of, key, from_zero):
    """A learning curve for each run, against its seconds of training."""
    lines = [(run, _thinned(run.points(events_of(run), key))) for run in runs]
    lines = [(run, points) for run, points in lines if points]
    if not lines:
        return None
    with plt.rc_context(_style()):
        figure, axes = _axes(title, "seconds of training")
        for run, points in lines:
            x, y = zip(*points)
            marker = {"marker": "o", "markersize": 3.5} if len(points) <= 24 else {}
            axes.plot(x, y, color=COLOURS[run.colour], clip_on=not from_zero, **marker)
        values = [y for _, points in lines for _, y in points]
        low, high = min(values), max(values)
        start = sorted(points[0][1] for _, points in lines)[len(lines) // 2]
        if not from_zero and high > 2 * start:  # a diverged run must not flatten the others
            high = 2 * start
        room = 0.06 * (high - low) or 0.5
        axes.set_ylim(0 if from_zero else low - room, max(high + room, 1 if from_zero else high))
        axes.set_xlim(left=0)
        axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
        axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 3, 5, 6, 10], integer=True))
        _label_ends(
            axes,
            [(points[-1][1], run.name, COLOURS[run.colour]) for run, points in lines],
        )
        return _themed(figure, prefix)


def output_change_chart(records):
    """Output change against depth, both axes logarithmic."""
    by_scheme = {}
    for record in records:
        sublayers, value = finite(record.get("sublayers")), finite(record.get("mean"))
        if sublayers and value and sublayers > 0 and value > 0:
            error = finite(record.get("standard_error")) or 0.0
            by_scheme.setdefault(record.get("scheme"), []).append((sublayers, value, min(error, 0.9 * value)))
    if not by_scheme:
        return None
    with plt.rc_context(_style()):
        figure, axes = _axes("Output change before training", "residual sub-layers of the encoder")
        axes.set_xscale("log")
        axes.set_yscale("log")
        ends, depths = [], set()
        for scheme, points in by_scheme.items():
            points.sort()
            x, y, error = zip(*points)
            depths.update(x)
            colour = COLOURS[colour_name(scheme)]
            axes.errorbar(x, y, yerr=error, color=colour, marker="o", markersize=4, elinewidth=1)
            ends.append((y[-1], TITLES.get(scheme, scheme), colour))
        axes.xaxis.set_major_locator(FixedLocator(sorted(depths)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xticklabels([f"{depth:g}" for depth in sorted(depths)])
        axes.yaxis.set_minor_locator(NullLocator())
        low, high = axes.get_ylim()
        ticks = [m * 10.0**e for e in range(-12, 12) for m in (1, 2, 5) if low <= m * 10.0**e <= high]
        if len(ticks) > 6:
            ticks = [tick for tick in ticks if f"{tick:e}"[0] == "1"] or ticks[::3]
        axes.yaxis.set_major_locator(FixedLocator(ticks))
        axes.set_yticklabels([f"{tick:g}" for tick in ticks])
        _label_ends(axes, ends)
        figure.subplots_adjust(left=0.11)
        return _themed(figure, "change")


# ---------------------------------------------------------------- the page


def render(state):
    """Returns the page as text."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    heads, rows = summary(state.runs)
    return environment.get_template("report.html.j2").render(
        state=state,
        refresh=REFRESH_SECONDS if state.running else None,
        reading=reading(state),
        loss_chart=curves(state.runs, "Training loss", "loss", lambda run: run.train, "loss", False),
        bleu_chart=curves(state.runs, "Validation BLEU", "bleu", lambda run: run.valid, "bleu", True),
        change_chart=output_change_chart(state.output_change),
        heads=heads,
        rows=list(zip(state.runs, rows)),
        samples=samples(state, 8),
    )


def write(state, path):
    """Writes the page atomically: readers see either the old or the new one."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(path.name + ".new")
    scratch.write_text(render(state), encoding="utf-8")
    scratch.replace(path)
