#!/usr/bin/env bash
# The experiments of the paper: train, measure, draw. Usage: paper/run.sh FOLDER [FIGURE …]
#
# Safe to interrupt: the same command goes on, run by run and block by block. QUICK=1 takes the sweeps of
# paper/quick. With FIGURE only what those figures need is trained, measured and drawn.
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

# Which sweep each figure is about. Where a figure is about one run, it is the first.
declare -A drawn=(
    [seeds]="fig2 fig3 fig4 fig5 fig6 fig7 fig8 fig10 fig11 fig12 fig16 fig17 fig18 fig19
             svd movement trajectory lines components components3d barriers curvature"
    [fractions]="fig20"
    [decays]="decays"
    [moduli]="moduli"
    [toy]="toy"
)
wanted=("$@")
if [ ${#wanted[@]} -eq 0 ]; then
    read -r -d '' -a wanted <<<"${drawn[*]}" || true
    # From the times of docs/performance.md; what is there already takes none.
    echo "the paper's experiments into $folder: about $minutes minutes on two cores, by estimate"
fi

# Whether any of these figures is wanted.
wants() {
    local name
    for name in "$@"; do
        [[ " ${wanted[*]} " != *" $name "* ]] || return 0
    done
    return 1
}

started=$(date +%s)
stage() {
    echo "== $1, after $((($(date +%s) - started) / 60)) minutes"
}

# Run a command that may leave something out (a run that never generalises has no such checkpoint, and its
# figures stay away): the rest goes on, and the end says so.
incomplete=0
attempt() {
    local code=0
    "$@" || code=$?
    case $code in
        0) ;;
        1 | 3 | 10) incomplete=$code ;;
        *) exit "$code" ;;
    esac
}

# The figures that need more than the tables of every checkpoint.
measure_seeds() {
    if wants fig4; then
        attempt "$bin/groundswell" analyze "$runs" --out "$tables" --measures ablations,circuits,activations
    fi
    if wants lines; then
        attempt "$bin/groundswell" landscape "$runs" --out "$tables" --from memorised --to last
    fi
    local first=("$runs" --run-regex "seed-0" --out "$tables")
    if wants barriers; then
        attempt "$bin/groundswell" landscape "${first[@]}" --between first,memorised,1000,3000,generalised,last --points 15
    fi
    if wants components components3d; then
        attempt "$bin/groundswell" landscape "${first[@]}" --plane three:first,memorised,last --grid 51
    fi
    if wants curvature; then
        attempt "$bin/groundswell" landscape "${first[@]}" --loss train,excluded,restricted \
            --curvature first,memorised,1000,3000,generalised,last --probes 4 --lanczos 20
    fi
}

for sweep in seeds fractions decays moduli toy; do
    figures=()
    for name in ${drawn[$sweep]}; do
        if wants "$name"; then figures+=("$name"); fi
    done
    [ ${#figures[@]} -gt 0 ] || continue
    tables="$folder/tables/$sweep"
    runs="$folder/runs/$sweep"
    [ "$sweep" != seeds ] || runs="$folder/runs/claims/seeds" # shared with paper/claims.sh
    if [ "$sweep" = toy ]; then
        stage "$sweep"
        "$bin/groundswell" toy --out "$tables"
    else
        stage "$sweep: training"
        "$bin/groundswell-train" sweep "$sweeps/$sweep.toml" --out "$runs"
        stage "$sweep: measures"
        attempt "$bin/groundswell" analyze "$runs" --out "$tables"
        if [ "$sweep" = seeds ]; then measure_seeds; fi
    fi
    stage "$sweep: ${figures[*]}"
    attempt "$python" "$here/../figures/draw.py" "$tables" "$folder/figures" "${figures[@]}"
done
if [ -f "$folder/tables/fractions/progress.parquet" ] && wants fig2 && wants fig20; then
    attempt "$python" "$here/reproduction.py" "$folder/tables" >"$folder/reproduction.md"
fi
echo "done in $((($(date +%s) - started) / 60)) minutes: $folder/figures, $folder/reproduction.md"
if [ $incomplete -ne 0 ]; then
    echo "not everything could be made: see the warnings above" >&2
    exit $incomplete
fi
