"""The spnet program from the outside: runs, resumed runs, damaged ones, and wrong usage."""
import fcntl
import json
import os
import pty
import re
import resource
import shutil
import signal
import struct
import subprocess
import termios
import time
import unittest
import zlib
from pathlib import Path

from program_case import DATA, SPNET, TRAIN, ProgramCase, spnet


def png(size, level):
    """A grey square."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    rows = (b"\0" + bytes([level]) * size) * size
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", size, size, 8, 0, 0, 0, 0)) + \
        chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


class Program(ProgramCase):
    def assert_same_run(self, a, b):
        self.assertEqual(self.checkpoint(a).name, self.checkpoint(b).name)
        self.assertEqual(self.checkpoint(a).read_bytes(), self.checkpoint(b).read_bytes())
        self.assertEqual((self.folder / a / "metrics.jsonl").read_bytes(), (self.folder / b / "metrics.jsonl").read_bytes())

    def begin_and_kill(self, command, run, part, steps):
        """Begins `run` once more in the folder `part` and kills it each time that it has reached one of `steps`."""
        part.mkdir()
        shutil.copy(run / "config.json", part)
        for step in steps:
            process = subprocess.Popen([SPNET, command, "--resume", str(part), "--save-every", "1"],
                                       stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            while process.poll() is None and not any(int(p.stem.split("-")[1]) >= step for p in part.glob("checkpoint-*")):
                time.sleep(0.01)
            process.kill()
            process.wait()

    def test_packed(self):
        run, packed = self.folder / "run", self.folder / "model.spn"
        self.ok(*TRAIN, "--out", run)
        self.assertIn("w32a32", self.ok("pack", run, "--out", packed).stdout)
        of_run = [json.loads(line) for line in self.ok("eval", "--run", run, "--json").stdout.splitlines()]
        of_file = [json.loads(line) for line in self.ok("eval", packed, "--data", DATA, "--json").stdout.splitlines()]
        for one, other in zip(of_run, of_file, strict=True):
            self.assertEqual([one[key] for key in ("switch", "top1", "images")], [other[key] for key in ("switch", "top1", "images")])
        told = [json.loads(line) for line in self.ok("eval", "--run", run, "--parity", "--json").stdout.splitlines()]
        self.assertEqual(told[len(of_run):], [{"parity": line["switch"], "equal": line["images"], "images": line["images"]}
                                              for line in of_run])
        self.fails(2, "--parity is of --run", "eval", packed, "--data", DATA, "--parity")
        rows = [row.split() for row in self.ok("info", packed).stdout.splitlines()]
        self.assertEqual({row[0]: row[1] for row in rows if row[0] in ("w1a1", "w2a2", "w32a32")},
                         {line["switch"]: f"{line['top1']:.2f}" for line in of_run})
        for index, level in enumerate((0, 128)):
            (self.folder / f"{index}.png").write_bytes(png(20, level))
        images = [self.folder / "0.png", self.folder / "1.png"]
        seen = self.ok("run", packed, "--switch", "w2a2", *images).stdout.splitlines()
        self.assertEqual(len(seen), 12)
        self.assertEqual(seen[0], str(images[0]))
        line = json.loads(self.ok("run", packed, "--json", "--top", "3", images[0]).stdout)
        self.assertEqual(len({entry["class"] for entry in line["top"]}), 3)
        self.assertLessEqual({entry["class"] for entry in line["top"]}, set(json.loads((run / "config.json").read_text())["classes"]))
        self.assertGreaterEqual(line["top"][0]["share"], line["top"][1]["share"])
        kept = self.folder / "model.spn.kernels"
        kept.unlink(missing_ok=True)  # not there where the processor leaves no choice
        self.ok("bench", packed, "--runs", "1", "--no-tune")
        self.assertFalse(kept.exists())
        lines = [json.loads(line) for line in self.ok("bench", packed, "--runs", "5", "--threads", "1", "--json").stdout.splitlines()]
        self.assertEqual([line["switch"] for line in lines], ["w1a1", "w2a2", "w32a32"])
        for line in lines:
            self.assertLessEqual(line["median_ms"], line["p99_ms"])
            self.assertAlmostEqual(line["images_per_s"] * line["median_ms"], 1e3, places=3)
            self.assertEqual(sum(line["kernels"].values()), 22)
        self.assertLess(lines[0]["weight_bytes"], lines[1]["weight_bytes"])
        only = self.folder / "only.spn"
        self.ok("pack", run, "--out", only, "--switches", "w2a2", "--no-eval")
        self.assertLess(only.stat().st_size, packed.stat().st_size)
        self.fails(1, "w1a1 given, the network was packed for w2a2", "run", only, "--switch", "w1a1", images[0])
        self.fails(1, "no such file", "run", packed, self.folder / "none.png")
        self.fails(2, "expected one precision", "run", packed, "--switch", "w1a1,w2a2", images[0])
        self.fails(2, "--best", "eval", packed, "--data", DATA, "--best")
        self.fails(1, "made for", "pack", run, "--out", self.folder / "x.spn", "--switches", "w5a5")
        self.fails(2, "--data", "eval", packed)
        self.fails(2, "--run", "eval")
        packed.write_bytes(packed.read_bytes()[:-1])
        self.fails(1, "cut short", "info", packed)
        self.fails(2, "there is no such folder", "pack", run, "--out", self.folder / "none" / "x.spn")

    def test_bit_mixer(self):
        mixer = [*TRAIN[:TRAIN.index("--switches")], "--batch", "16", "--seed", "5", "--method", "bit-mixer", "--bits", "2,3,4",
                 "--stages", "1,1,2", "--scale-rates", "2:2"]
        run, part = self.folder / "run", self.folder / "part"
        self.ok(*mixer, "--out", run)
        config = json.loads((run / "config.json").read_text())
        self.assertEqual([config[key] for key in ("method", "norm", "distill", "switches", "epochs")],
                         ["bit-mixer", "transitional", "top", "w2a2,w3a3,w4a4", 4])
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        self.assertEqual([line["stage"] for line in lines], [1, 2, 3, 3])
        self.assertIn("mixed", lines[-1]["train"])
        # Stopped in each stage, it ends with the same bytes.
        self.begin_and_kill("train", run, part, (3, 9, 15))
        self.ok("train", "--resume", part)
        self.assert_same_run("run", "part")

        # Its last stage goes on from what it learned; from the beginning of the stages it would not.
        more = [word for word in mixer if word not in ("1,1,2",)]
        stages = more.index("--stages") + 1
        self.ok(*more[:stages], "0,0,1", *more[stages:], "--init", run, "--out", self.folder / "more")
        self.assertTrue(json.loads((self.folder / "more" / "config.json").read_text())["continues"])
        self.ok(*more[:stages], "0,1,1", *more[stages:], "--init", run, "--out", self.folder / "other")
        self.assertFalse(json.loads((self.folder / "other" / "config.json").read_text())["continues"])
        # Nor from one that had not begun it.
        early = self.folder / "early"
        self.begin_and_kill("train", run, early, (1,))
        self.ok(*more[:stages], "0,0,1", *more[stages:], "--init", early, "--out", self.folder / "late")
        self.assertFalse(json.loads((self.folder / "late" / "config.json").read_text())["continues"])
        at_random = ["--mixed", "random", "--average", "3", "--count", "1"]
        self.assertIn("has not begun its last stage", spnet("eval", "--run", early, *at_random).stderr)
        self.assertNotIn("last stage", self.ok("eval", "--run", run, *at_random).stderr)

        found, packed = self.folder / "found.json", self.folder / "model.spn"
        search = ["--mixed", "search", "--search-images", "48", "--evaluations", "5", "--threads", "1"]
        told = self.ok("eval", "--run", run, *search, "--budget", "bitops:w3a3", "--budget", "bits:2.9", "--out", found).stdout
        self.assertIn("bits: 2.", told)
        layers = json.loads(found.read_text())["layers"]
        self.assertEqual(len(layers), 20)
        self.assertLessEqual(sum(int(p[1]) for p in layers.values()), 2.9 * 20)
        latency = json.loads(self.ok("eval", "--run", run, *search, "--budget", "latency-ms:1000", "--json").stdout.splitlines()[0])
        self.assertGreater(latency["budgets"]["latency-ms"]["cost"], 0)
        self.fails(2, "there is no such folder", "eval", "--run", run, *search, "--budget", "bits:3", "--out", self.folder / "no" / "x.json")
        # A latency that nothing has is refused with what was measured, before or after the search.
        told = self.fails(1, "latency-ms", "eval", "--run", run, *search, "--budget", "latency-ms:0.0001")
        self.assertRegex(told, r"the least is [0-9]|searches takes [0-9]")
        # The least that an error names is kept.
        for kind in ("bytes", "bitops"):
            told = self.fails(1, f"{kind} cannot be kept; the least is", "eval", "--run", run, *search, "--budget", f"{kind}:10")
            self.ok("eval", "--run", run, *search, "--budget", f"{kind}:{told.split()[-1]}")
        self.fails(1, "bits cannot be kept; the least is 2", "eval", "--run", run, *search, "--budget", "bits:1.5")
        self.fails(1, "expected 2 to 4", "eval", "--run", run, "--mixed", "random", "--average", "5")

        # A run and its packed file agree at any configuration; the file carries what was found.
        self.ok("pack", run, "--config", found, "--out", packed)
        self.assertIn("found", self.ok("info", packed).stdout)
        at_random = ["--mixed", "random", "--average", "3", "--count", "4", "--json", "--threads", "1"]
        of_run = [json.loads(line) for line in self.ok("eval", "--run", run, *at_random).stdout.splitlines()]
        of_file = [json.loads(line) for line in self.ok("eval", packed, "--data", DATA, *at_random).stdout.splitlines()]
        self.assertEqual([line.get("top1") for line in of_run], [line.get("top1") for line in of_file])
        self.assertEqual(of_run[-1]["count"], 4)
        self.assertEqual(of_run[-1]["worst"], min(line["top1"] for line in of_run[:-1]))
        by_name, by_file = (json.loads(self.ok("eval", packed, "--data", DATA, "--config", config, "--json").stdout)
                            for config in ("found", found))
        self.assertEqual([by_name["switch"], by_name["top1"]], [by_file["switch"], by_file["top1"]])
        again = json.loads(self.ok("eval", "--run", run, "--config", found, "--recalibrate", "48", "--json").stdout)
        self.assertEqual(again["switch"], "found recalibrated")
        other = self.folder / "recalibrated.spn"
        self.ok("pack", run, "--config", found, "--recalibrate", "48", "--out", other)
        self.assertNotEqual(other.read_bytes(), packed.read_bytes())
        top1 = json.loads(self.ok("eval", other, "--data", DATA, "--config", "found", "--json").stdout)["top1"]
        self.assertEqual(top1, again["top1"])
        (self.folder / "0.png").write_bytes(png(20, 128))
        self.ok("run", packed, "--config", "found", self.folder / "0.png")
        timed = [json.loads(line) for line in self.ok("bench", packed, "--runs", "2", "--json").stdout.splitlines()]
        self.assertEqual([line["switch"] for line in timed], ["w2a2", "w3a3", "w4a4", "found"])

        # Files that do not fit say where.
        first = next(iter(layers))
        for change, text in [({first: "w5a5"}, f"layer '{first}': w5a5 given, the network has w2a2, w3a3, w4a4"),
                             ({first: "much"}, f"layer '{first}': precision: 'much' given"),
                             ({first: 4}, f"layer '{first}': 4 given, expected a precision"),
                             ({"head": "w2a2"}, "layer 'head' is not one of the network's")]:
            bad = self.folder / "bad.json"
            bad.write_text(json.dumps({"layers": {**layers, **change}}))
            self.fails(1, text, "run", packed, "--config", bad, self.folder / "0.png")
        bad.write_text(json.dumps({"layers": {name: p for name, p in layers.items() if name != first}}))
        self.fails(1, f"layer '{first}' is missing", "eval", "--run", run, "--config", bad)
        bad.write_text(f'{{"layers": {{"{first}": "w2a2", "{first}": "w3a3"}}}}')
        self.fails(1, f"layer '{first}' is there twice", "eval", "--run", run, "--config", bad)
        bad.write_text("[1")
        self.fails(1, "not a configuration", "pack", run, "--config", bad, "--out", packed)
        self.fails(1, "none.json", "run", packed, "--config", self.folder / "none.json", self.folder / "0.png")

    def test_search(self):
        found = self.folder / "found.json"
        network = ["--model", "resnet20", "--width", "0.25", "--activation-quantizer", "lsq"]
        search = ["search", *network, "--data", DATA, "--batch", "16", "--epochs", "5", "--seed", "5", "--candidates", "4,1,2",
                  "--input-candidates", "2,8"]
        budget = ["--constraint", "bitops-g:w1a8"]
        told = self.ok(*search, *budget, "--out", found).stdout
        self.assertIn("bitops-g 0.00", told)
        written = json.loads(found.read_text())
        self.assertEqual(len(written["layers"]), 20)
        cost = written["costs"]["bitops-g"]
        self.assertLessEqual(0.98 * cost["target"], cost["cost"])
        self.assertLessEqual(cost["cost"], cost["target"])
        self.assertIn("layer3.2.conv2", (self.folder / "found.svg").read_text())
        run = self.folder / "found.search"
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        self.assertEqual([line["progress"]["undecided"] for line in lines], [40, 40, 26, 13, 0])

        # Stopped before and after decisions, it ends with the same bytes.
        part = self.folder / "part"
        self.begin_and_kill("search", run, part, (4, 13, 20))
        self.ok("search", "--resume", part, "--out", part / "found.json")
        self.assertEqual(self.checkpoint("part").read_bytes(), self.checkpoint("found.search").read_bytes())
        self.assertEqual(json.loads((part / "found.json").read_text())["layers"], written["layers"])

        # What was found trains, from the supernet's weights, packs and runs; at no other precision. (A search may find one
        # precision for all layers, which have none of their own then: the first one is changed.)
        first = next(iter(written["layers"]))
        written["layers"][first] = "w4a8" if written["layers"][first] != "w4a8" else "w2a8"
        found.write_text(json.dumps(written))
        trained, packed = self.folder / "trained", self.folder / "model.spn"
        self.ok("train", "--config", found, *network, "--data", DATA, "--batch", "16", "--epochs", "1", "--init", run,
                "--out", trained)
        of_run = json.loads(self.ok("eval", "--run", trained, "--json").stdout)
        self.assertEqual(of_run["switch"], "mixed")
        self.ok("pack", trained, "--out", packed)
        of_file = json.loads(self.ok("eval", packed, "--data", DATA, "--json").stdout)
        self.assertEqual([of_run["top1"], of_run["switch"]], [of_file["top1"], of_file["switch"]])
        self.assertEqual(of_file["top1"], json.loads(self.ok("eval", packed, "--data", DATA, "--config", found, "--json").stdout)["top1"])
        self.assertIn("mixed", self.ok("info", packed).stdout)
        self.assertIn("mixed", self.ok("info", trained).stdout)
        self.assertEqual(json.loads(self.ok("bench", packed, "--runs", "2", "--json").stdout)["switch"], "mixed")
        (self.folder / "0.png").write_bytes(png(20, 128))
        self.ok("run", packed, self.folder / "0.png")
        self.assertEqual(self.ok("eval", "--run", run).stdout[:80], self.ok("eval", "--run", run, "--best").stdout[:80])
        self.fails(1, "go on with it by: spnet search --resume", "train", "--resume", run)
        self.fails(1, "go on with it by: spnet train --resume", "search", "--resume", trained)
        self.fails(1, "layers at precisions of their own", "eval", packed, "--data", DATA, "--switch", "w2a2")
        self.fails(1, "have their precisions for good", "eval", packed, "--data", DATA, "--mixed", "random", "--average", "2")
        self.fails(1, "precision of its own", "eval", "--run", trained, "--switch", "w2a2")
        self.fails(1, "precision of its own", "pack", trained, "--switches", "w2a2", "--out", packed)
        bad = self.folder / "bad.json"
        bad.write_text(json.dumps({"layers": {**written["layers"], first: "w4a2"}}))
        self.fails(1, f"layer '{first}'", "bench", packed, "--config", bad)

        # Measured latencies, by the command or on the way.
        table = self.folder / "latency.json"
        self.ok("profile", *network, "--candidates", "1,2", "--image-size", "16", "--threads", "1", "--out", table)
        self.assertEqual(sorted(json.loads(table.read_text())["layers_ms"][first]), ["w1a1", "w1a2", "w2a1", "w2a2"])
        timed = [*search[:search.index("--candidates")], "--candidates", "1,2", "--out", self.folder / "timed.json"]
        self.ok(*timed, "--constraint", "latency-ms:w2a2", "--latency", table)
        timed[-1] = self.folder / "never.json"
        self.fails(1, "latency-ms:1e-06 cannot be met, the candidates allow", *timed, "--constraint", "latency-ms:0.000001",
                   "--latency", table)
        self.fails(1, "latency-ms:1e-06 cannot be met, the candidates allow", *timed, "--constraint", "latency-ms:0.000001")
        told = self.ok("search", "--resume", self.folder / "timed.search").stdout
        self.assertIn("latency-ms of the packed network", told)
        for change, text in [({"width": 0.5}, "measured for width 0.5, this is 0.25"), ({"fixed_ms": -1}, "no number of milliseconds"),
                             ({"layers_ms": {first: {"w1a1": 0}}}, f"the latency of {first} is no number"),
                             ({"threads": "x"}, "not a table of latencies")]:
            bad.write_text(json.dumps({**json.loads(table.read_text()), **change}))
            self.fails(1, text, *timed, "--constraint", "latency-ms:1", "--latency", bad)
        self.fails(1, "was not measured", *search, "--constraint", "latency-ms:1", "--latency", table,
                   "--out", self.folder / "never.json")

        # What cannot be is refused before the first epoch, with what can.
        never = ["--out", self.folder / "never.json"]
        self.fails(1, "size-mib:5 is no limit, the candidates allow", *search, *never, "--constraint", "size-mib:5")
        self.fails(1, "avg-weight-bits:0.5 cannot be met, the candidates allow 1 to 4", *search, *never, "--constraint", "avg-bits:0.5")
        self.fails(2, "but the candidates are", *search, *never, "--constraint", "bitops-g:w3a3")
        self.fails(2, "--decide-every", *search, *never, "--search-warmup", "4")
        self.fails(2, "have these names", *search, "--out", self.folder / "x.svg")
        self.fails(2, "no such folder", *search, "--out", self.folder / "none" / "x.json")
        # What is met to the last bit is met.
        for budget in "avg-bits:w1a2", "size-mib:w4a8":
            self.ok(*search, "--constraint", budget, "--out", self.folder / f"{budget[:4]}.json")
        self.assertFalse((self.folder / "never.search").exists())
        self.assertFalse((self.folder / "never.json").exists())

    def test_train_eval_info(self):
        run = self.folder / "a run"
        self.ok(*TRAIN, "--out", run)
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        self.assertEqual([line["epoch"] for line in lines], [1, 2])
        evaluated = [json.loads(line) for line in self.ok("eval", "--run", run, "--json").stdout.splitlines()]
        self.assertEqual([line["switch"] for line in evaluated], ["w1a1", "w2a2", "w32a32"])
        for line in evaluated:
            self.assertEqual(line["images"], 40)
            self.assertEqual(line["top1"], lines[-1]["test"][line["switch"]]["top1"])
        one = self.ok("eval", "--run", run, "--switch", "w2a2", "--json", "--threads", "1", "--batch", "7").stdout
        self.assertEqual(json.loads(one)["top1"], evaluated[1]["top1"])
        self.assertEqual(len(self.ok("eval", "--run", run).stdout.splitlines()), 4)
        self.assertIn("resnet20", self.ok("info", run).stdout)
        self.fails(1, "w4a4", "eval", "--run", run, "--switch", "w4a4")
        self.fails(1, "there is a run already", *TRAIN, "--out", run)
        self.fails(1, "classes", "eval", "--run", run, "--data", DATA + ",classes=4")

    def test_a_terminal_shows_a_live_bar(self):
        try:
            master, slave = pty.openpty()
        except OSError as error:  # as in a container without /dev/pts
            self.skipTest(str(error))
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        process = subprocess.Popen([SPNET, *[w.replace("train=96", "train=960") for w in TRAIN], "--out",
                                    str(self.folder / "run")], stdin=subprocess.DEVNULL, stderr=slave,
                                   env={**os.environ, "TERM": "xterm"})
        os.close(slave)
        shown = b""
        while True:
            try:
                part = os.read(master, 4096)
            except OSError:  # how Linux tells that the other end is closed
                break
            if not part:
                break
            shown += part
        os.close(master)
        self.assertEqual(process.wait(), 0)
        bars = [bar for bar in re.split(r"[\r\n]", shown.decode()) if "images/s" in bar and "loss" in bar]
        self.assertTrue(bars)
        for bar in bars:
            self.assertRegex(bar, r"epoch \d/2 .*images/s .*left .*loss .*top-1")
            self.assertLessEqual(len(re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", bar)), 80)

    def test_the_options_of_the_readme_are_known(self):
        readme = (Path(__file__).resolve().parents[2] / "README.md").read_text().replace("\\\n", " ")
        commands = re.findall(r"spnet (train|eval|info|pack|run|bench|search|profile|prune) (.*)", readme)
        self.assertGreater(len(commands), 3)
        for command, rest in commands:
            known = self.ok(command, "--help").stdout
            for option in re.findall(r"--[a-z-]+", rest.split("#")[0].split("`")[0]):
                self.assertRegex(known, rf"{option}\b", f"{command} {rest}")

    def test_one_thread_or_two_give_the_same_bytes(self):
        self.ok(*TRAIN, "--out", self.folder / "one", "--threads", "1")
        self.ok(*TRAIN, "--out", self.folder / "two", "--threads", "2")
        self.assert_same_run("one", "two")

    def test_simulated_quantization_gives_the_same_bytes(self):
        self.ok(*TRAIN, "--out", self.folder / "integers")
        self.ok(*TRAIN, "--out", self.folder / "simulated", "--simulate")
        self.assert_same_run("integers", "simulated")

    def test_a_stopped_run_goes_on_bit_for_bit(self):
        long = [word.replace("train=96", "train=1600") for word in TRAIN]
        long += ["--quantizer", "lsq", "--optimizer", "adam"]
        self.ok(*long, "--out", self.folder / "whole")
        part = self.folder / "part"
        stopped = set()
        for attempt in range(40):
            begun = (part / "config.json").exists()
            arguments = ["train", "--resume", str(part)] if begun else [*long, "--out", str(part)]
            process = subprocess.Popen([SPNET, *arguments], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            while process.poll() is None and not (part / "config.json").exists():
                time.sleep(0.01)
            time.sleep(0.05 + 0.02 * attempt)
            process.send_signal(signal.SIGTERM if attempt % 2 else signal.SIGINT)
            stderr = process.communicate(timeout=120)[1]
            if process.returncode == -(signal.SIGTERM if attempt % 2 else signal.SIGINT):
                continue  # before the program had asked for signals
            self.assertEqual(process.returncode, 0, stderr)
            if "done" in stderr:
                break
            self.assertIn("spnet train --resume", stderr)
            stopped.add((attempt % 2, re.search(r"stopped after step (\d+)", stderr)[1]))
        else:
            self.ok("train", "--resume", part)
        self.assertGreaterEqual(len(stopped), 3)
        self.assertEqual({kind for kind, step in stopped}, {0, 1})
        self.assert_same_run("whole", "part")

    def test_a_killed_run_goes_on_from_its_last_checkpoint(self):
        weighted = [*TRAIN, "--switch-weights", "w1a1:0.5"]
        self.ok(*weighted, "--out", self.folder / "whole")
        self.ok(*TRAIN, "--out", self.folder / "unweighted")
        self.assertNotEqual(self.checkpoint("whole").read_bytes(), self.checkpoint("unweighted").read_bytes())
        part = self.folder / "part"
        process = subprocess.Popen([SPNET, *weighted, "--out", str(part), "--save-every", "2"], stdin=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 120
        while not list(part.glob("checkpoint-*")) and time.monotonic() < deadline:
            time.sleep(0.02)
        process.kill()
        self.assertEqual(process.wait(), -signal.SIGKILL, "the run was over before it was killed")
        with (part / "metrics.jsonl").open("a") as metrics:
            metrics.write('{"epoch": 9, "step": 99999}\n{"cut sho')
        self.ok("train", "--resume", part)
        self.assert_same_run("whole", "part")

    def test_a_run_that_ended_before_its_first_checkpoint_starts_again(self):
        whole, part = self.folder / "whole", self.folder / "part"
        self.ok(*TRAIN, "--out", whole)
        part.mkdir()
        shutil.copy(whole / "config.json", part)
        self.assertIn("from the beginning", self.ok("train", "--resume", part).stderr)
        self.assert_same_run("whole", "part")

    def test_images_that_cannot_be_read(self):
        data = self.folder / "images"
        for split, count in ("train", 20), ("test", 4):
            for label, name in enumerate(["cat", "dog"]):
                (data / split / name).mkdir(parents=True)
                for i in range(count):
                    (data / split / name / f"{i}.png").write_bytes(png(16, 100 * label + i))
        bad = data / "train/dog/7.png"
        good = bad.read_bytes()
        arguments = [word if word != DATA else f"folder:{data}" for word in TRAIN]
        self.ok(*arguments, "--out", self.folder / "whole")
        # It is found while the channels are measured, or in training; the run can go on without it, and once it is mended.
        bad.write_bytes(good[:60])
        self.fails(1, "dog/7.png", *arguments, "--out", self.folder / "never")
        skipped = self.ok(*arguments, "--skip-bad", "--out", self.folder / "skipped").stderr
        self.assertEqual(skipped.count("7.png"), 1)
        bad.write_bytes(good)
        part = self.folder / "part"
        part.mkdir()
        shutil.copy(self.folder / "whole" / "config.json", part)
        bad.write_bytes(good[:60])
        self.fails(1, "dog/7.png", "train", "--resume", part)
        self.assertTrue(list(part.glob("checkpoint-*")))
        bad.write_bytes(good)
        self.ok("train", "--resume", part)
        self.assert_same_run("whole", "part")
        (data / "test/cat/0.png").write_bytes(b"no image")
        self.fails(1, "cat/0.png", "eval", "--run", part)
        self.assertEqual(json.loads(self.ok("eval", "--run", part, "--skip-bad", "--switch", "w2a2", "--json").stdout)["images"], 7)
        for path in (data / "train/cat").iterdir():
            path.unlink()
        self.fails(1, "cat", *arguments, "--out", self.folder / "never")
        self.assertFalse((self.folder / "never").exists())

    def test_damaged_checkpoints(self):
        run = self.folder / "run"
        self.ok(*TRAIN, "--out", run, "--save-every", "5")
        checkpoints = sorted(run.glob("checkpoint-*"), key=lambda p: int(p.stem.split("-")[1]))
        self.assertEqual(len(checkpoints), 2)
        expected = checkpoints[-1].read_bytes()
        checkpoints[-1].write_bytes(expected[:-100])
        done = self.ok("train", "--resume", run)
        self.assertIn("falling back", done.stderr)
        self.assertEqual(self.checkpoint("run").read_bytes(), expected)
        for path in run.glob("checkpoint-*"):
            path.write_bytes(b"nothing of use")
        self.fails(1, "no undamaged checkpoint", "train", "--resume", run)
        for path in run.glob("checkpoint-*"):
            path.unlink()
        (run / "config.json").write_text("{")
        self.fails(1, "config.json", "eval", "--run", run)

    def test_a_run_goes_by_what_its_checkpoints_carry(self):
        run = self.folder / "run"
        self.ok(*TRAIN, "--out", run)
        expected = self.checkpoint("run").read_bytes()
        config = json.loads((run / "config.json").read_text())
        self.assertNotIn("warning", self.ok("eval", "--run", run).stderr)
        for damage in [lambda path: path.unlink(), lambda path: path.write_text("{"),
                       lambda path: path.write_text(json.dumps({**config, "seed": 6, "optimizer": "foo", "mean": [0.5]}))]:
            damage(run / "config.json")
            self.assertIn("warning", self.ok("eval", "--run", run).stderr)
            checkpoints = sorted(run.glob("checkpoint-*"), key=lambda p: int(p.stem.split("-")[1]))
            checkpoints[-1].unlink()
            self.assertIn("warning", self.ok("train", "--resume", run).stderr)
            self.assertEqual(self.checkpoint("run").read_bytes(), expected)
        fresh = self.folder / "fresh"
        fresh.mkdir()
        for entry, value in [("optimizer", "foo"), ("mean", [0.5]), ("image_size", 3), ("batch", 0), ("augment", "foo")]:
            (fresh / "config.json").write_text(json.dumps({**config, entry: value}))
            self.fails(1, entry.split("_")[0], "train", "--resume", fresh)

    def test_a_full_disk_loses_nothing(self):
        def little_room():
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
        run = self.folder / "run"
        self.ok(*TRAIN, "--out", self.folder / "whole")
        done = spnet(*TRAIN, "--out", run, preexec_fn=little_room)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn("cannot write", done.stderr)
        self.assertEqual(list(run.glob("checkpoint-*")), [])
        self.assertIn("from the beginning", self.ok("train", "--resume", run).stderr)
        self.assert_same_run("whole", "run")
        last = self.checkpoint("run")
        expected = last.read_bytes()
        last.unlink()
        kept = self.checkpoint("run").read_bytes()
        self.assertEqual(spnet("train", "--resume", run, preexec_fn=little_room).returncode, 1)
        self.assertEqual(self.checkpoint("run").read_bytes(), kept)
        self.ok("train", "--resume", run)
        self.assertEqual(self.checkpoint("run").read_bytes(), expected)

    def test_numbers_that_are_not_finite_stop_a_run(self):
        tiny = ["train", "--width", "0.25", "--data", "synthetic:train=16,test=16,size=16", "--batch", "16", "--lr", "1e38",
                "--warmup", "0", "--epochs", "2"]
        self.fails(1, "step", *tiny, "--switches", "w32a32", "--out", self.folder / "float")
        self.fails(1, "w2a2", *tiny, "--switches", "w2a2,w32a32", "--out", self.folder / "two")
        self.assertFalse((self.folder / "float" / "best.safetensors").exists())

    def test_start_from_another_run(self):
        floating = self.folder / "float"
        arguments = [word if word != "w1a1,w2a2,w32a32" else "w32a32" for word in TRAIN]
        self.ok(*arguments, "--out", floating)
        for quantizer in ["dorefa", "tanh", "log", "lsq"]:
            self.ok(*TRAIN, "--quantizer", quantizer, "--out", self.folder / f"{quantizer} from run", "--init", floating)
        self.ok(*TRAIN, "--out", self.folder / "from file", "--init", self.checkpoint("float"))
        self.fails(1, "init", *[w if w != "0.25" else "0.5" for w in TRAIN], "--out", self.folder / "x", "--init", floating)
        self.assertFalse((self.folder / "x").exists())

    def test_every_quantizer_and_distillation_trains(self):
        short = [w if w != "2" else "1" for w in TRAIN]
        for quantizer in ["dorefa", "tanh", "log", "binary", "xnor", "lsq", "double_rounding", "midrise_nested"]:
            order = ["--relu-before-norm"] if quantizer == "tanh" else []
            self.ok(*short, "--quantizer", quantizer, *order, "--out", self.folder / quantizer)
        for plan in ["none", "top", "recursive", "sandwich"]:
            self.ok(*short, "--distill", plan, "--temperature", "3", "--feature-weight", "0.1", "--out", self.folder / plan)
        self.ok(*short, "--quantizer", "lsq", "--per-channel", "--out", self.folder / "per-channel")
        grid = [w if w != "w1a1,w2a2,w32a32" else "w1a1,w1a2,w1a32" for w in short]
        self.ok(*grid, "--out", self.folder / "grid")
        for precision in ["high", "medium"]:
            self.ok(*short, "--matmul-precision", precision, "--out", self.folder / precision)
        self.ok(*short, "--optimizer", "adamw", "--clip-norm", "1", "--schedule", "step:1:0.5", "--out", self.folder / "adamw")

    def test_wrong_usage(self):
        out = ["--out", self.folder / "never"]
        for arguments, text in [
            (["train", *out, "--no-such-flag"], "no-such-flag"),
            (["train"], "--out"),
            (["train", *out, "--switches", "w0a0"], "expected 1..8 or 32"),
            (["train", *out, "--switches", "w33a1"], "expected 1..8 or 32"),
            (["train", *out, "--switches", "w2"], "expected the form w2a4"),
            (["train", *out, "--switches", "w2a2,w2a2"], "twice"),
            (["train", *out, "--model", "vgg"], "vgg"),
            (["train", *out, "--quantizer", "nonesuch"], "dorefa"),
            (["train", *out, "--matmul-precision", "low"], "matmul-precision"),
            (["train", *out, "--distill", "nonesuch"], "recursive"),
            (["train", *out, "--schedule", "step"], "schedule"),
            (["train", *out, "--schedule", "one-cycle", "--warmup", "1"], "warms up by itself"),
            (["train", *out, "--temperature", "nan"], "temperature"),
            (["train", *out, "--weight-decay", "nan"], "weight-decay"),
            (["train", *out, "--label-smoothing", "nan"], "label-smoothing"),
            (["train", *out, "--seed", "-1"], "seed"),
            (["train", *out, "--switch-weights", "w1a1"], "expected the form w1a1:0.25"),
            (["train", *out, "--switch-weights", "w1a1:0"], "expected > 0"),
            (["train", *out, "--switch-weights", "w3a3:0.5"], "not among the switches"),
            (["train", *out, "--method", "bit-mixer", "--bits", "2,3"], "needs --stages"),
            (["train", *out, "--method", "bit-mixer", "--stages", "1,2"], "three stages"),
            (["train", *out, "--method", "bit-mixer", "--stages", "0,0,0"], "not all 0"),
            (["train", *out, "--method", "bit-mixer", "--stages", "1,1,x"], "'x' given, expected a number"),
            (["train", *out, "--method", "bit-mixer", "--stages", "9223372036854775807,1,1"], "--stages with 9223372036854775807"),
            (["train", *out, "--lowest"], "are of --method bit-mixer"),
            (["train", *out, "--norm", "transitional"], "transitional is of --method bit-mixer"),
            (["eval", "--run", "x", "--budget", "bits:3"], "--budget is of --mixed search"),
            (["eval", "--run", "x", "--mixed", "search", "--budget", "bits:3", "--average", "3"], "--average is of --mixed random"),
            (["eval", "--run", "x", "--seed", "3"], "--seed is of --mixed"),
            (["train", *out, "--stages", "1,1,1"], "are of --method bit-mixer"),
            (["train", *out, "--bits", "2,9"], "expected 1..8 or 32"),
            (["train", *out, "--bits", "2,2"], "names 2 twice"),
            (["train", *out, "--bits", "2", "--switches", "w2a2"], "--switches"),
            (["train", *out, "--scale-rates", "2"], "expected the form 2:10"),
            (["train", *out, "--scale-rates", "9:1"], "expected widths 1 to 8"),
            (["eval", "--run", "x", "--mixed", "random"], "--average"),
            (["eval", "--run", "x", "--mixed", "search"], "--budget"),
            (["eval", "x.spn", "--data", "synthetic", "--recalibrate", "8"], "give --run"),
            (["pack", "x", "--out", "y", "--recalibrate", "8"], "exactly one --config"),
            (["search"], "--out"),
            (["search", *out, "--candidates", "2,9"], "ascending widths"),
            (["search", *out, "--constraint", "speed:3"], "expected avg-bits:"),
            (["search", *out, "--constraint", "avg-bits:x"], "expected a number"),
            (["search", *out, "--cell", "none"], "search cell: 'none' is not known"),
            (["profile"], "--out"),
            (["profile", *out, "--candidates", "x"], "expected a number"),
            (["train", *out, "--config", "x", "--switches", "w2a2"], "excludes"),
            (["train", *out, "--per-channel"], "for each channel"),
            (["train", *out, "--width", "65"], "width"),
            (["train", *out, "--epochs", "0"], "epochs"),
            (["train", *out, "--resume", "x"], "--resume"),
            (["train", *out, "--data", "nonesuch:x"], "cifar10:PATH"),
            (["train", *out, "--data", "cifar10"], "needs a path"),
            (["eval"], "--run"),
            (["eval", "--run", "x", "--switch", "w2a9"], "expected 1..8 or 32"),
            (["nonsense"], "subcommand"),
            ([], "subcommand"),
        ]:
            with self.subTest(arguments=arguments):
                self.fails(2, text, *arguments)
        self.assertFalse((self.folder / "never").exists())

    def test_failed_runs(self):
        out = ["--out", self.folder / "never"]
        self.fails(1, "nowhere", "train", *out, "--data", "cifar10:nowhere")
        self.fails(1, "nowhere", "eval", "--run", "nowhere")
        self.fails(1, "nowhere", "train", "--resume", "nowhere")
        self.fails(1, "do not fill a batch", *[w if w != "16" else "4096" for w in TRAIN], *out)
        self.fails(1, "at switch w32a32 in step", *TRAIN, "--out", self.folder / "diverged", "--lr", "1e30")
        file = self.folder / "file"
        file.write_text("")
        self.fails(1, str(file), *TRAIN, "--out", file / "run")
        self.assertFalse((self.folder / "never").exists())

    def test_instruction_set_from_the_environment(self):
        run = self.folder / "run"
        self.ok(*TRAIN, "--out", run, env={**os.environ, "SPNET_ISA": "simd"})
        self.ok("eval", "--run", run)
        done = spnet("eval", "--run", run, env={**os.environ, "SPNET_ISA": "nonesuch"})
        self.assertNotEqual(done.returncode, 0)
        self.assertRegex(done.stderr, "'nonesuch' is not available here, expected one of .*simd")

    def test_help(self):
        for command in ([], ["train"], ["eval"], ["info"], ["pack"], ["run"], ["bench"], ["search"], ["profile"], ["prune"]):
            self.assertIn("--help", self.ok(*command, "--help").stdout)
        self.assertRegex(self.ok("--version").stdout, r"^\d+\.\d+\.\d+")


if __name__ == "__main__":
    unittest.main()
