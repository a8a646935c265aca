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
minutes=115
if [ "${QUICK:-0}" != 0 ]; then
    sweeps=$here/claims/quick
    seeds=$here/quick/seeds.toml
    minutes=10
fi
archive=$folder/runs/claims
tables=$folder/tables/claims

echo "the essay's claims into $folder: about $minutes minutes on two cores"
started=$SECONDS
current=""
# How long the stage before took, and which is next, if there is one.
stage() {
    [ -z "$current" ] || echo "== $current took $((SECONDS - began)) s"
    current=${1:-}
    began=$SECONDS
    [ -z "$current" ] || echo "== $current, after $(((SECONDS - started) / 60)) minutes"
}

stage "training of the seeds"
"$bin/groundswell-train" sweep "$seeds" --out "$archive/seeds"
for sweep in permuted others widths capacity; do
    stage "training of $sweep"
    "$bin/groundswell-train" sweep "$sweeps/$sweep.toml" --out "$archive/$sweep"
done

stage "measures"
"$bin/groundswell" analyze "$archive" --out "$tables" \
    --measures checkpoints,training,progress,frequencies,fourier,neurons
stage "arrow"
# Permuted labels take most of the time, and C4a is about the seeds.
"$bin/groundswell" arrow "$archive" --labels-of 'seeds/.*' --out "$tables"
stage "shares"
# Between t_mem and t_gen of the seeds, where C12 looks; steps that every cadence has.
"$bin/groundswell" shares "$archive" --out "$tables" --kernel-at 200,300,500,1000,2000,4000

# Lines, planes and curvature of the five seeds alone; steps that both cadences have. Exit code 3: some run has
# no such checkpoint, because it has not generalised, say; the others are there.
landscape() {
    local code=0
    "$bin/groundswell" landscape "$archive" --run-regex "seeds/.*" --out "$tables" "$@" || code=$?
    if [ "$code" -eq 3 ]; then
        echo "landscape $*: left out of some runs, as warned above" >&2
    elif [ "$code" -ne 0 ]; then
        return "$code"
    fi
}
stage "lines"
landscape --between first,memorised,last
# From one save to the next neurons keep their places; on longer ways, and to other runs, they may be put into
# order, and the lower barrier counts.
landscape --apart 1 --points 5
landscape --from memorised --to last --align
for seed in 0 1 2 3 4; do
    other=seeds/seed-$(((seed + 1) % 5)):last
    landscape --from "seeds/seed-$seed:memorised" --to "$other"
    landscape --from "seeds/seed-$seed:memorised" --to "$other" --align
done
stage "planes"
landscape --plane three:first,memorised,last --grid 31
for place in 100 memorised 300 500 1000 generalised 2000 4000; do
    landscape --plane "random:1@$place" --grid 31
done
stage "curvature"
landscape --loss excluded,restricted --top 1 --probes 4 --lanczos 10 \
    --curvature 100,memorised,300,500,1000,generalised,2000,4000,last

stage "onsets and claims"
"$bin/groundswell" onset "$archive" --out "$tables"
"$bin/groundswell" claims "$archive" --out "$tables"
"$python" "$here/findings.py" "$tables" "$folder/findings.md"
stage "figures"
"$python" figures/draw.py "$tables" "$folder/figures" arrow shares onset switch \
    fig10 fig11 components barriers curvature --run seeds/seed-0 --runs 'seeds/.*'
"$python" figures/draw.py "$tables" "$folder/figures" phase_diagram
stage
echo "done in $(((SECONDS - started) / 60)) minutes: $folder/findings.md, $folder/figures"
