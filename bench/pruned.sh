#!/usr/bin/env bash
# What the searched pruning of a trained run loses, against the same ratio in every layer and against the run itself,
# trained for as many epochs more: several sizes and seeds. Every run is resumable: call it again after an interruption
# and it goes on where it was.
#
# usage: bench/pruned.sh RUN OUT [EPOCHS] [LR]
#   RUN  a trained run that left the held-out images of `spnet prune` alone (train --train-images)
#   OUT  folder for the runs
# environment: SHARES of the size that are left ("0.75"), SEEDS ("1 2 3"), SPNET (the program), ARGS (more options of
# every run), FOUND (of those with a searched pruning), CONTROL (the options that RUN was trained with: then it is
# trained further, too)
set -euo pipefail

. "$(dirname -- "${BASH_SOURCE[0]}")/runs.sh"
[ $# -ge 2 ] || usage
run=$1 out=$2 epochs=${3:-6} lr=${4:-0.02}
read -r -a shares <<< "${SHARES:-0.75}"
read -r -a seeds <<< "${SEEDS:-1 2 3}"
read -r -a more <<< "${ARGS:-}"
read -r -a searched <<< "${FOUND:-}"
read -r -a control <<< "${CONTROL:-}"
mkdir -p -- "$out"
# By the size rule; of several switches, the highest counts.
bytes=$("$spnet" info "$run" | awk '/^w[0-9]+a[0-9]+ / { n = $2 } END { print n }')

# prune NAME SHARE SEED OPTION…
prune() {
  local name=$1 share=$2 seed=$3
  shift 3
  run_once prune "$out/$name" "$epochs" --run "$run" --step 0.95 --retrain 0 --final "$epochs" --lr "$lr" --seed "$seed" \
    --out "$out/$name" "$@" "${more[@]}" \
    --budget "size-mib:$(python3 -c 'import sys; print(int(sys.argv[1]) * float(sys.argv[2]) / 2**20)' "$bytes" "$share")"
}

for seed in "${seeds[@]}"; do
  if [ ${#control[@]} -gt 0 ]; then
    run_once train "$out/whole-$seed" "$epochs" "${control[@]}" --init "$run" --epochs "$epochs" --lr "$lr" --warmup 0 \
      --seed "$seed" --out "$out/whole-$seed" "${more[@]}"
  fi
  for share in "${shares[@]}"; do
    prune "found-$share-$seed" "$share" "$seed" --search joint "${searched[@]}"
    prune "uniform-$share-$seed" "$share" "$seed" --search uniform
  done
done

seeds_header "size left"
[ ${#control[@]} -eq 0 ] || seeds_row whole "${seeds[@]/#/$out/whole-}"
for share in "${shares[@]}"; do
  seeds_row "$share, found" "${seeds[@]/#/$out/found-$share-}"
  seeds_row "$share, the same for every layer" "${seeds[@]/#/$out/uniform-$share-}"
done
