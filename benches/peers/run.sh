#!/usr/bin/env bash
# Ratios against PyTorch and NumPy, both sides in turn, medians of five pairs; the mainline run; losses
# against PyTorch's. Markdown tables on stdout.
# PEERS_PYTHON=… uses an environment that has the packages; otherwise one is made here (several GB).
# RUN=… keeps the mainline run in that folder.
# SECTIONS="step measures spectra mainline landscape parity" are the parts, in this order; all by default.
set -euo pipefail
cd "$(dirname "$0")/../.."

python=${PEERS_PYTHON:-benches/peers/.venv/bin/python}
if [ ! -x "$python" ]; then
    echo "installing PyTorch into benches/peers/.venv" >&2
    python3 -m venv benches/peers/.venv
    "$python" -m pip install --quiet --disable-pip-version-check -r benches/peers/requirements.txt
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
wanted() { [[ " ${SECTIONS:-step measures spectra mainline landscape parity} " == *" $1 "* ]]; }
pure="--no-default-features --features gemm"
cargo build --release --locked --quiet --bins
ours() { echo "cargo bench --locked --quiet ${2:-} --bench mainline -- --steps 200 --threads $1"; }
compare() { "$python" benches/peers/compare.py --pairs 5 "$@"; }

if wanted step; then
    cargo bench --locked --quiet --bench mainline -- --threads 1 --steps 1 >&2
    cargo bench --locked --quiet $pure --bench mainline -- --threads 1 --steps 1 >&2
    "$python" benches/peers/check.py >&2
    compare --header --name "mainline step, 2 threads, against the published PyTorch step" \
        --unit ms --key ms_per_step_median --target 14 \
        --ours "$(ours 2)" --peer "$python benches/peers/step.py --variant published --threads 2"
    compare --name "the same against a PyTorch step of the last position only" \
        --unit ms --key ms_per_step_median --target 4 \
        --ours "$(ours 2)" --peer "$python benches/peers/step.py --variant last --threads 2"
    compare --name "mainline step, 2 threads, over the products of a step pair by pair (2.85 GFLOP)" \
        --unit ms --key ms_per_step_median --peer-key floor_ms --at-most 1.6 \
        --ours "$(ours 2)" --peer "$(ours 2)"
    compare --name "the same over the products that it does (1.58 GFLOP)" \
        --unit ms --key ms_per_step_median --peer-key products_ms --at-most 2 \
        --ours "$(ours 2)" --peer "$(ours 2)"
    compare --name "mainline step, 2 threads against 1" \
        --unit ms --key ms_per_step_median --target 1.8 \
        --ours "$(ours 2)" --peer "$(ours 1)"
    compare --name "mainline step, 2 threads, with feature gemm against OpenBLAS" \
        --unit ms --key ms_per_step_median \
        --ours "$(ours 2 "$pure")" --peer "$(ours 2)"
fi

# The beginning of the mainline run. What a measure or a loss costs does not depend on the step.
short="$work/short"
if wanted measures || wanted landscape; then
    "${CARGO_TARGET_DIR:-target}/release/groundswell-train" --preset nanda2023 --threads 2 --steps 400 \
        --save-at 0..400:20,150 --out "$short" >&2
fi

if wanted measures; then
    # All measures of the checkpoints of a run: checkpoints side by side on two threads, as an analysis does
    # it. Neither peer computes the spectral quantities beyond singular values; ours does.
    measures() { echo "cargo bench --locked --quiet --bench measures -- $short --limit 20 --threads $1"; }
    torch="$python benches/peers/measures.py --checkpoint $short/checkpoints/step_00000400.safetensors"
    torch="$torch --without logits_2d --no-check --threads 2"
    compare --header --name "all measures of a checkpoint, 2 threads, against the published functions in turn" \
        --unit s --key seconds_per_checkpoint --peer-key seconds --target 30 \
        --ours "$(measures 2)" --peer "$torch --variant published"
    compare --name "the same against a vectorised PyTorch version" \
        --unit s --key seconds_per_checkpoint --peer-key seconds --target 6 \
        --ours "$(measures 2)" --peer "$torch --variant vectorised"
    compare --name "the same, 2 threads against 1 (one core: at most 0.040 s)" \
        --unit s --key seconds_per_checkpoint --target 1.8 --ours "$(measures 2)" --peer "$(measures 1)"
fi

if wanted spectra; then
    # Spectra of a folder of 1,000 checkpoints.
    matrices="$work/matrices"
    "$python" benches/peers/make_matrices.py "$matrices" --checkpoints 1000
    spectra() { echo "cargo bench --locked --quiet --bench spectra -- $matrices --threads $1"; }
    svd="$python benches/peers/spectra.py $matrices"
    compare --header --name "spectra of 10 matrices 128×512 f32, 2 threads, against NumPy on two processes" \
        --unit s --key seconds_per_checkpoint --target 2 --ours "$(spectra 2)" --peer "$svd"
    compare --name "the same, 2 threads against 1" \
        --unit s --key seconds_per_checkpoint --target 1.8 --ours "$(spectra 2)" --peer "$(spectra 1)"
    if "$python" -c 'import weightwatcher' 2>/dev/null; then
        compare --name "the same against WeightWatcher on two processes" \
            --unit s --key seconds_per_checkpoint --target 10 \
            --ours "$(spectra 2)" --peer "$svd --tool weightwatcher --limit 20"
    else
        echo "no WeightWatcher: pip install -r benches/peers/requirements-weightwatcher.txt" >&2
    fi
fi

if wanted mainline; then
    echo
    echo "The mainline run, archive included:"
    "${CARGO_TARGET_DIR:-target}/release/groundswell-train" --preset nanda2023 --threads 2 \
        --out "${RUN:-$work/mainline}"
fi

if wanted landscape; then
    groundswell="${CARGO_TARGET_DIR:-target}/release/groundswell"
    # Landscapes at step 150, where the run has memorised: whole commands of ours, start and tables
    # included, against PyTorch's own clock. The archive holds that checkpoint and the last one, which
    # fixes the keys.
    one="$work/one"
    mkdir -p "$one/checkpoints"
    cp "$short/run.json" "$one"
    cp "$short"/checkpoints/step_00000{150,400}.safetensors "$one/checkpoints"
    ours() { echo "rm -rf $work/out && $groundswell landscape $one --out $work/out --threads 2 $1"; }
    at="$short/checkpoints/step_00000150.safetensors"
    compare --header --name "a point of a plane, four losses, against the PyTorch forward alone" \
        --unit s --key seconds_per_point --target 12 --ours-key wall --ours-scale 0.0017241379 \
        --ours "$(ours '--plane random:1@150 --grid 24')" \
        --peer "$python benches/peers/landscape.py --checkpoint $at"
    compare --name "Hessian of the train loss, 20 largest eigenvalues, against PyTorch autograd" \
        --unit s --key seconds --target 10 --ours-key wall \
        --ours "$(ours '--curvature 150 --probes 1 --lanczos 1')" \
        --peer "$python benches/peers/hessian.py --checkpoint $at"
    compare --name "the same against PyTorch on the last position only" \
        --unit s --key seconds --ours-key wall \
        --ours "$(ours '--curvature 150 --probes 1 --lanczos 1')" \
        --peer "$python benches/peers/hessian.py --checkpoint $at --variant last"
fi

if wanted parity; then
    echo
    "$python" benches/peers/parity_check.py
fi
