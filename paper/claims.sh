#!/usr/bin/env bash
# The essay's claims on many runs: train, measure, judge, draw. Usage: paper/claims.sh FOLDER
#
# Safe to interrupt: the same command goes on, run by run and block by block. QUICK=1 takes the sweeps of
# paper/claims/quick. The five seeds are those of `make paper`, trained once for both.
set -euo pipefail
folder=$1
bin=${BIN:-target/release}
python=${PYTHON:-.venv/bin/python}
here=$(dirname "$0")
sweeps=$here/claims
seeds=$here/seeds.toml
minutes=100
if [ "${QUICK:-0}" != 0 ]; then
    sweeps=$here/claims/quick
    seeds=$here/quick/seeds.toml
    minutes=15
fi
archive=$folder/runs/claims
tables=$folder/tables/claims

echo "the essay's claims into $folder: about $minutes minutes on two cores, by estimate"
started=$(date +%s)
stage() {
    echo "== $1, after $((($(date +%s) - started) / 60)) minutes"
}

stage "training"
"$bin/groundswell-train" sweep "$seeds" --out "$archive/seeds"
for sweep in permuted others widths capacity; do
    "$bin/groundswell-train" sweep "$sweeps/$sweep.toml" --out "$archive/$sweep"
done

stage "measures"
"$bin/groundswell" analyze "$archive" --out "$tables" \
    --measures checkpoints,training,progress,frequencies,fourier,neurons
stage "arrow"
"$bin/groundswell" arrow "$archive" --out "$tables"
stage "shares"
"$bin/groundswell" shares "$archive" --out "$tables" --kernel-at last

# Lines, planes and curvature of the five seeds alone; steps that every cadence has.
stage "landscapes"
landscape() {
    "$bin/groundswell" landscape "$archive" --run-regex "seeds/.*" --out "$tables" "$@"
}
landscape --between first,memorised,last
landscape --apart 1 --points 5
for seed in 0 1 2 3 4; do
    landscape --from "seeds/seed-$seed:memorised" --to "seeds/seed-$(((seed + 1) % 5)):last"
done
landscape --plane three:first,memorised,last --grid 31
for place in 100 memorised 300 1000 generalised 2000; do
    landscape --plane "random:1@$place" --grid 25
done
landscape --loss excluded,restricted --top 1 --probes 4 --lanczos 10 \
    --curvature 100,memorised,300,1000,generalised,2000,last

stage "onsets and claims"
"$bin/groundswell" onset "$archive" --out "$tables"
"$bin/groundswell" claims "$archive" --out "$tables"
"$python" figures/draw.py "$tables" "$folder/figures" arrow shares onset switch phase_diagram \
    fig10 fig11 components barriers curvature --run seeds/seed-0
"$python" "$here/findings.py" "$tables" "$folder/findings.md"
echo "done in $((($(date +%s) - started) / 60)) minutes: $folder/findings.md, $folder/figures"
