#!/usr/bin/env bash
# What the searched pruning of a trained run loses, against the same ratio in every layer and against the run itself,
# trained for as many epochs more: several sizes and seeds. Every run is resumable: call it again after an interruption
# and it goes on where it was.
#
# usage: bench/pruned.sh RUN OUT [EPOCHS] [LR]
#   RUN  a trained run that left the held-out images of `spnet prune` alone (train --train-images)
#   OUT  folder for the runs
# environment: SHARES of the size that are left ("0.75"), SEEDS ("1 2 3"), SPNET (the program), ARGS (more options of
# every pruning), CONTROL (the options that RUN was trained with: then it is trained further, too)
set -euo pipefail

if [ $# -lt 2 ]; then
  sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0" >&2
  exit 2
fi
run=$1 out=$2 epochs=${3:-6} lr=${4:-0.02}
read -r -a shares <<< "${SHARES:-0.75}"
read -r -a seeds <<< "${SEEDS:-1 2 3}"
read -r -a more <<< "${ARGS:-}"
read -r -a control <<< "${CONTROL:-}"
spnet=${SPNET:-$(dirname -- "${BASH_SOURCE[0]}")/../build/tools/spnet}
mkdir -p -- "$out"
# By the size rule; of several switches, the highest counts.
bytes=$("$spnet" info "$run" | awk '/^w[0-9]+a[0-9]+ / { n = $2 } END { print n }')

# finish NAME: a run that was stopped with Ctrl-C ends well, too, but not at its last epoch.
finish() {
  [ "$(wc -l < "$out/$1/metrics.jsonl")" -eq "$epochs" ] || exit 1
  touch "$out/$1.done"
}
# prune NAME SHARE SEARCH SEED: from the start, or from where it was stopped; nothing where it is finished.
prune() {
  [ ! -e "$out/$1.done" ] || return 0
  if [ -e "$out/$1.prune/config.json" ]; then
    "$spnet" prune --resume "$out/$1"
  else
    "$spnet" prune --run "$run" --search "$3" --step 0.95 --retrain 0 --final "$epochs" --lr "$lr" --seed "$4" \
      --budget "size-mib:$(python3 -c 'import sys; print(int(sys.argv[1]) * float(sys.argv[2]) / 2**20)' "$bytes" "$2")" \
      "${more[@]}" --out "$out/$1"
  fi
  finish "$1"
}

for seed in "${seeds[@]}"; do
  if [ ${#control[@]} -gt 0 ] && [ ! -e "$out/whole-$seed.done" ]; then
    if [ -e "$out/whole-$seed/config.json" ]; then
      "$spnet" train --resume "$out/whole-$seed"
    else
      "$spnet" train "${control[@]}" --init "$run" --epochs "$epochs" --lr "$lr" --warmup 0 --seed "$seed" --out "$out/whole-$seed"
    fi
    finish "whole-$seed"
  fi
  for share in "${shares[@]}"; do
    prune "found-$share-$seed" "$share" joint "$seed"
    prune "uniform-$share-$seed" "$share" uniform "$seed"
  done
done

python3 - "$out" "${#seeds[@]}" "${seeds[@]}" "${shares[@]}" << 'TABLE'
import json
import statistics
import sys
from pathlib import Path

out, rest = Path(sys.argv[1]), sys.argv[3:]
seeds, shares = rest[:int(sys.argv[2])], rest[int(sys.argv[2]):]


def row(label, name):
    runs = [out / name.format(seed) / "metrics.jsonl" for seed in seeds]
    lines = [json.loads(run.read_text().splitlines()[-1]) for run in runs if run.exists()]
    for switch in lines[0]["test"] if lines else []:
        values = [line["test"][switch]["top1"] for line in lines]
        spread = statistics.stdev(values) if len(values) > 1 else 0
        print(f"| {label} | {switch} | {' / '.join(f'{v:.2f}' for v in values)} | {statistics.mean(values):.2f} | {spread:.2f} |")


print("| size left | switch | top-1, by seed | mean | deviation |\n|---|---|---|---|---|")
row("whole", "whole-{}")
for share in shares:
    row(f"{share}, found", f"found-{share}-{{}}")
    row(f"{share}, the same for every layer", f"uniform-{share}-{{}}")
TABLE
