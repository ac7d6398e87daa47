# SPDX-License-Identifier: MIT
"""What extract.py runs in place of commands that would take long, fetch something or need the tests' own build.

The first pattern that matches a whole command decides. An empty stand-in means that the command is not run here; the reason
then names what runs it.
"""

# Text as docs/trainer.md names it, German played by French.
TEXT = (
    "python3 evenkeel/examples/translation/number_words.py . 100; for part in train:train valid:val test:test; do "
    "for side in fr:de en:en; do head -n 50 ${part%:*}.${side%:*} | gzip >${part#*:}.${side#*:}.gz; done; done"
)
# The same as fairseq's scripts name it, which docs/recipes/ begin with.
TOKENISED = (
    "python3 evenkeel/examples/translation/number_words.py . 100; for part in train valid test; do "
    "cp $part.fr $part.de; done"
)
# The checkout's root, where README and manuals are read, without what was built in it.
CHECKOUT = "find evenkeel/ -mindepth 1 -maxdepth 1 ! -name 'build*' ! -name '.*' -exec ln -s {} . ';'"

# What has to be there before a page's first command.
BEFORE = {
    "README.md": [CHECKOUT],
    "docs/contributing.md": [CHECKOUT],
    "docs/language_model.md": [CHECKOUT],
    "docs/recipes/iwslt14.md": [TOKENISED],
    "docs/recipes/wmt14.md": [TOKENISED],
    "docs/recipes/wmt17.md": [TOKENISED],
    # Without these packages, the test is skipped.
    "docs/serve.md": [
        "\"${EVENKEEL_PYTHON:-python3}\" -c 'import ctranslate2, sentencepiece'",
        "python3 evenkeel/examples/translation/number_words.py text",
    ],
    "docs/doctor.md": [TEXT],
    "docs/trainer.md": [CHECKOUT, TEXT],
}

SMALL = "--vocab-size 60 --embed-dim 32 --num-heads 4 --dim-feedforward 64 --batch-tokens 500"

# (command, stand-in, reason)
STAND_INS = [
    (
        r"(.*)evenkeel-translate train (--task .*--run-dir runs/(?:iwslt|wmt).*)",
        r"\1python3 evenkeel/tests/docs/small_run.py \2",
        "takes hours to weeks on a GPU",
    ),
    (r"\./scripts/test.*", "", "these tests are its"),
    (
        r"(cmake|cmake --build|ctest) --preset (\w+)",
        r"""grep -q '"name": "\2"' CMakePresets.json""",
        "builds and tests everything once more",
    ),
    (r"sudo apt install (\S+deb)", r"test -s \1", "the test consumer_deb unpacks it and builds against it"),
    (r"python3 -m venv \S+|source \S+/activate|pip install torch", "", "fetches LibTorch; the tests' own is found"),
    (r"pip install ctranslate2 sentencepiece", "", "fetches packages; the tests' own are found"),
    (r"python3 (serve\.py .*)", r'timeout 100 "${EVENKEEL_PYTHON:-python3}" \1', "the tests' packages are not python3's"),
    (r"curl (.*)", r"curl --noproxy '*' \1", "the tests have no network"),
    (
        r"cmake .*-DEVENKEEL_BUILD_BENCHMARKS=ON && cmake --build build --target (\w+)",
        r"grep -q 'add_executable(\1 ' evenkeel/benchmarks/CMakeLists.txt",
        "compiles for a minute what only a GPU runs",
    ),
    (r"build/benchmarks/(\w+)( .*)?", r"test -s evenkeel/benchmarks/\1.cpp", "needs a GPU, or minutes of a quiet machine"),
    (r"python3 (benchmarks/\w+\.py)", r"python3 -m py_compile evenkeel/\1", "needs a GPU"),
    (r"python3 (benchmarks/(own_model|beam_search|train_step|doctor)\.py) .*", r"python3 -m py_compile evenkeel/\1", "takes minutes to half an hour"),
    (
        r"\./scripts/demo",
        "python3 evenkeel/examples/translation/number_words.py text 3000; "
        '[ -z "$EVENKEEL_PYTHON" ] || "$EVENKEEL_PYTHON" evenkeel/scripts/lib/demo.py '
        '--program "$(command -v evenkeel-translate)" --minutes 0.4 '
        "--layers 2 --schemes post,tfixup --source text/train.en --target text/train.fr --output demo",
        "takes 10 minutes and fetches text",
    ),
    (
        r"cmake --build (\S+) --target evenkeel-translate",
        r'mkdir -p \1/examples/translation && ln -s "$(command -v evenkeel-translate)" \1/examples/translation/',
        "the tests have built it",
    ),
    (
        r"cmake --build (\S+) --target evenkeel-lm",
        r'mkdir -p \1/examples/language_model && ln -s "$(command -v evenkeel-lm)" \1/examples/language_model/',
        "the tests have built it",
    ),
    (
        r"(.*evenkeel-lm train .*) --max-steps 600 --valid-every 200 --log-every 100 (.*)",
        r"\1 --max-steps 6 --valid-every 3 --log-every 3 --valid-sequences 16 \2",
        "takes two minutes on a CPU",
    ),
    (
        r"(evenkeel-translate train .*)-layers 18 (.*)-layers 18 (.*)",
        rf"\1-layers 2 \2-layers 2 \3 {SMALL} --max-steps 20 --valid-every 10 --valid-sentences 20 --device cpu",
        "18 layers of width 512 take hours on a CPU",
    ),
    (
        r"evenkeel-translate train --init-from opus-mt-de-en --source news.de.gz --target news.en.gz (.*) --max-steps 2000 (.*)",
        r"evenkeel-translate export --format huggingface --run-dir runs/admin --output opus-mt-de-en && "
        r"evenkeel-translate train --init-from opus-mt-de-en --source train.de.gz --target train.en.gz \1 --max-steps 5 "
        r"--batch-tokens 500 --device cpu \2",
        "there is neither an OPUS-MT model nor other text",
    ),
    (
        r"(evenkeel-translate doctor .*)-layers 18 (.*)-layers 18 (.*)",
        rf"\1-layers 2 \2-layers 2 \3 {SMALL} --device cpu && test -s doctor.html -a -s doctor.json -a -s doctor.csv",
        "18 layers of width 512 take minutes on a CPU",
    ),
    (
        r"(evenkeel-translate train --init-from .*) --source news.de.gz --target news.en.gz (.*) --max-steps 2000 (.*)",
        r"\1 --source train.de.gz --target train.en.gz \2 --max-steps 5 --batch-tokens 500 --device cpu \3",
        "there is no other text",
    ),
    (
        r"(evenkeel-translate output-change) --depths 6,18,50,100 --embed-dim 512 --dim-feedforward 2048 (.*)",
        r"\1 --depths 2,4 --embed-dim 32 --dim-feedforward 64 \2",
        "takes minutes on a CPU",
    ),
]
