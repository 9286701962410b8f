#!/usr/bin/env bash
# Installs what spnet needs and this machine lacks: nothing where all is there, apt packages on Debian and Ubuntu;
# elsewhere it says what to install.
# usage: tools/setup.sh [program|tests|emulation|fuzzing]...
#   program    what building the spnet program takes
#   tests      (default) and the tests and benchmarks
#   emulation  and the tests on emulated CPUs, from x86-64
#   fuzzing    and the fuzz targets
set -euo pipefail

purposes=("${@:-tests}")
for purpose in "${purposes[@]}"; do
  case $purpose in
    program | tests | emulation | fuzzing) ;;
    *)
      echo "usage: tools/setup.sh [program|tests|emulation|fuzzing]..." >&2
      exit 2
      ;;
  esac
done
is_for() {
  case " ${purposes[*]} " in
    *" $1 "*) return 0 ;;
    *) return 1 ;;
  esac
}

compiler=${CXX:-g++}
has_command() { command -v "$1" > /dev/null 2>&1; }
has_module() { has_command pkg-config && pkg-config --exists "$1"; }
# Unquoted: CXX may hold flags or a launcher.
has_header() { echo "#include <$1>" | $compiler -x c++ -std=c++20 -E - > /dev/null 2>&1; }

has_fuzzer() {
  echo 'extern "C" int LLVMFuzzerTestOneInput() { return 0; }' |
    "$1" -x c++ -fsanitize=fuzzer - -o /dev/null > /dev/null 2>&1
}

# what to look for, how to call it where there is no apt, the package of Debian and Ubuntu
needs=(
  "command|g++|a C++20 compiler (GCC 12 or Clang 14, or newer)|g++"
  "command|meson|Meson 1.0 or newer|meson"
  "command|ninja|Ninja|ninja-build"
  "command|pkg-config|pkg-config|pkg-config"
  "command|python3|Python 3.9 or newer|python3"
  "module|eigen3|Eigen 3|libeigen3-dev"
  "module|xsimd|xsimd 8.1 or newer|libxsimd-dev"
  "module|CLI11|CLI11|libcli11-dev"
  "module|nlohmann_json|nlohmann-json 3|nlohmann-json3-dev"
  "module|libjpeg|libjpeg-turbo|libjpeg-dev"
  "module|libpng|libpng|libpng-dev"
  "module|zlib|zlib|zlib1g-dev"
)
if [ "${purposes[*]}" != program ]; then
  needs+=(
    "header|doctest/doctest.h|doctest 2.4|doctest-dev"
    "module|benchmark|Google Benchmark|libbenchmark-dev"
  )
fi
if is_for emulation; then
  needs+=(
    "command|aarch64-linux-gnu-g++|a C++20 compiler for AArch64 Linux|g++-aarch64-linux-gnu"
    "command|qemu-aarch64|QEMU 7.2 or newer (user mode)|qemu-user"
  )
fi
if is_for fuzzing; then
  needs+=(
    "command|clang++|Clang 14 or newer|clang"
    "fuzzer|clang++|its libFuzzer and sanitizers|libclang-rt-dev"
  )
fi

names=()
packages=()
find_missing() {
  local need kind what name package
  names=()
  packages=()
  for need in "${needs[@]}"; do
    IFS='|' read -r kind what name package <<< "$need"
    # Another compiler than g++ may have been chosen.
    [ "$what" = g++ ] && what=${compiler%% *}
    if ! "has_$kind" "$what"; then
      names+=("$name")
      packages+=("$package")
    fi
  done
}

find_missing
if [ ${#packages[@]} -eq 0 ]; then
  echo "set-up: everything is there"
  exit 0
fi

say_what_to_install() {
  echo "set-up: please install, then call this again:" >&2
  printf '  %s\n' "${names[@]}" >&2
}

family=$(. /etc/os-release 2> /dev/null && echo "${ID:-} ${ID_LIKE:-}" || true)
case " $family " in
  *" debian "* | *" ubuntu "*) ;;
  *) family="" ;;
esac
if [ -z "$family" ] || ! has_command apt-get; then
  say_what_to_install
  exit 1
fi

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  if ! has_command sudo; then
    say_what_to_install
    echo "as root: apt-get install ${packages[*]}" >&2
    exit 1
  fi
  as_root=(sudo)
  [ -t 0 ] || as_root=(sudo -n)  # nobody is there to type a password
fi
apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300)

echo "set-up: installing ${packages[*]}"
"${apt[@]}" update < /dev/null || echo "set-up: apt-get update failed; going on with the lists there are" >&2
if ! "${apt[@]}" install -y --no-install-recommends "${packages[@]}" < /dev/null; then
  echo "set-up: apt-get could not install ${packages[*]}" >&2
  say_what_to_install
  exit 1
fi

find_missing
if [ ${#packages[@]} -ne 0 ]; then
  echo "set-up: still missing after the installation" >&2
  say_what_to_install
  exit 1
fi
