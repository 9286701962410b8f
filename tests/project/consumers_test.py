"""Programs outside this tree that use spnet in every way the README names."""
import os
import shutil
import tempfile
import unittest
from pathlib import Path

from project import COMPILER, INCLUDE, OPENMP, ROOT, compile_flags, pkg_config, run

MAIN = """
#include <spnet/spnet.hpp>
#include <iostream>
double sum_of_ones();
int main() {
  std::cout << spnet::Tensor<float>::ones({2, 3}) << " sums to " << sum_of_ones() << '\\n';
  return sum_of_ones() == 6 ? 0 : 1;
}
"""
OTHER = """
#include <spnet/spnet.hpp>
double sum_of_ones() {
  double sum = 0;
  const auto ones = spnet::Tensor<float>::ones({2, 3});
  for (float value : ones.span()) sum += value;
  return sum;
}
"""
MESON = """
project('consumer', 'cpp', default_options: ['cpp_std=c++20', 'warning_level=2', 'werror=true'])
spnet = dependency('spnet', fallback: ['spnet', 'spnet_dep'])
test('consumer', executable('consumer', 'whole.cpp', dependencies: spnet))
"""


class Consumers(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="spnet consumer ")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        Path(self.folder, "main.cpp").write_text(MAIN)
        Path(self.folder, "other.cpp").write_text(OTHER)
        Path(self.folder, "whole.cpp").write_text(MAIN + OTHER)

    def build_and_run(self, sources, before, after):
        run([*COMPILER, *before, *sources, "-o", "consumer", *after], cwd=self.folder)
        self.assertIn("sums to 6", run(["./consumer"], cwd=self.folder))

    def test_installed_with_pkg_config(self):
        build, prefix = self.folder / "build", self.folder / "prefix"
        options = [f"-D{name}=disabled" for name in ("tests", "examples", "bench", "program")]
        run(["meson", "setup", build, ROOT, "--prefix", prefix, *options])
        run(["meson", "install", "-C", build])

        installed = {path.relative_to(prefix / "include/spnet") for path in (prefix / "include/spnet").rglob("*.hpp")}
        self.assertEqual(installed, {path.relative_to(INCLUDE) for path in INCLUDE.rglob("*.hpp")})

        path = prefix / "share/pkgconfig"
        cflags, libraries = pkg_config("--cflags", "spnet", path=path), pkg_config("--libs", "spnet", path=path)
        self.assertFalse([flag for flag in cflags + libraries if flag.startswith("-m")], "machine flags are the user's")
        for flag in OPENMP:
            self.assertIn(flag, cflags)
            self.assertIn(flag, libraries)
        # Two translation units: what a header forgets to make inline fails to link.
        self.build_and_run(["main.cpp", "other.cpp"], cflags, libraries)

    def test_meson_subproject(self):
        Path(self.folder, "subprojects").mkdir()
        Path(self.folder, "subprojects/spnet").symlink_to(ROOT)
        Path(self.folder, "meson.build").write_text(MESON)
        run(["meson", "setup", "build", "--wrap-mode=forcefallback", "--buildtype=plain"], cwd=self.folder)
        targets = run(["ninja", "-C", "build", "-t", "targets", "all"], cwd=self.folder)
        self.assertNotIn("test_core", targets, "the tests of a subproject are not the consumer's to build")
        run(["meson", "test", "-C", "build", "--print-errorlogs"], cwd=self.folder)

    def test_without_openmp(self):
        self.build_and_run(["whole.cpp"], compile_flags(), ["-pthread"])

    @unittest.skipUnless(shutil.which("clang++"), "clang++ is not there")
    def test_clang(self):
        run(["clang++", *compile_flags(), "-fsyntax-only", "whole.cpp"], cwd=self.folder)


class Version(unittest.TestCase):
    def test_header_and_project_agree(self):
        text = (INCLUDE / "version.hpp").read_text()
        version = ".".join(text.split(f"SPNET_VERSION_{part} ")[1].split()[0] for part in ("MAJOR", "MINOR", "PATCH"))
        self.assertEqual(version, os.environ["SPNET_VERSION"])
        self.assertIn(f'SPNET_VERSION_STRING "{version}"', text)


if __name__ == "__main__":
    unittest.main()
