"""What the tests' closing line counts."""
import contextlib
import io
import json
import sys
import tempfile
import unittest
from pathlib import Path

from project import ROOT

sys.path.insert(0, str(ROOT / "tools"))
import count_tests  # noqa: E402

DOCTEST = "[doctest] test cases: {} | {} passed | {} failed | 0 skipped\n"


class Counting(unittest.TestCase):
    def closing_line(self, *tests):
        """Exit code and last line for tests given as (result, stdout)."""
        with tempfile.TemporaryDirectory() as folder:
            log = Path(folder, "testlog.json")
            lines = [json.dumps({"name": "t", "result": result, "stdout": text}) for result, text in tests]
            log.write_text("\n".join(lines))
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                code = count_tests.main([str(log)])
            return code, printed.getvalue().splitlines()[-1]

    def test_sums(self):
        self.assertEqual(self.closing_line(("OK", DOCTEST.format(" 12", " 12", "0")), ("OK", ""),
                                           ("OK", "Ran 5 tests in 0.1s\n\nOK (skipped=1)\n")), (0, "17 passed, 0 failed"))

    def test_failures(self):
        self.assertEqual(self.closing_line(("FAIL", DOCTEST.format("12", "10", "2"))), (1, "10 passed, 2 failed"))
        self.assertEqual(self.closing_line(("FAIL", "Ran 5 tests in 1s\n\nFAILED (failures=1, errors=2)\n")),
                         (1, "2 passed, 3 failed"))
        self.assertEqual(self.closing_line(("OK", ""), ("FAIL", "")), (1, "1 passed, 1 failed"))

    def test_crash_after_or_without_a_summary(self):
        self.assertEqual(self.closing_line(("OK", ""), ("ERROR", "")), (1, "1 passed, 1 failed"))
        self.assertEqual(self.closing_line(("FAIL", DOCTEST.format("3", "3", "0"))), (1, "3 passed, 1 failed"))
        self.assertEqual(self.closing_line(("TIMEOUT", "")), (1, "0 passed, 1 failed"))

    def test_nothing_ran(self):
        self.assertEqual(self.closing_line()[0], 1)
        self.assertEqual(self.closing_line(("OK", DOCTEST.format("0", "0", "0")))[0], 1)
        self.assertEqual(self.closing_line(("SKIP", ""))[0], 1)
        with contextlib.redirect_stdout(io.StringIO()):
            self.assertEqual(count_tests.main(["no such log"]), 1)


if __name__ == "__main__":
    unittest.main()
