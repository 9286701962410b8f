#!/usr/bin/env bash
# From a bare machine to a network that works at five precisions: sets the machine up, builds the spnet program, trains
# a ResNet-20 on pictures that are drawn at run time, and shows every switch in a table. A few minutes on two cores.
# usage: tools/demo.sh [OPTION…]    the options go to `spnet train` last, e.g. --epochs 8
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
start=$SECONDS

tools/setup.sh program

tools/configure.sh build -Dprogram=enabled
echo "building the spnet program"
ninja -C build tools/spnet
echo "built after $((SECONDS - start)) s"

run=$(mktemp -d "${TMPDIR:-/tmp}/spnet-demo.XXXXXX")
trap 'rm -rf -- "$run"' EXIT
trap 'exit 130' INT TERM  # the program ends well on Ctrl-C, which here means the whole demo
echo "1. a float network to start from"
build/tools/spnet train --model resnet20 --data synthetic --switches w32a32 --batch 64 --lr 0.1 --schedule one-cycle \
  --epochs 3 --eval-every 0 --out "$run/float"
echo "2. from it, one network for five precisions"
build/tools/spnet train --model resnet20 --data synthetic --switches w1a1,w2a2,w4a4,w8a8,w32a32 --distill top --batch 64 \
  --lr 0.04 --epochs 1 --init "$run/float" --out "$run/switchable" "$@"
build/tools/spnet eval --run "$run/switchable"
echo "done after $((SECONDS - start)) s"
