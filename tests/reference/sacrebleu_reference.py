# SPDX-License-Identifier: MIT
"""Writes text pairs and their sacreBLEU scores, for tests/unit/translation/bleu_test.cpp and text_metrics_test.cpp.

    python sacrebleu_reference.py OUTPUT_FOLDER

fills OUTPUT_FOLDER/sacrebleu/ with, for every case, NAME.hyp and NAME.ref (UTF-8; each segment is
followed by a byte 0, since segments may hold line feeds) and with

- scores.txt: `name score p1 p2 p3 p4 penalty hyp_len ref_len c1 .. c4 t1 .. t4`, a case a line,
- lines.txt: `name`, tab, the line that sacreBLEU prints,
- chrf_ter.txt: `name chrf ter edits ref_len`, a case a line,
- bleu_lines.txt, chrf_lines.txt and ter_lines.txt: `name`, tab, the line with its signature, without the version,
- lower.in and lower.out: segments and what Python's str.lower() makes of them,
- tokens.in and tokens.out: segments and what the 13a tokenizer makes of them,
- version.txt: the version of sacreBLEU.

If the environment variable EVENKEEL_DATA_DIR names a folder with multi30k/ and ddtp-en-it/, damaged
copies of their test sets become cases, too.
"""

import gzip
import os
import pathlib
import random
import sys
import unicodedata

import sacrebleu
from sacrebleu.metrics import BLEU, CHRF, TER
from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

SPACES = [chr(i) for i in range(0x110000) if chr(i).isspace()]
NOT_SPACES = ["\u200b", "\u2060", "\ufeff", "\u180e", "\u00ad", "\x7f", "\x1b"]
SIGNS = [chr(i) for i in range(0x21, 0x7F) if not chr(i).isalnum()]
PIECES = (
    ["&quot;", "&amp;", "&lt;", "&gt;", "&amp;lt;", "&amp;amp;quot;", "&apos;", "&#39;", "&", ";"]
    + ["<skipped>", "<skip<skipped>ped>", "-\n", "\n", "-", "--", "\r", "\r\n", "-\n-\n"]
    + ["1,000.50-60", "3.14", ".5", "5.", "1.", ",", ".", "..", "...", ".,.", ",,,,", "1-2-3"]
    + ["9-", "-9", "U.S.A.", "e.g.", "don't", "it's", "l'été", "naïve", "Straße"]
    + ["e\u0301t\u0065\u0301", "Ω,ω.", "é.", ".é", "日本語。", "、", "中文，字", "한국어."]
    + ["１２３．４", "٣٫٥", "٣.٥", "३,४", "😀", "😀.", "👩\u200d👩", "\U0001d7d9.5"]
    + ["the", "The", "cat", "sat", "on", "mat", "a", "I", "", "€5", "5€", "“quoted”", "«x»"]
    + ["…", "–", "—"]
)


def soup(rng, pieces, longest):
    """Random pieces, glued together or with some kind of space between them."""
    text = ""
    for _ in range(rng.randrange(longest)):
        text += rng.choice(pieces) + rng.choice(["", "", " ", " ", rng.choice(SPACES)])
    return text


def alike(rng, text):
    """The text with a few characters dropped, doubled or exchanged."""
    result = []
    for c in text:
        dice = rng.random()
        if dice < 0.03:
            continue
        result.append(rng.choice(PIECES) if dice < 0.05 else c * 2 if dice < 0.07 else c)
    return "".join(result)


def damaged(rng, line):
    """A sentence as a poor translator would write it: words dropped, exchanged, repeated."""
    words = line.split(" ")
    words = [w for w in words if rng.random() > 0.08]
    for i in range(len(words) - 1):
        if rng.random() < 0.06:
            words[i], words[i + 1] = words[i + 1], words[i]
        if rng.random() < 0.04:
            words[i] = words[i + 1]
    return " ".join(words)


