# SPDX-License-Identifier: MIT
"""Tests the program evenkeel-translate from outside: what its standard streams, signals and files do to it.

    program_test.py PROGRAM NUMBER_WORDS [KILLS]

KILLS is how often a run is killed at a random moment and begun or resumed again (default: 12); more than 100 are reported as
they go, 1,000 take an hour. EVENKEEL_TEST_SEED repeats the moments of a test, as far as the machine does.
"""

import gzip
import json
import os
import random
import resource
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

PROGRAM, NUMBER_WORDS = (os.path.abspath(name) for name in sys.argv[1:3])
KILLS = int(sys.argv[3]) if len(sys.argv) > 3 else 12

MODEL = (
    "--encoder-layers 1 --decoder-layers 1 --embed-dim 16 --num-heads 2 --dim-feedforward 32 --vocab-size 100 "
    "--scheme tfixup --lr 2e-3 --threads 1 --device cpu --log-every 1"
).split()


def call(*arguments, **keywords):
    keywords.setdefault("stdout", subprocess.PIPE)
    keywords.setdefault("stderr", subprocess.PIPE)
    return subprocess.run([PROGRAM, *map(str, arguments)], text=True, timeout=300, **keywords)


class ProgramTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = Path(tempfile.mkdtemp(prefix="evenkeel-"))
        os.chdir(cls.folder)
        subprocess.run([sys.executable, NUMBER_WORDS, "text", "500"], check=True, stdout=subprocess.DEVNULL)
        cls.text = ["--source", "text/train.en", "--target", "text/train.fr"]
        cls.valid = ["--valid-source", "text/valid.en", "--valid-target", "text/valid.fr", "--valid-sentences", "10"]
        done = call("train", *MODEL, *cls.text, "--run-dir", "run", "--max-steps", 3)
        assert done.returncode == 0, done.stderr
        lines = Path("text/test.en").read_text().splitlines()[:5]
        Path("five.en").write_text("\n".join(lines) + "\n")

    @classmethod
    def tearDownClass(cls):
        os.chdir("/")
        shutil.rmtree(cls.folder)

    def tearDown(self):
        left = [name for name in os.listdir(".") if name.startswith(".evenkeel")]
        self.assertEqual(left, [])

    def train(self, folder, *arguments, **keywords):
        return call("train", *MODEL, *self.text, "--run-dir", folder, *arguments, **keywords)

    def assert_refused(self, done, *texts):
        self.assertEqual(done.returncode > 0, True, done)
        for text in texts:
            self.assertIn(text, done.stderr)

    # Output

    def test_output_that_cannot_be_written_is_refused_before_the_model_is_loaded(self):
        Path("a_folder").mkdir()
        for output, why in (("no/such/out", "No such file"), ("a_folder", "Is a directory")):
            done = call("translate", "--run-dir", "none", "--input", "five.en", "--output", output)
            self.assert_refused(done, output, why)

    @unittest.skipUnless(os.geteuid() == 0, "only root makes devices")
    def test_a_device_is_written_to_and_stays_one(self):
        for name, minor, code in (("null", 3, 0), ("full", 7, 1)):
            os.mknod(name, stat.S_IFCHR | 0o666, os.makedev(1, minor))
            done = call("translate", "--run-dir", "run", "--input", "five.en", "--output", name)
            self.assertEqual(done.returncode, code, done.stderr)
            self.assertTrue(stat.S_ISCHR(os.stat(name).st_mode))

    def test_output_goes_through_links_and_descriptors(self):
        Path("real").write_text("OLD\n")
        os.symlink("real", "link")
        self.assertEqual(call("translate", "--run-dir", "run", "--input", "five.en", "--output", "link").returncode, 0)
        self.assertTrue(Path("link").is_symlink())
        expected = Path("real").read_text()
        self.assertEqual(len(expected.splitlines()), 5)
        os.symlink("/proc/self/fd/1", "stdout")  # as /dev/stdout is
        done = call("translate", "--run-dir", "run", "--input", "five.en", "--output", "stdout")
        self.assertEqual(done.stdout, expected)
        with open("standard_output", "w") as file:
            file.write("before\n")
            file.flush()
            call("translate", "--run-dir", "run", "--input", "five.en", "--output", "stdout", stdout=file)
        self.assertEqual(Path("standard_output").read_text(), "before\n" + expected)

    def test_a_full_or_closed_standard_output_is_an_error_everywhere(self):
        small = "--depths 2 --seeds 1 --trials 1 --embed-dim 16 --num-heads 2 --dim-feedforward 32 --length 4".split()
        for command in (
            ["score", "--hypothesis", "five.en", "--reference", "five.en"],
            ["translate", "--run-dir", "run", "--input", "five.en"],
            ["schemes"],
            ["--help"],
            ["train", "--help"],
            ["--version"],
            ["output-change", *small],
        ):
            with open("/dev/full", "w") as full:
                self.assert_refused(call(*command, stdout=full), "standard output: No space left on device")
            closed = call(*command, stdout=None, preexec_fn=lambda: os.close(1))
            self.assert_refused(closed, "standard output: Bad file descriptor")

    # Standard error

    def test_a_standard_error_that_is_full_closed_or_gone_costs_no_training(self):
        def check(name, **keywords):
            done = self.train(name, "--max-steps", 5, **keywords)
            self.assertEqual(done.returncode, 0, name)
            self.assertEqual(json.loads(Path(name, "log.jsonl").read_text().splitlines()[-1])["reason"], "finished")

        with open("/dev/full", "w") as full:
            check("to_full", stderr=full)
        check("closed", stderr=None, preexec_fn=lambda: os.close(2))
        reader, writer = os.pipe()
        os.close(reader)
        check("gone", stderr=writer)
        os.close(writer)
        # the descriptor that was closed was not given to a file of the run
        self.assertNotIn("update", Path("closed", "config.json").read_text())

    # Signals

    def begin(self, folder, *arguments):
        program = subprocess.Popen(
            [PROGRAM, "train", *MODEL, *self.text, "--run-dir", folder, "--max-steps", "1000000", *arguments],
            stderr=subprocess.PIPE,
            text=True,
        )
        for line in program.stderr:
            if line.startswith("update"):
                return program
        self.fail("no update")

    def test_a_terminal_that_goes_saves_the_run(self):
        program = self.begin("hung_up")
        program.send_signal(signal.SIGHUP)
        program.send_signal(signal.SIGHUP)
        program.stderr.close()
        self.assertEqual(program.wait(), 0)
        step = json.loads(Path("hung_up", "log.jsonl").read_text().splitlines()[-1])["step"]
        done = call("train", "--resume", "--run-dir", "hung_up", "--max-steps", step + 1)
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_a_second_run_in_a_folder_is_told_of_the_first(self):
        program = self.begin("locked")
        for arguments in (["--resume"], MODEL + self.text):
            done = call("train", *arguments, "--run-dir", "locked")
            self.assert_refused(done, "locked")
        self.assert_refused(call("train", "--resume", "--run-dir", "locked"), f"process {program.pid}")
        program.send_signal(signal.SIGTERM)
        program.stderr.close()
        self.assertEqual(program.wait(), 0)

    def test_a_run_killed_at_any_moment_goes_on_as_if_it_had_not_been(self):
        seed = int(os.environ.get("EVENKEEL_TEST_SEED", random.randrange(10**6)))
        moments = random.Random(seed)
        settings = ["--save-every", 2, "--valid-every", 7, *self.valid, "--dropout", "0.1", "--max-steps", 60]
        self.assertEqual(self.train("whole", *settings).returncode, 0)
        began, kills, before_a_checkpoint, runs = time.monotonic(), 0, 0, 0
        patience = 2.0  # seconds; grows by a kill and shrinks by a run that ended, since machines differ and change
        while kills < KILLS:
            shutil.rmtree("killed", ignore_errors=True)
            for kill in range(21):
                place = f"seed {seed}, run {runs}, kill {kill}"
                resume = ["--resume"] if Path("killed/last.safetensors").exists() else []
                with open("killed.log", "w") as told:
                    program = subprocess.Popen(
                        [PROGRAM, "train", *resume, *MODEL, *self.text, "--run-dir", "killed", *map(str, settings)],
                        stderr=told,
                    )
                    # The last one is left to end, by a limit that a machine with other work keeps too.
                    limit = moments.uniform(0.2, patience) if kill < 20 else 300
                    patience *= 1.1
                    try:
                        code = program.wait(timeout=limit)
                    except subprocess.TimeoutExpired:
                        program.kill()
                        program.wait()
                        self.assertLess(kill, 20, f"{place}: no end within {limit} s")
                        kills += 1
                        before_a_checkpoint += not Path("killed/last.safetensors").exists()
                        if KILLS > 100 and kills % 50 == 0:
                            print(f"{kills} kills in {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
                        continue
                patience = max(0.5, 0.7 * patience)
                self.assertEqual(code, 0, f"{place}: {Path('killed.log').read_text()}")
                break
            runs += 1
            self.assertEqual(self.values("killed"), self.values("whole"), place)
            for name in ("last", "best"):
                same = self.tensors(f"killed/{name}.safetensors") == self.tensors(f"whole/{name}.safetensors")
                self.assertTrue(same, f"{place}: {name}.safetensors has other tensors")
            left = sorted(name for name in os.listdir("killed") if name.startswith("."))
            self.assertEqual(left, [], f"{place}: temporary files are left")
        print(
            f"killed {kills} times in {runs} runs, {before_a_checkpoint} before a checkpoint; all ended as if they had not been; "
            f"{time.monotonic() - began:.0f} s, seed {seed}",
            file=sys.stderr,
        )

    @staticmethod
    def tensors(checkpoint):
        content = Path(checkpoint).read_bytes()
        header = int.from_bytes(content[:8], "little")
        return content[8 + header :]

    @staticmethod
    def values(folder):
        keys = ("event", "step", "loss", "lr", "bleu", "reason")
        lines = [json.loads(line) for line in Path(folder, "log.jsonl").read_text().splitlines()]
        return [[line.get(key) for key in keys] for line in lines]

    # Options

    def test_what_is_mistyped_is_told_with_the_nearest(self):
        self.assert_refused(call("traim"), "no such subcommand", "train")
        self.assert_refused(call("--vresion"), "no such option", "--version")
        self.assert_refused(call("train", "--leraning-rate", "0.1"), "--leraning-rate", "--learning-rate")
        self.assert_refused(call("translate", "--bean=3", "--run-dir", "run"), "--bean", "--beam")

    def test_numbers_are_read_exactly_or_refused(self):
        for arguments, option in (
            (["train", "--max-steps", "99999999999999999999"], "--max-steps"),
            (["train", *MODEL[:-6], "--threads", "4294967297", *self.text, "--run-dir", "new"], "--threads"),
            (["translate", "--run-dir", "run", "--threads", "-1"], "--threads"),
            (["translate", "--run-dir", "run", "--beam", "0"], "--beam"),
            (["translate", "--run-dir", "run", "--beam", "9223372036854775807"], "--beam"),
            (["translate", "--run-dir", "run", "--length-penalty", "nan"], "--length-penalty"),
            (["output-change", "--seeds", "0"], "--seeds"),
            (["output-change", "--trials", "-1"], "--trials"),
            (["output-change", "--length", "0"], "--length"),
            (["output-change", "--depths", "1,,2"], "--depths"),
        ):
            done = call(*arguments)
            self.assert_refused(done, option, "but got")
            self.assertLess(len(done.stderr), 250, done.stderr)

    def test_a_model_that_memory_cannot_hold_is_refused_with_its_size(self):
        done = call("train", *self.text, "--run-dir", "huge", "--embed-dim", "1000000", "--vocab-size", "100")
        self.assert_refused(done, "GiB", "--embed-dim")
        self.assertFalse(Path("huge").exists())

    def test_memory_that_runs_out_is_an_error_with_a_reason(self):
        def limited():
            resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))

        if call("schemes", preexec_fn=limited).returncode != 0:
            self.skipTest("LibTorch takes more than 4 GiB of addresses")
        size = "--encoder-layers 1 --decoder-layers 1 --embed-dim 8192 --num-heads 1 --dim-feedforward 8192".split()
        size += "--vocab-size 100 --scheme tfixup --threads 1 --device cpu".split()
        done = call("train", *self.text, "--run-dir", "no_memory", *size, preexec_fn=limited)
        self.assertEqual(done.returncode, 1, done)
        self.assertIn("memory", done.stderr)

    def test_a_run_that_begins_with_a_model_has_its_shape_unless_another_is_said(self):
        settings = "--max-steps 2 --threads 1 --device cpu".split()
        done = call("train", *self.text, *settings, "--init-from", "run", "--run-dir", "tuned")
        self.assertEqual(done.returncode, 0, done.stderr)
        config = json.loads(Path("tuned/config.json").read_text())
        self.assertEqual([config[name] for name in ("scheme", "embed-dim", "dropout")], ["tfixup", 16, 0.1])
        done = call("train", *self.text, *settings, "--init-from", "run", "--embed-dim", 32, "--run-dir", "other")
        self.assert_refused(done, "--embed-dim: expected 16, as the model of --init-from run/last.safetensors has it")

    def test_checkpoints_are_averaged_to_a_model_that_translates(self):
        done = self.train("averaged", "--max-steps", 6, "--save-every", 2, "--keep-last", 3)
        self.assertEqual(done.returncode, 0, done.stderr)
        done = call("average", "--run-dir", "averaged", "--last", 3, "--output", "average.safetensors")
        self.assertEqual(done.returncode, 0, done.stderr)
        done = call("translate", "--run-dir", "average.safetensors", "--input", "five.en")
        self.assertEqual((done.returncode, len(done.stdout.splitlines())), (0, 5), done.stderr)
        done = call("average", "--run-dir", "averaged", "--last", 4, "--output", "more.safetensors")
        self.assert_refused(done, "--last: expected at most 3, the checkpoints in averaged, but got 4")
        self.assert_refused(call("average", "--output", "none.safetensors"), "--checkpoints: expected checkpoints")
        self.assertEqual([name for name in ("more", "none") if Path(name + ".safetensors").exists()], [])

    def test_given_translations_have_the_scores_of_the_search(self):
        for model in (["run"], ["run", "run"]):
            lines = call("translate", "--run-dir", *model, "--input", "five.en", "--beam", 3, "--n-best").stdout.splitlines()
            fields = [line.split(" ||| ") for line in lines]
            self.assertEqual([field[0] for field in fields[:3]], ["0"] * 3)
            self.assertEqual(len(fields), 15)
            done = call("score-pairs", "--run-dir", *model, "--source", "five.en", "--target", "five.en", "--length-penalty", 1)
            scores = [float(line) for line in done.stdout.splitlines()]
            self.assertEqual((len(scores), max(scores) < 0), (5, True), done.stderr)

    def test_draws_repeat_with_their_seed(self):
        def draw(*arguments):
            return call("translate", "--run-dir", "run", "--input", "five.en", "--output-sampling", *arguments)

        self.assertEqual(draw("--seed", 3).stdout, draw("--seed", 3).stdout)
        self.assertNotEqual(draw("--seed", 3).stdout, draw("--seed", 4).stdout)
        self.assert_refused(draw("--beam", 2), "--beam: expected 1 with --output-sampling, but got 2")
        self.assert_refused(draw("--temperature", 0), "--temperature: expected a finite number above 0")

    def test_a_task_has_settings_that_what_is_said_overrides(self):
        settings = "--task tiny --embed-dim 16 --max-steps 2 --vocab-size 100 --threads 1 --device cpu".split()
        done = call("train", *settings, *self.text, "--run-dir", "task")
        self.assertEqual(done.returncode, 0, done.stderr)
        config = json.loads(Path("task/config.json").read_text())
        self.assertEqual([config[name] for name in ("encoder-layers", "embed-dim", "warmup")], [2, 16, 100])
        done = call("train", "--resume", "--run-dir", "task", "--max-steps", 3)
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_settings_are_those_of_train(self):
        listed = [json.loads(line) for line in call("settings", "--json").stdout.splitlines()]
        text = call("train", "--help").stdout
        self.assertGreater(len(listed), 60)
        for each in listed:
            self.assertIn(each["name"], text)

    def test_an_ensemble_has_one_vocabulary(self):
        done = call("train", *self.text, "--vocab-size", 90, *[word for word in MODEL if word not in ("--vocab-size", "100")],
                    "--run-dir", "pieces", "--max-steps", 1)
        self.assertEqual(done.returncode, 0, done.stderr)
        done = call("translate", "--run-dir", "run", "pieces", "--input", "five.en")
        self.assert_refused(done, "--run-dir: expected models of one vocabulary, but those of run and pieces differ")

    # Text

    def test_training_text_comes_from_one_file_or_standard_input(self):
        pairs = zip(Path("text/train.en").read_text().splitlines(), Path("text/train.fr").read_text().splitlines())
        Path("train.tsv").write_text("".join(f"{source}\t{target}\n" for source, target in pairs))
        expected = Path("run", "log.jsonl").read_text().splitlines()
        for name, source, stdin in (("tsv", "train.tsv", None), ("stdin", "-", "train.tsv")):
            with open(stdin or os.devnull) as file:
                done = call("train", *MODEL, "--source", source, "--run-dir", name, "--max-steps", 3, stdin=file)
            self.assertEqual(done.returncode, 0, done.stderr)
            lines = Path(name, "log.jsonl").read_text().splitlines()
            self.assertEqual([json.loads(a).get("loss") for a in lines], [json.loads(b).get("loss") for b in expected])
        done = call("train", "--resume", "--run-dir", "tsv", *self.text, "--max-steps", 4)  # the text is the same
        self.assertEqual(done.returncode, 0, done.stderr)
        done = call("train", *MODEL, "--source", "text/train.en", "--run-dir", "no_target", "--max-steps", 1)
        self.assert_refused(done, "text/train.en:1: expected a source and a target with one tab between")

    def test_lines_of_standard_input_are_refused_as_those_of_a_file(self):
        for name, content in (
            ("broken", b"one\ncaf\xe9\n"),
            ("nul", b"one\nt\0wo\n"),
            ("utf16", "one\n".encode("utf-16")),
            ("xz", b"\xfd7zXZ\0\0\4"),
        ):
            Path(name).write_bytes(content)
            with open(name, "rb") as file:
                piped = call("translate", "--run-dir", "run", stdin=file)
            named = call("translate", "--run-dir", "run", "--input", name)
            self.assert_refused(named, name)
            self.assertEqual(piped.stderr.replace("standard input", name), named.stderr)

    def test_compressed_standard_input_is_read(self):
        with gzip.open("five.gz", "wb") as file:
            file.write(Path("five.en").read_bytes())
        with open("five.gz", "rb") as file:
            piped = call("translate", "--run-dir", "run", stdin=file)
        self.assertEqual(piped.stdout, call("translate", "--run-dir", "run", "--input", "five.en").stdout)

    def test_a_closed_standard_input_is_an_error_and_an_empty_one_is_not(self):
        closed = call("translate", "--run-dir", "run", stdin=None, preexec_fn=lambda: os.close(0))
        self.assert_refused(closed, "standard input")
        empty = call("translate", "--run-dir", "run", stdin=subprocess.DEVNULL)
        self.assertEqual((empty.returncode, empty.stdout), (0, ""))

    def test_export_writes_a_new_folder_or_nothing(self):
        export = ["export", "--run-dir", "run", "--format"]
        self.assert_refused(call(*export, "ctranslate2", "--output", "ct2"), "a norm", "layer_0.self_attn: none")
        normed = ["admin" if word == "tfixup" else word for word in MODEL]
        done = call("train", *normed, *self.text, "--run-dir", "normed", "--max-steps", 1)
        self.assertEqual(done.returncode, 0, done.stderr)
        export[2] = "normed"
        self.assertEqual(call(*export, "ctranslate2", "--output", "ct2").returncode, 0)
        self.assertEqual(
            sorted(os.listdir("ct2")),
            ["config.json", "model.bin", "shared_vocabulary.json", "source.spm", "target.spm"],
        )
        self.assertEqual(Path("ct2/source.spm").read_bytes(), Path("normed/vocabulary.model").read_bytes())
        self.assert_refused(call(*export, "ctranslate2", "--output", "ct2"), "ct2, which exists")
        self.assert_refused(call(*export, "ctranslate2", "--output", "no/such"), "no/such: No such file")
        self.assert_refused(call(*export, "onnx", "--output", "new"), "--format: onnx", "ctranslate2")
        self.assertFalse([name for name in os.listdir(".") if "part" in name])

    def test_a_run_begins_with_a_folder_of_hugging_face(self):
        normed = ["post" if word == "tfixup" else word for word in MODEL]
        done = call("train", *normed, *self.text, "--run-dir", "posted", "--max-steps", 1)
        self.assertEqual(done.returncode, 0, done.stderr)
        done = call("export", "--run-dir", "posted", "--format", "huggingface", "--output", "hf")
        self.assertEqual(done.returncode, 0, done.stderr)
        tune = ["train", "--init-from", "hf", *self.text, "--max-steps", 1, "--threads", 1, "--device", "cpu"]
        done = call(*tune, "--run-dir", "hf_tuned")
        self.assertEqual(done.returncode, 0, done.stderr)
        before, after = (json.loads(Path(run, "config.json").read_text()) for run in ("posted", "hf_tuned"))
        for name in ("scheme", "encoder-layers", "embed-dim", "dim-feedforward", "num-heads", "activation"):
            self.assertEqual(after[name], before[name])
        self.assertEqual(Path("hf_tuned/vocabulary.model").read_bytes(), Path("posted/vocabulary.model").read_bytes())
        self.assert_refused(call(*tune, "--run-dir", "other", "--scheme", "pre"), "--scheme: expected \"post\", as the model of")
        Path("hf/vocab.json").write_text("{")
        self.assert_refused(call(*tune, "--run-dir", "other"), "hf/vocab.json: ")

    def test_a_coverage_penalty_lowers_the_scores(self):
        def scores(*arguments):
            done = call("translate", "--run-dir", "run", "--input", "five.en", "--n-best", *arguments)
            self.assertEqual(done.returncode, 0, done.stderr)
            return [float(line.split(" ||| ")[3]) for line in done.stdout.splitlines()]

        self.assertLess(sum(scores("--coverage-penalty", 0.5)), sum(scores()))
        self.assertEqual(scores("--coverage-penalty", 0), scores())

    def test_score_prints_the_metrics_that_are_named(self):
        def score(*arguments):
            return call("score", "--hypothesis", "five.en", "--reference", "five.en", *arguments).stdout

        self.assertIn("BLEU|nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp = 100.00 100.0/100.0", score())
        lines = score("--metrics", "ter", "chrf").splitlines()
        self.assertEqual([line.partition("|")[0] + line.rpartition(" =")[2] for line in lines], ["TER 0.00", "chrF2 100.00"])
        found = json.loads(score("--metrics", "bleu", "ter", "--json"))
        self.assertEqual((round(found["bleu"], 6), found["ter"]), (100, 0))
        self.assertIn("case:lc", found["signatures"]["ter"])

    def test_score_names_files_of_other_lengths(self):
        done = call("score", "--hypothesis", "five.en", "--reference", "text/test.en")
        self.assert_refused(done, "five.en has 5 lines, but text/test.en has 250 lines")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
