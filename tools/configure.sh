#!/usr/bin/env bash
# usage: tools/configure.sh FOLDER OPTION…    a build folder with these Meson options, new or changed.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
folder=$1
shift
if [ -f "$folder/build.ninja" ]; then
  if meson setup --reconfigure "$folder" "$@"; then exit 0; fi
  # What was missing when the folder was made may be there now, and Meson remembers.
  echo "configure: starting $folder afresh"
fi
rm -rf -- "$folder"
meson setup "$folder" "$@"
