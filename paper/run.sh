#!/usr/bin/env bash
# The experiments of the paper: train, measure, draw. Usage: paper/run.sh FOLDER [FIGURE …]
#
# Safe to interrupt: the same command goes on, run by run and block by block. QUICK=1 takes the sweeps of
# paper/quick. With FIGURE only what those figures need is trained and drawn.
set -euo pipefail
folder=$1
shift
bin=${BIN:-target/release}
python=${PYTHON:-.venv/bin/python}
here=$(dirname "$0")
sweeps=$here
minutes=70
if [ "${QUICK:-0}" != 0 ]; then
    sweeps=$here/quick
    minutes=10
fi

# Which sweep each figure is about, and which are about one run of it.
declare -A drawn=(
    [seeds]="fig2 fig3 fig5 fig6 fig7 fig8 fig10 fig11 fig12 fig16 fig17 fig18 fig19 svd movement trajectory lines"
    [fractions]="fig20"
    [decays]="decays"
    [moduli]="moduli"
)
wanted=("$@")

figures_of() {
    local name
    for name in ${drawn[$1]}; do
        if [ ${#wanted[@]} -eq 0 ] || [[ " ${wanted[*]} " == *" $name "* ]]; then
            echo "$name"
        fi
    done
}

if [ ${#wanted[@]} -eq 0 ]; then
    # From the step times of docs/performance.md; what is there already takes no time.
    echo "the paper's experiments into $folder: about $minutes minutes on two cores, by estimate"
fi
started=$(date +%s)
for sweep in seeds fractions decays moduli; do
    mapfile -t figures < <(figures_of "$sweep")
    [ ${#figures[@]} -gt 0 ] || continue
    echo "== $sweep: ${figures[*]}"
    tables="$folder/tables/$sweep"
    runs="$folder/runs/$sweep"
    [ "$sweep" != seeds ] || runs="$folder/runs/claims/seeds" # shared with paper/claims.sh
    "$bin/groundswell-train" sweep "$sweeps/$sweep.toml" --out "$runs"
    "$bin/groundswell" analyze "$runs" --out "$tables"
    if [ "$sweep" = seeds ]; then
        "$bin/groundswell" landscape "$runs" --out "$tables" --from memorised --to last
    fi
    "$python" figures/draw.py "$tables" "$folder/figures" "${figures[@]}"
done
echo "done in $((($(date +%s) - started) / 60)) minutes: $folder/figures"
