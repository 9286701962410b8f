#!/usr/bin/env bash
# Sets the machine up, builds spnet and its tests in build/, and runs them all.
# usage: tools/test.sh [--emulate] [--sanitize] [--threads] [--fuzz] [--werror]
#   --emulate   on x86-64, runs the tests of the kernels and of what stands on them once more on an emulated CPU without
#               AVX-512, and on an emulated AArch64 CPU, built in build-aarch64/
#   --sanitize  runs the suite once more under AddressSanitizer and UBSan, built in build-sanitize/
#   --threads   runs the tests of the runtime once more under ThreadSanitizer, built in build-threads/
#   --fuzz      runs each fuzz target for a minute, built in build-fuzz/ with Clang
#   --werror    warnings are errors
# Closes with the line "N passed, N failed" and exits with 1 where a test failed or none ran.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

emulate=false
sanitize=false
threads=false
fuzz=false
werror=false
for argument in "$@"; do
  case $argument in
    --emulate) emulate=true ;;
    --sanitize) sanitize=true ;;
    --threads) threads=true ;;
    --fuzz) fuzz=true ;;
    --werror) werror=true ;;
    *)
      echo "usage: tools/test.sh [--emulate] [--sanitize] [--threads] [--fuzz] [--werror]" >&2
      exit 2
      ;;
  esac
done

if [ "$emulate" = true ] && [ "$(uname -m)" != x86_64 ]; then
  echo "test: emulation starts from x86-64 only: left out" >&2
  emulate=false
fi

purposes=(tests)
[ "$emulate" = true ] && purposes+=(emulation)
[ "$fuzz" = true ] && purposes+=(fuzzing)
tools/setup.sh "${purposes[@]}"

logs=()
times=()
# took WHAT BEGIN: keeps the seconds since BEGIN for the end.
took() { times+=("$(($(date +%s) - $2)) s to $1"); }
# run_tests FOLDER LOG ARGUMENT…: a failing test is counted, and the rest goes on. LOG is what Meson calls it.
run_tests() {
  local folder=$1 log=$1/meson-logs/$2.json begin
  begin=$(date +%s)
  shift 2
  rm -f -- "$log"
  meson test -C "$folder" --no-rebuild --print-errorlogs "$@" < /dev/null || true
  logs+=("$log")
  took "test $(basename -- "$log" .json) of $folder" "$begin"
}
# After an error of the compiler the rest is compiled and tested, too; it counts as a failed test.
compile() {
  local begin
  begin=$(date +%s)
  ninja -k 0 -C "$@" || logs+=("$1: compiling it failed")
  took "compile $1" "$begin"
}

# A room, or the program, in one translation unit compiles in a third of the time; for work on single files, leave it out.
unity=(-Dunity=on -Dunity_size=64)
tools/configure.sh build "-Dwerror=$werror" -Dtests=enabled -Dexamples=enabled -Dbench=enabled -Dprogram=enabled "${unity[@]}"
compile build
run_tests build testlog

if [ "$emulate" = true ]; then
  emulated=(core kernels ops quant)
  # What runs on kernels in plain C++, written for the tests, is the same on every CPU.
  no_portable=--test-args=--test-suite-exclude=portable
  SPNET_EXPECTED_ISAS="avx2 simd" run_tests build testlog-qemu-x86_64 --wrapper "qemu-x86_64 -cpu Haswell" \
    --timeout-multiplier 4 "$no_portable" "${emulated[@]}"
  tools/configure.sh build-aarch64 --cross-file tools/aarch64-linux.ini "-Dwerror=$werror" -Dtests=enabled \
    -Dexamples=disabled -Dbench=disabled -Dprogram=disabled -Dbuildtype=plain -Doptimization=g "${unity[@]}"
  compile build-aarch64 "${emulated[@]/#/tests/test_}"
  SPNET_EXPECTED_ISAS="neon neon_dotprod neon_i8mm simd" run_tests build-aarch64 testlog \
    --timeout-multiplier 4 "$no_portable" "${emulated[@]}"
fi

if [ "$sanitize" = true ]; then
  # Kernels trap where the rest reports what is undefined.
  export ASAN_OPTIONS=handle_sigill=1:detect_leaks=1:detect_stack_use_after_return=1:strict_string_checks=1
  export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
  # Sanitizers bring warnings of the compiler's own making. Five checks take more than half of the time to compile: null
  # pointers, sums of pointers and sizes of objects are found by addresses as well; alignment and dynamic types are looked
  # at where files are fuzzed.
  tools/configure.sh build-sanitize -Dwerror=false -Dtests=enabled -Dexamples=disabled -Dbench=disabled -Dprogram=enabled \
    -Dbuildtype=plain -Doptimization=g "${unity[@]}" -Db_sanitize=address,undefined -Db_lundef=false \
    "-Dcpp_args=-g1 -fno-omit-frame-pointer -fno-sanitize-recover=all -fno-sanitize=null,pointer-overflow,object-size,alignment,vptr"
  compile build-sanitize
  run_tests build-sanitize testlog --no-suite spnet:project --timeout-multiplier 4
fi

# Loops of OpenMP are left out: ThreadSanitizer does not see how its threads wait for each other. Sessions of the runtime
# have threads of their own.
if [ "$threads" = true ]; then
  export TSAN_OPTIONS=halt_on_error=1
  tools/configure.sh build-threads -Dwerror=false -Dopenmp=disabled -Dtests=enabled -Dexamples=disabled -Dbench=disabled \
    -Dprogram=disabled -Dbuildtype=plain -Doptimization=g "${unity[@]}" -Db_sanitize=thread -Db_lundef=false \
    "-Dcpp_args=-g1 -fno-omit-frame-pointer"
  compile build-threads tests/test_runtime
  run_tests build-threads testlog --timeout-multiplier 4 runtime
fi

if [ "$fuzz" = true ]; then
  CXX=clang++ tools/configure.sh build-fuzz -Dfuzz=true -Dwerror=false -Dopenmp=disabled -Dtests=enabled -Dexamples=disabled \
    -Dbench=disabled -Dprogram=disabled -Dbuildtype=plain -Doptimization=g
  compile build-fuzz fuzzers
  run_tests build-fuzz testlog --suite spnet:fuzz
fi

printf '%s\n' "${times[@]}"
python3 tools/count_tests.py "${logs[@]}"
