"""The direction of includes, and that the check for it notices what it should."""
import sys
import tempfile
import unittest
from pathlib import Path

from project import ROOT

sys.path.insert(0, str(ROOT / "tools"))
from check_includes import check_tree  # noqa: E402


class Includes(unittest.TestCase):
    def check(self, **files):
        """The faults of a tree of headers, given as room__name='text'."""
        with tempfile.TemporaryDirectory() as folder:
            for name, text in files.items():
                path = Path(folder, "include", "spnet", *(name + ".hpp").split("__"))
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text("#pragma once\n" + text)
            return check_tree(folder)

    def test_spnet(self):
        self.assertEqual(check_tree(ROOT), [])

    def test_sound_tree(self):
        faults = self.check(
            core__a="#include <vector>\n",
            core__parallel="#include <omp.h>\n#pragma omp parallel\n",
            tensor__b='#include "spnet/core/a.hpp"\n',
            tensor__eigen="#include <Eigen/Core>\n",
            kernels__simd__k='#include <xsimd/xsimd.hpp>\n#include "spnet/core/a.hpp"\n',
            autograd__c='#include "spnet/tensor/b.hpp"\n#include "spnet/core/a.hpp"\n',
            spnet='#include "spnet/autograd/c.hpp"\n#include "spnet/core/parallel.hpp"\n'
                  '#include "spnet/tensor/eigen.hpp"\n#include "spnet/kernels/simd/k.hpp"\n')
        self.assertEqual(faults, [])

    def test_arrow_that_runs_back(self):
        faults = self.check(core__a='#include "spnet/tensor/b.hpp"\n', tensor__b="")
        self.assertEqual(faults, ['core/a.hpp: "spnet/tensor/b.hpp" is not below core'])

    def test_neighbours_stay_apart(self):
        self.assertTrue(self.check(kernels__a='#include "spnet/tensor/b.hpp"\n', tensor__b=""))
        self.assertTrue(self.check(optim__a='#include "spnet/nn/b.hpp"\n', nn__b=""))
        self.assertTrue(self.check(runtime__a='#include "spnet/autograd/b.hpp"\n', autograd__b=""))

    def test_arrow_back_behind_spaces(self):
        self.assertTrue(self.check(core__a='  #  include  "spnet/nn/b.hpp"\n', nn__b=""))

    def test_foreign_libraries_stay_in_their_place(self):
        for header, place in [("omp.h", "core__a"), ("Eigen/Dense", "ops__a"), ("xsimd/xsimd.hpp", "core__a"),
                              ("nlohmann/json.hpp", "nn__a"), ("immintrin.h", "ops__a"), ("unistd.h", "core__a"),
                              ("boost/any.hpp", "core__a"), ("math.h", "core__a")]:
            with self.subTest(header):
                self.assertEqual(len(self.check(**{place: f"#include <{header}>\n"})), 1)

    def test_openmp_pragma_elsewhere(self):
        self.assertEqual(len(self.check(ops__a="#pragma omp simd\n")), 1)

    def test_unknown_room_missing_file_and_short_path(self):
        self.assertEqual(len(self.check(utils__a="")), 1)
        self.assertEqual(len(self.check(core__a='#include "spnet/core/gone.hpp"\n')), 1)
        self.assertEqual(len(self.check(core__a='#include "b.hpp"\n', core__b="")), 1)

    def test_cycle(self):
        faults = self.check(core__a='#include "spnet/core/b.hpp"\n', core__b='#include "spnet/core/c.hpp"\n',
                            core__c='#include "spnet/core/a.hpp"\n')
        self.assertEqual(faults, ["cycle: core/a.hpp -> core/b.hpp -> core/c.hpp -> core/a.hpp"])

    def test_umbrella(self):
        self.assertEqual(self.check(spnet="", core__a=""), ["spnet.hpp: does not reach core/a.hpp"])
        self.assertEqual(self.check(spnet='#include "spnet/io/a.hpp"\n', io__a=""),
                         ["spnet.hpp: brings in io/a.hpp, which users include by name"])

    def test_empty_tree(self):
        self.assertEqual(len(self.check()), 1)


if __name__ == "__main__":
    unittest.main()
