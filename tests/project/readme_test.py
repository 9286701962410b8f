"""The C++ of README.md compiles and runs as it stands."""
import os
import re
import tempfile
import unittest
from pathlib import Path

from project import COMPILER, OPENMP, ROOT, compile_flags, run

BLOCK = re.compile(r"^```cpp\n(.*?)^```", re.MULTILINE | re.DOTALL)


class Readme(unittest.TestCase):
    def test_has_code(self):
        self.assertTrue(blocks())


def blocks():
    return BLOCK.findall((ROOT / "README.md").read_text())


def program(block):
    """A block without main() is the inside of one."""
    if "int main(" in block:
        return block
    includes = "".join(line for line in block.splitlines(keepends=True) if line.startswith("#include"))
    body = "".join(line for line in block.splitlines(keepends=True) if not line.startswith("#include"))
    return f"#include <spnet/spnet.hpp>\n{includes}using namespace spnet;\nint main() {{\n{body}}}\n"


def add_tests():
    def test(self, block):
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "snippet.cpp").write_text(program(block))
            flags = [flag for flag in compile_flags() if flag != "-Werror"]
            # Other programs compile the kernels, too: here they come from the tree's library of them.
            run([*COMPILER, *flags, *OPENMP, "-O1", "-DSPNET_SHARED_KERNELS", "snippet.cpp", "-o", "snippet",
                 os.environ["SPNET_SHARED_KERNELS"], "-pthread"], cwd=folder)
            run(["./snippet"], cwd=folder)

    for i, block in enumerate(blocks()):
        setattr(Readme, f"test_block_{i + 1}", lambda self, block=block: test(self, block))


if __name__ == "__main__":
    add_tests()
    unittest.main()
