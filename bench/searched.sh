#!/usr/bin/env bash
# What a search for each layer's widths finds, against the same widths in every layer: at the bit operations of each
# pair of widths, several seeds, all from one float network. Every run is resumable: call it again after an interruption
# and it goes on where it was.
#
# usage: bench/searched.sh DATA FLOAT OUT [SEARCH_EPOCHS] [EPOCHS]
#   DATA   as for `spnet train --data`, e.g. folder:PATH
#   FLOAT  a trained float run that all begin from
#   OUT    folder for the runs
# environment: SWITCHES ("w2a2 w3a3"), SEEDS ("1 2 3"), CANDIDATES ("1,2,3,4,8"), SPNET (the program), ARGS (more options
# for every run), SEARCH_ARGS (for the searches alone)
set -euo pipefail

if [ $# -lt 3 ]; then
  sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0" >&2
  exit 2
fi
data=$1 float=$2 out=$3 search_epochs=${4:-4} epochs=${5:-6}
read -r -a switches <<< "${SWITCHES:-w2a2 w3a3}"
read -r -a seeds <<< "${SEEDS:-1 2 3}"
read -r -a more <<< "${ARGS:---lr 0.05}"
read -r -a searching <<< "${SEARCH_ARGS:-}"
spnet=${SPNET:-$(dirname -- "${BASH_SOURCE[0]}")/../build/tools/spnet}
mkdir -p -- "$out"

# run COMMAND NAME EPOCHS OPTION…: from the start, or from the last checkpoint; nothing where it is finished.
run() {
  local command=$1 name=$2 of=$3
  shift 3
  [ ! -e "$out/$name.done" ] || return 0
  if [ -e "$out/$name/config.json" ]; then
    "$spnet" "$command" --resume "$out/$name" --save-every 100
  else
    "$spnet" "$command" --model resnet20 --data "$data" --quantizer lsq --activation-quantizer lsq --init "$float" \
      --epochs "$of" --save-every 100 "${more[@]}" "$@"
  fi
  # A run that was stopped with Ctrl-C ends well, too, but not at its last epoch.
  [ "$(wc -l < "$out/$name/metrics.jsonl")" -eq "$of" ] || exit 1
  touch "$out/$name.done"
}

for s in "${switches[@]}"; do
  for seed in "${seeds[@]}"; do
    run search "search-$s-$seed" "$search_epochs" --seed "$seed" --candidates "${CANDIDATES:-1,2,3,4,8}" \
      --constraint "bitops-g:$s" "${searching[@]}" --run "$out/search-$s-$seed" --out "$out/found-$s-$seed.json"
    run train "found-$s-$seed" "$epochs" --seed "$seed" --config "$out/found-$s-$seed.json" --out "$out/found-$s-$seed"
    run train "uniform-$s-$seed" "$epochs" --seed "$seed" --switches "$s" --out "$out/uniform-$s-$seed"
  done
done

python3 - "$out" "${#seeds[@]}" "${seeds[@]}" "${switches[@]}" << 'TABLE'
import json
import statistics
import sys
from pathlib import Path

out, rest = Path(sys.argv[1]), sys.argv[3:]
seeds, switches = rest[:int(sys.argv[2])], rest[int(sys.argv[2]):]


def top1(name):
    line = (out / name / "metrics.jsonl").read_text().splitlines()[-1]
    (result,) = json.loads(line)["test"].values()
    return result["top1"]


def cells(values):
    spread = statistics.stdev(values) if len(values) > 1 else 0
    return " / ".join(f"{v:.2f}" for v in values) + f" | {statistics.mean(values):.2f} | {spread:.2f}"


print("| bit operations of | | top-1, by seed | mean | deviation |\n|---|---|---|---|---|")
for s in switches:
    for kind in "found", "uniform":
        print(f"| {s} | {kind} | {cells([top1(f'{kind}-{s}-{seed}') for seed in seeds])} |")
TABLE
