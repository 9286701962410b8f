#!/usr/bin/env python3
"""Adds up the test cases in Meson's logs.

usage: tools/count_tests.py LOG.json...
A doctest program counts its test cases, a unittest script its tests, anything else counts as one test. A program that
failed without saying in which test case counts as one failure. Prints "N passed, N failed"; exits with 1 where a test
failed, a log is missing, or none ran.
"""
import json
import re
import sys

DOCTEST = re.compile(r"^\[doctest\] test cases:\s*\d+ \|\s*(\d+) passed \|\s*(\d+) failed", re.MULTILINE)
UNITTEST = re.compile(r"^Ran (\d+) tests? in", re.MULTILINE)
UNITTEST_TROUBLE = re.compile(r"(failures|errors|skipped|unexpected successes)=(\d+)")


def count(test):
    """(passed, failed) of one entry of a log."""
    if test["result"] == "SKIP":
        return 0, 0
    output = test.get("stdout", "") + test.get("stderr", "")
    passed, failed = 0, 0
    if doctest := DOCTEST.search(output):
        passed, failed = map(int, doctest.groups())
    elif unittest := UNITTEST.search(output):
        trouble = dict(UNITTEST_TROUBLE.findall(output[unittest.end():]))
        skipped = int(trouble.pop("skipped", 0))
        failed = sum(map(int, trouble.values()))
        passed = int(unittest.group(1)) - failed - skipped
    elif test["result"] == "OK":
        passed = 1
    if test["result"] != "OK" and failed == 0:
        failed = 1
    return passed, failed


def main(paths):
    passed, failed = 0, 0
    for path in paths:
        try:
            with open(path) as log:
                tests = [json.loads(line) for line in log if line.strip()]
        except (OSError, ValueError) as error:
            print(f"{path}: {error}")
            tests = []
        if not tests:
            print(f"{path}: no test ran")
            failed += 1
        for test in tests:
            more_passed, more_failed = count(test)
            passed += more_passed
            failed += more_failed
            if more_failed or more_passed == 0 and test["result"] != "SKIP":
                print(f"{path}: {test['name']}: {more_passed} passed, {more_failed} failed ({test['result']})")
    print(f"{passed} passed, {failed} failed")
    return 0 if passed > 0 and failed == 0 else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
