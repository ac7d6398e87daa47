#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Makes parallel text from Debian's package descriptions and their human translations.

apt downloads the lists from the machine's configured sources into a separate folder, which needs neither
root nor a change to the system's lists. Line N of train.en.gz translates line N of train.it.gz; the same
holds for valid and test. The same package lists always give the same files.
"""

import argparse
import gzip
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
import unicodedata
from pathlib import Path

FORMAT = 1  # incremented when the same options give other files
HELD_OUT = 2000  # segments in valid, and as many in test
APT_HELPER = "/usr/lib/apt/apt-helper"

BULLET = re.compile(r"(?:[*+•·–-]|--|o|\(?\d{1,2}[.)])\s+")
UNTRANSLATED = "<trans>"  # the mark of a paragraph that is not translated yet


# ---------------------------------------------------------------- the package lists


def stanzas(lines):
    """Yields each stanza of a Debian control file as {field: value}; lines may be bytes or text.

    Field names are lower case, values keep their line breaks. Lines that are neither a field nor the
    continuation of one are skipped.
    """
    fields, last = {}, None
    for line in lines:
        if isinstance(line, bytes):
            line = line.decode("utf-8", "replace")
        line = line.rstrip("\r\n")
        if not line.strip():
            if fields:
                yield fields
            fields, last = {}, None
        elif line[0] in " \t":
            if last is not None:
                fields[last] += "\n" + line
        else:
            name, colon, value = line.partition(":")
            last = name.strip().lower() if colon else None
            if last is not None:
                fields[last] = value.strip()
    if fields:
        yield fields


def descriptions(lines, language):
    """{(package, md5 of the English description): description} of a Translation-xx file."""
    found = {}
    for fields in stanzas(lines):
        package, md5 = fields.get("package"), fields.get("description-md5")
        text = fields.get("description-" + language)
        if package and md5 and text:
            found[package, md5] = text
    return found


def source_packages(lines):
    """{package: source package} of a Packages file, for packages that have another name."""
    sources, package = {}, None
    for line in lines:  # a simple scan, because such a file has a million lines, nearly all irrelevant
        if line.startswith(b"Package:"):
            package = line[8:].strip().decode("utf-8", "replace")
        elif line.startswith(b"Source:") and package:
            sources[package] = line[7:].split(b"(")[0].strip().decode("utf-8", "replace")
    return sources


# ---------------------------------------------------------------- from descriptions to segments


def blocks(description):
    """Splits a description into paragraphs, each a list of segments (text, then list items)."""
    head, *body = description.split("\n")
    paragraphs, segments, in_item = [[head.strip()]], [], False
    for raw in body:
        line = raw[1:]  # the first blank only marks a continuation
        text = line.strip()
        if text in ("", "."):
            if segments:
                paragraphs.append([" ".join(words) for words in segments])
            segments, in_item = [], False
            continue
        bullet = BULLET.match(text)
        indented = line[0] in " \t"
        if bullet:
            segments.append([text[bullet.end():]])
            in_item = indented
        elif not segments or (in_item and not indented):  # the text continues after its list
            segments.append([text])
            in_item = False
        else:
            segments[-1].append(text)
    if segments:
        paragraphs.append([" ".join(words) for words in segments])
    return paragraphs


def clean(text):
    return " ".join(unicodedata.normalize("NFC", text).split())


def aligned_segments(english, translated):
    """Aligns segments, as far as both sides are split in the same way."""
    ours, theirs = blocks(english), blocks(translated)
    if len(ours) != len(theirs):
        ours, theirs = ours[:1], theirs[:1]  # the synopsis is the first on both sides
    for our, their in zip(ours, theirs):
        if len(our) == len(their):
            for source, target in zip(our, their):
                yield clean(source), clean(target)


def letter_share(text):
    signs = [sign for sign in text if not sign.isspace()]
    return sum(sign.isalpha() for sign in signs) / max(1, len(signs))


def is_wanted(source, target, min_words, max_words):
    """Returns whether a pair is text, has a length in range, and is plausibly a translation."""
    source_words, target_words = len(source.split()), len(target.split())
    return (
        min_words <= source_words <= max_words
        and source_words <= 2 * target_words
        and target_words <= 2 * source_words
        and letter_share(source) >= 0.6
        and letter_share(target) >= 0.6
        and source != target  # names, commands
        and UNTRANSLATED not in target
        and "\N{REPLACEMENT CHARACTER}" not in source + target
    )


def segment_pairs(english, translated, sources, min_words=4, max_words=60):
    """[(group, English, translation)]: all wanted pairs, each once; group is the source package."""
    pairs, seen = [], set()
    for key in sorted(english.keys() & translated.keys()):
        package = key[0]
        for source, target in aligned_segments(english[key], translated[key]):
            if (source, target) in seen or not is_wanted(source, target, min_words, max_words):
                continue
            seen.add((source, target))
            pairs.append((sources.get(package, package), source, target))
    return pairs


# ---------------------------------------------------------------- train, valid, test


def digest(*texts):
    return hashlib.sha256("\0".join(texts).encode()).digest()


def split(pairs, held_out=HELD_OUT):
    """{"train" | "valid" | "test": [(English, translation)]}, by group, in an order given by hashes.

    A group is in only one part. No segment of valid or test is in train, on either side, and no segment of
    test is in valid. Small collections give a tenth to each of valid and test.
    """
    held_out = min(held_out, len(pairs) // 10)
    groups = {}
    for group, source, target in pairs:
        groups.setdefault(group, []).append((source, target))
    left = iter(sorted(groups, key=digest))
    parts, known = {}, set()  # known: all segments of the earlier parts
    for name in ("test", "valid", "train"):
        limit = len(pairs) if name == "train" else held_out
        part = []
        while len(part) < limit and (group := next(left, None)) is not None:
            part += [pair for pair in groups[group] if known.isdisjoint(pair)]
        parts[name] = sorted(part, key=lambda pair: digest(*pair))[:limit]
        known.update(side for pair in part for side in pair)
    return parts


def write_parts(parts, output, language, about):
    """Writes all of the .gz files or none; made.json is written last and marks the set as complete."""
    output.mkdir(parents=True, exist_ok=True)
    made = output / "made.json"
    made.unlink(missing_ok=True)
    scratch = output / f".writing-{os.getpid()}"
    scratch.mkdir()
    try:
        for name, pairs in parts.items():
            for side, code in enumerate(("en", language)):
                text = "".join(pair[side] + "\n" for pair in pairs)
                path = scratch / f"{name}.{code}.gz"
                path.write_bytes(gzip.compress(text.encode(), compresslevel=6, mtime=0))
        (scratch / made.name).write_text(json.dumps(about, indent=2) + "\n")
        for path in sorted(scratch.iterdir(), key=lambda path: path.name == made.name):
            path.replace(output / path.name)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


# ---------------------------------------------------------------- apt


class AptLists:
    """Package lists in a separate folder."""

    def __init__(self, folder, language):
        if not shutil.which("apt-get"):
            raise SystemExit(
                "error: Debian's descriptions are fetched by apt-get, which is not here; "
                "give your own text with --source and --target"
            )
        folder = folder.resolve()
        for part in ("lists/partial", "cache/archives/partial"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        quoted = str(folder).replace('"', "")
        self.config = folder / "apt.conf"
        self.config.write_text(
            f'Dir::State::Lists "{quoted}/lists";\n'
            f'Dir::Cache "{quoted}/cache";\n'
            'Dir::Cache::pkgcache "";\n'
            'Dir::Cache::srcpkgcache "";\n'
            "#clear Acquire::Languages;\n"
            f'Acquire::Languages {{ "en"; "{language}"; }};\n'
            "#clear APT::Update::Post-Invoke;\n"
            "#clear APT::Update::Post-Invoke-Success;\n"
            'APT::Sandbox::User "";\n'  # otherwise root could not write to a private folder
            'Acquire::Retries "2";\n'
        )
        self.options = ["-c", str(self.config)]
        for kind in sorted(set(self._targets("$(CREATED_BY)"))):
            if kind not in ("Packages", "Translations"):  # icons, file contents and the like
                self.options += ["-o", f"Acquire::IndexTargets::deb::{kind}::DefaultEnabled=false"]

    def _run(self, *arguments):
        return subprocess.run(
            ["apt-get", *self.options, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "LC_ALL": "C.UTF-8"},
        )

    def _targets(self, form, *conditions):
        done = self._run("indextargets", "--format", form, *conditions)
        return done.stdout.splitlines() if done.returncode == 0 else []

    def update(self):
        """Downloads missing or outdated lists; a failing source is not an error as long as others work."""
        done = self._run("-o", "pkgCacheFile::Generate=false", "update")  # nothing is installed
        trouble = [line for line in done.stdout.splitlines() if line[:2] in ("E:", "W:")]
        return done.returncode, trouble

    def files(self, kind, *conditions):
        """Returns the existing files of one kind (Packages, Translations), of section main."""
        names = self._targets(
            "$(FILENAME)", f"Created-By: {kind}", "Component: main", *conditions
        )
        return [name for name in names if os.path.isfile(name)]

    @staticmethod
    def lines(path):
        """Yields the lines of a list, regardless of its compression."""
        with subprocess.Popen([APT_HELPER, "cat-file", path], stdout=subprocess.PIPE) as cat:
            yield from cat.stdout
        if cat.returncode:
            raise SystemExit(f"error: apt-helper could not read {path}")


def fetch(folder, language):
    """(English descriptions, translated ones, source packages) of the machine's apt sources."""
    lists = AptLists(folder, language)
    status, trouble = lists.update()
    translations = lists.files("Translations", f"Language: {language}")
    originals = lists.files("Translations", "Language: en")
    if not translations or not originals:
        for line in trouble:
            print(line, file=sys.stderr)
        raise SystemExit(
            f"error: the apt sources of this machine gave no package descriptions in "
            f"'{language if originals else 'en'}' (apt-get update ended with {status}); "
            "give your own text with --source and --target"
        )
    english, translated, sources = {}, {}, {}
    for path in originals:
        english.update(descriptions(lists.lines(path), "en"))
    for path in translations:
        translated.update(descriptions(lists.lines(path), language))
    for path in lists.files("Packages"):
        sources.update(source_packages(lists.lines(path)))
    return english, translated, sources


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--output", type=Path, required=True, metavar="DIR")
    parser.add_argument("--language", default="it", help="of the translations (default: it)")
    parser.add_argument("--min-words", type=int, default=4, help="English words (default: 4)")
    parser.add_argument("--max-words", type=int, default=60, help="English words (default: 60)")
    parser.add_argument("--again", action="store_true", help="even if the files are there")
    arguments = parser.parse_args()
    if not re.fullmatch(r"[A-Za-z_]+", arguments.language):
        parser.error(f"--language: expected a code such as it or pt_BR, got {arguments.language}")

    about = {
        "format": FORMAT,
        "language": arguments.language,
        "min_words": arguments.min_words,
        "max_words": arguments.max_words,
    }
    try:
        made = json.loads((arguments.output / "made.json").read_text())
    except (OSError, ValueError):
        made = {}
    if not arguments.again and about.items() <= made.items():
        print(f"==> Debian descriptions: {made['segments']['train']:,} pairs are already there")
        return

    started = time.monotonic()
    print("==> Debian descriptions: fetching the lists with apt (about 20 MB)", flush=True)
    english, translated, sources = fetch(arguments.output / "apt", arguments.language)
    pairs = segment_pairs(english, translated, sources, arguments.min_words, arguments.max_words)
    if len(pairs) < 100:
        raise SystemExit(f"error: only {len(pairs)} pairs of segments were found")
    parts = split(pairs)
    about["segments"] = {name: len(part) for name, part in parts.items()}
    write_parts(parts, arguments.output, arguments.language, about)
    counts = ", ".join(f"{len(parts[name]):,} {name}" for name in ("train", "valid", "test"))
    print(
        f"==> Debian descriptions: {counts} pairs from {len(english.keys() & translated.keys()):,} "
        f"packages in {time.monotonic() - started:.0f} s",
        flush=True,
    )


if __name__ == "__main__":
    main()
