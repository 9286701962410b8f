"""Every header compiles on its own, without warnings, and may be included twice."""
import os
import tempfile
import unittest
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from project import COMPILER, INCLUDE, OPENMP, compile_flags, run


def compile_alone(header):
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "alone.cpp")
        source.write_text(f'#include "spnet/{header}"\n#include "spnet/{header}"\n')
        try:
            # Shared kernels: not every operator needs to parse every instruction set's.
            run([*COMPILER, *compile_flags(), *OPENMP, "-DSPNET_SHARED_KERNELS", "-fsyntax-only", source])
        except AssertionError as failure:
            return str(failure)
    return None


class Headers(unittest.TestCase):
    pass


def add_tests():
    headers = sorted(path.relative_to(INCLUDE).as_posix() for path in INCLUDE.rglob("*.hpp"))
    pool = ThreadPoolExecutor(os.cpu_count())
    for header in headers:
        result = pool.submit(compile_alone, header)
        setattr(Headers, f"test_{header}", lambda self, result=result: self.assertIsNone(result.result()))


if __name__ == "__main__":
    add_tests()
    unittest.main()
