#!/usr/bin/env bash
# One switchable network against its twins: the same network trained alone at each precision, same data, epochs and
# seed. Every run is resumable: call it again after an interruption and it goes on where it was.
#
# usage: bench/twins.sh DATA OUT [EPOCHS] [SEED]
#   DATA  as for `spnet train --data`, e.g. folder:PATH
#   OUT   folder for the runs
# environment: BITS ("1 2 4 8 32"), LR (of the switchable network, 0.1), TWIN_LRS ("0.1 0.05": each twin is trained with
# every rate, and the best final accuracy on the test set counts for the twin, which favours the twins), SPNET (the
# program), ARGS (more options for every run), JOINT_ARGS (for the switchable network alone)
set -euo pipefail

. "$(dirname -- "${BASH_SOURCE[0]}")/runs.sh"
[ $# -ge 2 ] || usage
data=$1 out=$2 epochs=${3:-6} seed=${4:-1}
read -r -a bits <<< "${BITS:-1 2 4 8 32}"
read -r -a twin_rates <<< "${TWIN_LRS:-0.1 0.05}"
read -r -a more <<< "${ARGS:-}"
read -r -a joint <<< "${JOINT_ARGS:-}"
mkdir -p -- "$out"

# train NAME SWITCHES RATE OPTION…
train() {
  local run=$out/$1 switches=$2 rate=$3
  shift 3
  run_once train "$run" "$epochs" --model resnet20 --data "$data" --switches "$switches" --lr "$rate" --epochs "$epochs" \
    --seed "$seed" "${more[@]}" "$@" --out "$run"
}
# top1 NAME SWITCH: in percent, after the last epoch.
top1() { tail -n 1 "$out/$1/metrics.jsonl" | python3 -c 'import json,sys; print("%.2f" % json.load(sys.stdin)["test"][sys.argv[1]]["top1"])' "$2"; }

switches=$(printf 'w%sa%s,' $(for b in "${bits[@]}"; do echo "$b $b"; done))
train switchable "${switches%,}" "${LR:-0.1}" "${joint[@]}"
for b in "${bits[@]}"; do
  for rate in "${twin_rates[@]}"; do train "alone-$b-$rate" "w${b}a$b" "$rate"; done
done

printf '| switch | one network | alone | alone, by learning rate |\n|---|---|---|---|\n'
for b in "${bits[@]}"; do
  best=0 all=""
  for rate in "${twin_rates[@]}"; do
    value=$(top1 "alone-$b-$rate" "w${b}a$b")
    all+="$rate: $value  "
    best=$(python3 -c 'import sys; print(max(sys.argv[1:], key=float))' "$best" "$value")
  done
  printf '| w%sa%s | %s | %s | %s |\n' "$b" "$b" "$(top1 switchable "w${b}a$b")" "$best" "$all"
done
