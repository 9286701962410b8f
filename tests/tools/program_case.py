"""What the tests of the spnet program share: calling it, and a folder for what it writes."""
import os
import subprocess
import tempfile
import unittest
from pathlib import Path

SPNET = os.environ["SPNET_PROGRAM"]
DATA = "synthetic:train=96,test=40,size=16"
TRAIN = ["train", "--model", "resnet20", "--width", "0.25", "--data", DATA, "--switches", "w1a1,w2a2,w32a32",
         "--batch", "16", "--epochs", "2", "--seed", "5"]


def spnet(*arguments, **options):
    return subprocess.run([SPNET, *map(str, arguments)], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=240, **options)


class ProgramCase(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory(prefix="spnet program ")
        self.addCleanup(temporary.cleanup)
        self.folder = Path(temporary.name)

    def ok(self, *arguments, **options):
        done = spnet(*arguments, **options)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done

    def fails(self, code, text, *arguments):
        done = spnet(*arguments)
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        self.assertIn(text, done.stderr)
        return done.stderr

    def checkpoint(self, run):
        return max((self.folder / run).glob("checkpoint-*.safetensors"), key=lambda p: int(p.stem.split("-")[1]))
