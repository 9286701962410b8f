# What the scripts that compare training runs share; they source it. Sets `spnet`, the program: SPNET, or the one built here.
spnet=${SPNET:-$(dirname -- "${BASH_SOURCE[0]}")/../build/tools/spnet}

# usage: prints the script's head, and ends it.
usage() {
  sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0" >&2
  exit 2
}
# run_once COMMAND RUN EPOCHS OPTION…: from the start, or on from where RUN was stopped; nothing where it is finished.
run_once() {
  local command=$1 run=$2 epochs=$3
  shift 3
  [ ! -e "$run.done" ] || return 0
  if [ -e "$run/config.json" ] || [ -e "$run.prune/config.json" ]; then
    "$spnet" "$command" --resume "$run" --save-every 100
  else
    "$spnet" "$command" --save-every 100 "$@"
  fi
  # A run that was stopped with Ctrl-C ends well, too, but not at its last epoch.
  [ "$(wc -l < "$run/metrics.jsonl")" -eq "$epochs" ] || exit 1
  touch "$run.done"
}
# seeds_header WHAT, and seeds_row LABEL RUN…: a table of top-1 after the last epoch, a row for each switch of the runs.
seeds_header() { printf '| %s | switch | top-1, by seed | mean | deviation |\n|---|---|---|---|---|\n' "$1"; }
seeds_row() {
  python3 - "$@" << 'ROW'
import json
import statistics
import sys
from pathlib import Path

label, *runs = sys.argv[1:]
lines = [json.loads(Path(run, "metrics.jsonl").read_text().splitlines()[-1]) for run in runs]
for switch in lines[0]["test"]:
    values = [line["test"][switch]["top1"] for line in lines]
    spread = statistics.stdev(values) if len(values) > 1 else 0
    print(f"| {label} | {switch} | {' / '.join(f'{v:.2f}' for v in values)} | {statistics.mean(values):.2f} | {spread:.2f} |")
ROW
}
