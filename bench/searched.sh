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

. "$(dirname -- "${BASH_SOURCE[0]}")/runs.sh"
[ $# -ge 3 ] || usage
data=$1 float=$2 out=$3 search_epochs=${4:-4} epochs=${5:-6}
read -r -a switches <<< "${SWITCHES:-w2a2 w3a3}"
read -r -a seeds <<< "${SEEDS:-1 2 3}"
read -r -a more <<< "${ARGS:---lr 0.05}"
read -r -a searching <<< "${SEARCH_ARGS:-}"
mkdir -p -- "$out"

# run COMMAND NAME EPOCHS OPTION…
run() {
  local command=$1 name=$2 of=$3
  shift 3
  run_once "$command" "$out/$name" "$of" --model resnet20 --data "$data" --quantizer lsq --activation-quantizer lsq \
    --init "$float" --epochs "$of" "${more[@]}" "$@"
}

for s in "${switches[@]}"; do
  for seed in "${seeds[@]}"; do
    run search "search-$s-$seed" "$search_epochs" --seed "$seed" --candidates "${CANDIDATES:-1,2,3,4,8}" \
      --constraint "bitops-g:$s" "${searching[@]}" --run "$out/search-$s-$seed" --out "$out/found-$s-$seed.json"
    run train "found-$s-$seed" "$epochs" --seed "$seed" --config "$out/found-$s-$seed.json" --out "$out/found-$s-$seed"
    run train "uniform-$s-$seed" "$epochs" --seed "$seed" --switches "$s" --out "$out/uniform-$s-$seed"
  done
done

seeds_header "bit operations of"
for s in "${switches[@]}"; do
  for kind in found uniform; do seeds_row "$s, $kind" "${seeds[@]/#/$out/$kind-$s-}"; done
done
