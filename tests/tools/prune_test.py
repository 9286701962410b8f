"""spnet prune from the outside: budgets, searches, resumed prunings, what cannot be."""
import json
import re
import signal
import subprocess
import time
import unittest

from program_case import DATA, SPNET, TRAIN, ProgramCase

QUICK = {"--step": "0.15", "--retrain": "1", "--final": "1", "--holdout": "32", "--random-points": "2", "--guided-points": "2"}


def trials_in(state, count):
    log = state / "log.jsonl"
    return lambda: log.exists() and log.read_text().count('"trial"') >= count


def checkpoint_in(folder):
    return lambda: any(folder.glob("checkpoint-*"))


class Prune(ProgramCase):
    def setUp(self):
        super().setUp()
        self.run_folder = self.folder / "run"
        self.ok(*TRAIN, "--train-images", "64", "--out", self.run_folder)
        self.size = self.size_of(self.run_folder)

    def size_of(self, run):
        refused = self.fails(1, "as it is", "prune", "--run", run, "--budget", "size-mib:1000", "--out", self.folder / "x")
        return float(re.search(r"has ([\d.e-]+) MiB", refused)[1])

    def prune(self, out, *more, share=0.75):
        options = {"--run": self.run_folder, "--budget": f"size-mib:{share * self.size:.6g}", "--out": self.folder / out, **QUICK,
                   **dict(zip(more[::2], more[1::2]))}
        return ["prune", *(word for option in options.items() for word in option)]

    def interrupt(self, command, reached, how):
        process = subprocess.Popen([SPNET, *map(str, command)], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                   stdout=subprocess.DEVNULL)
        while process.poll() is None and not reached():
            time.sleep(0.002)
        process.send_signal(how)
        self.assertEqual(process.wait(), 0 if how == signal.SIGTERM else -signal.SIGKILL)

    def test_joint(self):
        small = ["--trial-steps", "2"]
        told = self.ok(*self.prune("small", *small)).stdout
        size = self.size_of(self.folder / "small")  # to more digits than the table has
        self.assertLessEqual(size, 0.7501 * self.size)
        self.assertGreater(size, 0.65 * self.size)
        self.assertIn("<circle", (self.folder / "small" / "pruning.svg").read_text())

        # A run like others: evaluated, gone on with, packed, the packed file smaller by what was removed.
        of_run = self.ok("eval", "--run", self.folder / "small", "--json").stdout
        packed, whole = self.folder / "small.spn", self.folder / "whole.spn"
        self.ok("pack", self.folder / "small", "--out", packed)
        self.ok("pack", self.run_folder, "--out", whole)
        self.assertLess(packed.stat().st_size, 0.85 * whole.stat().st_size)
        of_file = self.ok("eval", packed, "--data", DATA, "--json").stdout
        self.assertEqual(re.findall(r'"top1":[\d.]+', of_run), re.findall(r'"top1":[\d.]+', of_file))
        self.ok("train", "--resume", self.folder / "small")
        self.fails(1, "a run already", *self.prune("small", *small))

        # Stopped or killed in a search, in retraining and at the end, it ends with the same bytes, whatever has become of
        # the run that it began with.
        part = [*self.prune("part/", *small), "--save-every", "1"]
        state = self.folder / "part.prune"
        for reached, how in [(trials_in(state, 2), signal.SIGTERM), (checkpoint_in(state / "retrain-1"), signal.SIGKILL),
                             ((state / "network-1.safetensors").exists, signal.SIGKILL),
                             (checkpoint_in(self.folder / "part"), signal.SIGTERM)]:
            self.interrupt(part, reached, how)
            part = ["prune", "--resume", f"{self.folder / 'part'}/", "--save-every", "1"]
            if self.run_folder.exists():
                self.run_folder.rename(self.folder / "moved")
        (self.folder / "moved").rename(self.run_folder)
        with open(state / "log.jsonl", "a") as log:
            log.write('{"step": 1, "tri')
        self.assertEqual(self.ok(*part).stdout, told)
        self.assertEqual(self.checkpoint("part").read_bytes(), self.checkpoint("small").read_bytes())

        # A pruned run is pruned further.
        self.run_folder = self.folder / "small"
        self.assertIn("final", self.ok(*self.prune("smaller", share=0.6)).stdout)

    def test_greedy_uniform_and_drop(self):
        greedy = ["--search", "greedy", "--random-points", "1", "--guided-points", "0", "--retrain", "0", "--alpha", "50"]
        told = self.ok(*self.prune("greedy", *greedy, share=0.8)).stdout
        # A pass ends where the size is reached.
        self.assertGreater(float(re.search(r"final +([\d.]+)", told)[1]), 0.6 * self.size)
        # Interrupted in the search of one layer and between two, it ends with the same bytes.
        part = self.prune("part", *greedy, share=0.8)
        state = self.folder / "part.prune"
        for reached, how in [(trials_in(state, 2), signal.SIGTERM), ((state / "network-1.safetensors").exists, signal.SIGKILL)]:
            self.interrupt(part, reached, how)
            part = ["prune", "--resume", self.folder / "part"]
        self.assertEqual(self.ok(*part).stdout, told)
        self.assertEqual(self.checkpoint("part").read_bytes(), self.checkpoint("greedy").read_bytes())
        uniform = ["--search", "uniform", "--kernels", "own", "--measure", "distance"]
        self.assertIn("final", self.ok(*self.prune("uniform", *uniform)).stdout)
        # Another order of the same images.
        self.ok(*self.prune("order", *uniform, "--seed", "2"))
        self.assertNotEqual(self.checkpoint("order").read_bytes(), self.checkpoint("uniform").read_bytes())
        first, second = (json.loads((self.folder / name / "config.json").read_text()) for name in ("uniform", "order"))
        self.assertEqual({key for key in first if first[key] != second[key]}, {"seed"})
        drop = ["--budget", "drop:100", "--order", "random", "--acquisition", "ucb", "--step", "0.5", "--most", "0.6"]
        # Anything may be lost: until nothing is left to remove, one channel of each layer.
        told = self.ok(*self.prune("drop", *drop)).stdout
        self.assertLess(float(told.splitlines()[-1].split()[1]), 0.3 * self.size)
        self.assertNotIn(", no", told)

    def losses(self, out):
        """What each pass lost of the held-out top-1, at the switch that lost the most."""
        lines = [json.loads(line) for line in (self.folder / f"{out}.prune" / "log.jsonl").read_text().splitlines()]
        passes = [dict(line["held_out"]) for line in lines if "pass" in line]
        return [max(0, *(passes[0][switch] - after[switch] for switch in after)) for after in passes]

    def test_drop_refuses_a_pass(self):
        drop = ["--search", "uniform", "--order", "random", "--step", "0.5", "--most", "0.6", "--retrain", "0"]
        late = early = None
        for seed in range(1, 9):
            self.ok(*self.prune(f"all-{seed}", "--budget", "drop:100", "--seed", seed, *drop))
            lost = self.losses(f"all-{seed}")
            worse = [i for i in range(2, len(lost)) if lost[i] > max(lost[:i])]
            if worse and late is None:
                late = seed, worse[0], (lost[worse[0]] + max(lost[:worse[0]])) / 2
            if lost[1] > 0 and early is None:
                early = seed, lost[1] / 2
            if late and early:
                break
        self.assertIsNotNone(late, lost)
        self.assertIsNotNone(early, lost)
        seed, last, most = late
        # The pass that loses more is left out, also where it was interrupted.
        told = self.ok(*self.prune("late", "--budget", f"drop:{most}", "--seed", seed, *drop)).stdout
        self.assertIn(f"pass {last}, no", told)
        sizes = dict(re.findall(r"^(pass \d+|final)\S*(?:, no)? +([\d.]+)", told, re.MULTILINE))
        self.assertEqual(sizes["final"], sizes[f"pass {last - 1}"])
        part = self.prune("part", "--budget", f"drop:{most}", "--seed", seed, *drop)
        self.interrupt(part, (self.folder / "part.prune" / f"network-{last}.safetensors").exists, signal.SIGKILL)
        self.assertEqual(self.ok("prune", "--resume", self.folder / "part").stdout, told)
        self.assertEqual(self.checkpoint("part").read_bytes(), self.checkpoint("late").read_bytes())
        seed, most = early
        self.fails(1, "% removed in the first pass lose", *self.prune("early", "--budget", f"drop:{most}", "--seed", seed, *drop))

    def test_killed_before_it_began(self):
        state = self.folder / "x.prune"
        state.mkdir()
        for name in ("network-0.safetensors", ".network-0.safetensors.123-1.tmp", ".config.json.123-2.tmp"):
            (state / name).write_text("half")
        self.ok(*self.prune("x", "--retrain", "0"))
        state = self.folder / "y.prune"
        state.mkdir()
        (state / "mine").write_text("a user's")
        self.fails(1, "a pruning was begun here", *self.prune("y"))

    def test_damaged_state(self):
        process = subprocess.Popen([SPNET, *map(str, self.prune("x"))], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        state = self.folder / "x.prune"
        while process.poll() is None and not (state / "network-1.safetensors").exists():
            time.sleep(0.002)
        process.kill()
        process.wait()
        self.fails(1, "a pruning was begun here", *self.prune("x"))
        resume = ["prune", "--resume", self.folder / "x"]
        for name, damaged, text in [
                ("log.jsonl", '{"trial": {}}\n', "log.jsonl: line 1 is none of a pruning"),
                ("log.jsonl", '{"step": 1, "trial": {"loss": 1, "objective": 1, "ratios": [2]}}\n', "a ratio is 2"),
                ("log.jsonl", '{"pass": 0, "size_mib": 1, "held_out": [], "test": []}\n', "a pass has no figures"),
                ("log.jsonl", "[]\n", "line 1"),
                ("config.json", "{}", "not the configuration of a pruning"),
                ("config.json", (state / "config.json").read_text().replace('"joint"', '"gready"'), "--search 'gready'"),
                ("network-1.safetensors", "x", "network-1.safetensors"),
                ("network-0.safetensors", "x", "network-0.safetensors")]:
            whole = (state / name).read_bytes()
            (state / name).write_text(damaged)
            self.fails(1, text, *resume)
            (state / name).write_bytes(whole)
        self.assertIn("final", self.ok(*resume).stdout)

    def test_bit_mixer(self):
        mixer = self.folder / "mixer"
        self.ok("train", "--model", "resnet20", "--width", "0.25", "--data", DATA, "--batch", "16", "--method", "bit-mixer",
                "--bits", "2,4", "--stages", "1,1,1", "--train-images", "64", "--out", mixer)
        self.assertIn("final", self.ok(*self.prune("small", "--run", mixer, "--budget", "size-mib:0.009", "--trial-steps", "1")).stdout)

    def test_precisions_of_layers(self):
        # What a search of widths found keeps them.
        layers, fixed = self.folder / "layers.json", self.folder / "fixed"
        names = [f"layer{stage}.{block}.conv{i}" for stage in (1, 2, 3) for block in (0, 1, 2) for i in (1, 2)]
        names += ["layer2.0.downsample.0", "layer3.0.downsample.0"]
        layers.write_text(json.dumps({"layers": {name: "w1a2" if "conv1" in name else "w4a4" for name in names}}))
        self.ok("train", "--model", "resnet20", "--width", "0.25", "--data", DATA, "--batch", "16", "--config", layers,
                "--epochs", "1", "--train-images", "64", "--out", fixed)
        self.run_folder, self.size = fixed, self.size_of(fixed)
        told = self.ok(*self.prune("small")).stdout
        # Sizes are no whole bytes: the last pass is that of the final network all the same.
        self.assertRegex(told, r"pass 1 .*\nfinal|pass 2 .*\nfinal")
        self.assertNotIn(", no", told)
        widths = json.loads((self.folder / "small" / "config.json").read_text())["layers"]
        self.assertEqual(widths, json.loads(layers.read_text())["layers"])
        self.interrupt(self.prune("part"), (self.folder / "part.prune" / "network-1.safetensors").exists, signal.SIGKILL)
        self.assertEqual(self.ok("prune", "--resume", self.folder / "part").stdout, told)
        self.assertEqual(self.checkpoint("part").read_bytes(), self.checkpoint("small").read_bytes())
        self.ok("pack", self.folder / "small", "--out", self.folder / "small.spn")

    def test_what_cannot_be(self):
        self.fails(1, "there are still", *self.prune("never", share=1e-4))
        self.fails(1, "removes no filter", *self.prune("never", "--most", "0.05"))
        self.fails(2, "--step", *self.prune("never", "--step", "1"))
        self.fails(2, "--budget", *self.prune("never", "--budget", "mib:1"))
        self.fails(2, "--run", "prune", "--budget", "drop:1", "--out", self.folder / "never")
        self.fails(2, "--most", *self.prune("never", "--most", "1"))
        self.fails(1, "--holdout", *self.prune("never", "--holdout", "96"))
        self.fails(1, "no pruning was begun", "prune", "--resume", self.folder / "never")
        self.assertFalse((self.folder / "never.prune").exists())
        shared = self.folder / "shared"
        self.ok(*TRAIN, "--norm", "shared", "--train-images", "64", "--out", shared)
        self.fails(1, "share their norms", *self.prune("never", "--run", shared, "--recalibrate", "64"))
        self.ok(*self.prune("of-shared", "--run", shared, "--retrain", "0"))
        # What it was trained on says nothing of what is lost.
        seen = self.folder / "seen"
        self.ok(*TRAIN, "--out", seen)
        self.fails(1, "--train-images 64, or give size-mib:", *self.prune("never", "--run", seen, "--budget", "drop:1"))
        self.assertFalse((self.folder / "never.prune").exists())
        # Nor do weights that began with such.
        began = self.folder / "began"
        self.ok(*TRAIN[:-1], "9", "--train-images", "64", "--init", seen, "--out", began)
        self.fails(1, "began with weights that were", *self.prune("never", "--run", began, "--budget", "drop:1"))
        self.ok(*TRAIN[:-1], "9", "--train-images", "64", "--init", self.run_folder, "--out", self.folder / "again")
        self.fails(1, "as it is", *self.prune("never", "--run", self.folder / "again", "--budget", "size-mib:1000"))
        self.fails(2, "--trial-steps", *self.prune("never", "--trial-steps", "-1"))
        self.fails(2, "--random-points", *self.prune("never", "--random-points", "-5"))
        self.fails(2, "expected a number above 0", *self.prune("never", "--budget", "size-mib:w2a2"))
        floats = self.folder / "floats"
        self.ok(*["w32a32" if word.startswith("w1a1") else word for word in TRAIN], "--out", floats)
        self.fails(1, "low-precision filters", "prune", "--run", floats, "--budget", "drop:1", "--out", self.folder / "never")


if __name__ == "__main__":
    unittest.main()