def made_up_cases():
    sentence = "The quick brown fox jumps over the lazy dog, doesn't it?"
    yield "identical", [sentence, "Ein Haus."], [sentence, "Ein Haus."]
    yield "one_line", ["The cat sat on a mat."], ["The cat sat on the mat."]
    yield "one_word", ["cat"], ["cat"]
    yield "three_words", ["a b c"], ["a b c"]
    yield "no_4gram_match", ["the big cat is on a mat now"], ["the cat was on the mat right now"]
    yield "only_unigrams", ["mat the on sat cat"], ["cat sat on the mat"]
    yield "no_match", ["eins zwei drei vier fünf"], ["one two three four five"]
    yield "empty_hypotheses", ["", " ", "\u3000\n"], ["One.", "Two words.", "x"]
    yield "some_empty", ["", "the cat sat on the mat ."], ["a dog", "the cat sat on the mat."]
    yield "empty_references", ["one two three four", "five"], ["", "five"]
    yield "all_empty", ["", ""], ["", ""]
    yield "too_long", [sentence + " " + sentence], [sentence]
    yield "very_short", ["The quick brown fox jumps"], [sentence]
    yield "repeated", ["the the the the the the the"], ["the cat the dog the the"]
    yield "case_matters", ["THE CAT SAT ON THE MAT"], ["the cat sat on the mat"]
    yield "two_lengths", ["a b c d e", "f"], ["a b c d x", "f g"]
    numbers = "It cost 1,000.50-60 euro, 3.5% of 9-10."
    yield "numbers", [numbers], ["It cost 1,000.50-60 euros, 3.5 % of 9 - 10 ."]
    entities = "&quot;A &amp;amp; B&quot; &lt;b&gt; &amp;lt; it"
    yield "entities", [entities], ['"A &amp; B" <b> < it']
    yield "skipped", ["a <skipped>b c-\nd e-\n"], ["a b cd e- f"]
    yield "line_feeds", ["one\ntwo three\nfour five"], ["one two three four five"]
    decomposed = "l'e\u0301te\u0301 est la, enfin."
    yield "composed_accents_differ", [decomposed], ["l'été est la, enfin."]
    yield "cjk", ["日本語、テスト。 これ は テスト です 。"], ["日本語、テスト。 これ は 試験 です 。"]
    for space in SPACES:
        words = "one two three four five six".split()
        yield f"space_{ord(space):04x}", [space.join(words) + space], [" ".join(words) + "."]
    for other in NOT_SPACES:
        name = "_".join(f"{ord(c):04x}" for c in other)
        glued = f"one{other}two three four five six"
        yield f"not_space_{name}", [glued], ["one two three four five six"]
    for seed in range(60):
        rng = random.Random(seed)
        pieces = rng.sample(PIECES, 12) + rng.sample(SIGNS, 4) if seed % 2 else PIECES + SIGNS
        references = [soup(rng, pieces, 30) for _ in range(rng.choice([1, 2, 5, 40]))]
        yield f"soup_{seed}", [alike(rng, r) for r in references], references
    for seed in range(20):
        rng = random.Random(1000 + seed)
        pair = [[soup(rng, "a b c d e".split(), 12) for _ in range(10)] for _ in range(2)]
        yield f"few_words_{seed}", pair[0], pair[1]


