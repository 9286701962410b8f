#!/usr/bin/env bash
# Sets the machine up, builds spnet and its tests in build/, and runs them all.
# usage: tools/test.sh [--sanitize] [--werror]
#   --sanitize  runs the suite once more under AddressSanitizer and UBSan, built in build-sanitize/
#   --werror    warnings are errors
# Closes with the line "N passed, N failed" and exits with 1 where a test failed or none ran.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

sanitize=false
werror=false
for argument in "$@"; do
  case $argument in
    --sanitize) sanitize=true ;;
    --werror) werror=true ;;
    *)
      echo "usage: tools/test.sh [--sanitize] [--werror]" >&2
      exit 2
      ;;
  esac
done

tools/setup.sh tests

logs=()
# run_tests FOLDER ARGUMENT…: after an error of the compiler the rest is compiled, too, and then it ends; a failing test
# is counted, and the rest goes on.
run_tests() {
  local folder=$1
  shift
  ninja -C "$folder" -k 0
  rm -f -- "$folder/meson-logs/testlog.json"
  meson test -C "$folder" --no-rebuild --print-errorlogs "$@" < /dev/null || true
  logs+=("$folder/meson-logs/testlog.json")
}

tools/configure.sh build "-Dwerror=$werror" -Dtests=enabled -Dexamples=enabled -Dbench=enabled -Dprogram=enabled
run_tests build

if [ "$sanitize" = true ]; then
  export ASAN_OPTIONS=detect_leaks=1:detect_stack_use_after_return=1:strict_string_checks=1
  export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
  # Sanitizers bring warnings of the compiler's own making; several files in one translation unit compile in half the time.
  tools/configure.sh build-sanitize -Dwerror=false -Dtests=enabled -Dexamples=enabled -Dbench=disabled -Dprogram=enabled \
    -Dbuildtype=plain -Doptimization=1 -Dunity=on -Dunity_size=5 -Db_sanitize=address,undefined -Db_lundef=false \
    "-Dcpp_args=-g1 -fno-omit-frame-pointer -fno-sanitize-recover=all"
  run_tests build-sanitize --no-suite spnet:project --timeout-multiplier 4
fi

python3 tools/count_tests.py "${logs[@]}"