def shifted_cases():
    """Sentences whose words were moved, which is what TER counts otherwise than other metrics."""
    for seed in range(24):
        rng = random.Random(2000 + seed)
        vocabulary = [f"w{i}" for i in range(rng.choice([4, 12, 200]))]
        pairs = []
        for _ in range(rng.choice([1, 2])):
            words = [rng.choice(vocabulary) for _ in range(rng.choice([5, 20, 60]))]
            moved = list(words)
            for _ in range(rng.randrange(6)):
                start, target = rng.randrange(len(moved)), rng.randrange(len(moved))
                part = moved[start : start + rng.randrange(1, 15)]
                del moved[start : start + len(part)]
                moved[target:target] = part
            for _ in range(rng.randrange(4)):
                moved[rng.randrange(len(moved))] = rng.choice(vocabulary + ["new"])
            if rng.random() < 0.3:
                moved = moved[: len(moved) // rng.choice([2, 8]) + 1]
            pairs.append((" ".join(moved), " ".join(words)))
        yield f"shifted_{seed}", [a for a, _ in pairs], [b for _, b in pairs]


def real_cases(folder):
    multi30k = "multi30k/test_2016_flickr"
    for file in [f"{multi30k}.en.gz", f"{multi30k}.de.gz", "ddtp-en-it/test.it.gz"]:
        if not (folder / file).exists():
            print(f"{folder / file} is absent, goes without", file=sys.stderr)
            continue
        with gzip.open(folder / file, "rb") as stream:
            lines = stream.read().decode("utf-8").split("\n")[:-1]
        rng = random.Random(7)
        name = file.replace("/", "_").replace(".gz", "")
        yield name, [damaged(rng, line) for line in lines], lines
        yield name + "_shuffled", rng.sample(lines, len(lines)), lines


def write_segments(path, segments):
    path.write_bytes(b"".join(segment.encode("utf-8") + b"\0" for segment in segments))


def main():
    folder = pathlib.Path(sys.argv[1]) / "sacrebleu"
    folder.mkdir(parents=True, exist_ok=True)
    cases = list(made_up_cases()) + list(shifted_cases())
    if os.environ.get("EVENKEEL_DATA_DIR"):
        cases += real_cases(pathlib.Path(os.environ["EVENKEEL_DATA_DIR"]))

    scores, lines, segments, others = [], [], [], []
    with_signature = {"bleu": [], "chrf": [], "ter": []}
    for name, hypotheses, references in cases:
        metric = BLEU()
        result = metric.corpus_score(hypotheses, [references])
        signature = str(metric.get_signature())
        if not signature.startswith("nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|"):
            raise SystemExit(f"unexpected defaults: {signature}")
        numbers = [result.score, *result.precisions, result.bp, result.sys_len, result.ref_len]
        numbers += [*result.counts, *result.totals]
        scores.append(" ".join([name, *map(repr, numbers)]))
        lines.append(f"{name}\t{result}")
        chrf, ter = CHRF(), TER()
        of_chrf, of_ter = (metric.corpus_score(hypotheses, [references]) for metric in (chrf, ter))
        numbers = [of_chrf.score, of_ter.score, of_ter.num_edits, int(of_ter.ref_length)]
        others.append(" ".join([name, *map(repr, numbers)]))
        for key, one, score in (("bleu", metric, result), ("chrf", chrf, of_chrf), ("ter", ter, of_ter)):
            signature = str(one.get_signature()).rpartition("|version:")[0]
            with_signature[key].append(f"{name}\t{score.format(signature=signature)}")
        segments += hypotheses + references
        write_segments(folder / f"{name}.hyp", hypotheses)
        write_segments(folder / f"{name}.ref", references)

    tokenize = Tokenizer13a()
    rng = random.Random(3)
    segments += [soup(rng, PIECES + SIGNS, 40) for _ in range(2000)]
    segments += ["".join(rng.choice("a1.,-' é\u3000") for _ in range(12)) for _ in range(5000)]
    write_segments(folder / "tokens.in", segments)
    write_segments(folder / "tokens.out", [tokenize(segment) for segment in segments])
    (folder / "scores.txt").write_text("\n".join(scores) + "\n", encoding="utf-8")
    (folder / "lines.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "chrf_ter.txt").write_text("\n".join(others) + "\n", encoding="utf-8")
    for key, of_metric in with_signature.items():
        (folder / f"{key}_lines.txt").write_text("\n".join(of_metric) + "\n", encoding="utf-8")
    # Whether a capital sigma ends a word depends on what is beside it.
    characters = [chr(c) for c in range(0x110000) if unicodedata.category(chr(c)) not in ("Cs", "Cn")]
    characters = [c for c in characters if c != "Σ"]
    capitals = ["".join(characters[i : i + 64]).replace("\0", "") for i in range(0, len(characters), 64)]
    capitals += ["ΟΔΟΣ ΣΑΣ Σ ΑΣ. Σ'Α Α\u0301Σ\u0301", "İSTANBUL IĞDIR", "GROẞ ǅ Ⅷ"] + segments
    write_segments(folder / "lower.in", capitals)
    write_segments(folder / "lower.out", [text.lower() for text in capitals])
    (folder / "version.txt").write_text(sacrebleu.__version__ + "\n", encoding="utf-8")
    print(f"{len(cases)} cases, {len(segments)} segments, sacreBLEU {sacrebleu.__version__}")


if __name__ == "__main__":
    main()
