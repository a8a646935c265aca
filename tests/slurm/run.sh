#!/usr/bin/env bash
# docs/cluster/analyze.sbatch on a real Slurm of one node, started here and stopped again.
#
#   tests/slurm/run.sh BIN_FOLDER
#
# Two parts of three, a merge that refuses, all three, the merge. The tables must be
# those of a single run, byte for byte. Not part of `make test`: it installs packages and starts daemons.
set -euo pipefail
cd "$(dirname "$0")/../.."
bin=$(realpath "$1")
export GROUNDSWELL=$bin/groundswell

missing=()
command -v slurmctld >/dev/null || [ -x /usr/sbin/slurmctld ] || missing+=(slurm-wlm)
command -v munged >/dev/null || [ -x /usr/sbin/munged ] || missing+=(munge)
if [ ${#missing[@]} -gt 0 ]; then
    echo "installing system packages: ${missing[*]}"
    as_root=()
    if [ "$(id -u)" -ne 0 ]; then as_root=(sudo); fi
    "${as_root[@]}" apt-get update -qq
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi
PATH=$PATH:/usr/sbin

work=$(mktemp -d)
chmod 755 "$work"
stop() {
    for pid in d ctld munge; do
        if [ -s "$work/$pid.pid" ]; then kill "$(cat "$work/$pid.pid")" 2>/dev/null || true; fi
    done
    sleep 1
    rm -rf "$work"
}
trap stop EXIT

# A munge of its own, so that nothing of the machine's is touched.
dd if=/dev/urandom of="$work/munge.key" bs=128 count=1 status=none
chmod 400 "$work/munge.key"
munged --force --key-file="$work/munge.key" --socket="$work/munge.socket" --seed-file="$work/munge.seed" \
    --pid-file="$work/munge.pid" --log-file="$work/munge.log"

host=$(hostname -s) user=$(id -un)
mkdir "$work/state" "$work/spool"
cat >"$work/slurm.conf" <<END
ClusterName=groundswell
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=26817
SlurmdPort=26818
SlurmUser=$user
SlurmdUser=$user
AuthInfo=socket=$work/munge.socket
CredType=cred/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
ReturnToService=2
KillWait=10
StateSaveLocation=$work/state
SlurmdSpoolDir=$work/spool
SlurmctldPidFile=$work/ctld.pid
SlurmdPidFile=$work/d.pid
SlurmctldLogFile=$work/ctld.log
SlurmdLogFile=$work/d.log
NodeName=$host NodeAddr=127.0.0.1 CPUs=2 RealMemory=4000 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
END
export SLURM_CONF=$work/slurm.conf
slurmctld
slurmd
for _ in $(seq 60); do
    state=$(sinfo --noheader --format=%T 2>/dev/null || true)
    if [ "$state" = idle ]; then break; fi
    sleep 0.5
done
if [ "$state" != idle ]; then
    echo "error: the node is \"$state\", not idle" >&2
    tail -n 20 "$work/ctld.log" "$work/d.log" >&2
    exit 1
fi

echo "== an archive"
"$bin/groundswell-train" --modulus 11 --train-fraction 0.6 --d-model 16 --heads 2 --d-mlp 24 --steps 300 \
    --save-at 0..300:3 --out "$work/runs/a" >/dev/null 2>&1
"$GROUNDSWELL" analyze "$work/runs" --out "$work/single" >/dev/null 2>&1

submit() {
    sbatch --wait --array="$1" --chdir="$work" --cpus-per-task=1 --mem=500 \
        "$PWD/docs/cluster/analyze.sbatch" "$work/runs" "$work/tables" 3
}
echo "== parts 1 and 3; merge refuses"
submit 1,3
code=0
"$GROUNDSWELL" merge "$work/tables" >"$work/merge.txt" 2>&1 || code=$?
if [ $code -ne 10 ]; then
    echo "error: merge of two parts of three has exit code $code, not 10" >&2
    cat "$work/merge.txt" >&2
    exit 1
fi
echo "== all parts; of two there is nothing left to do"
submit 1-3
if [ "$(cat "$work"/groundswell-*.log | grep -c '^')" -eq 0 ]; then
    echo "error: the tasks have written no log" >&2
    exit 1
fi
echo "== merge"
"$GROUNDSWELL" merge "$work/tables" >/dev/null 2>&1
"$GROUNDSWELL" verify "$work/tables" --archive "$work/runs" >/dev/null

compared=0
for table in "$work"/single/*.parquet; do
    if ! cmp "$table" "$work/tables/$(basename "$table")"; then
        echo "error: $(basename "$table") is not that of a single run" >&2
        exit 1
    fi
    compared=$((compared + 1))
done
if [ $compared -lt 10 ]; then
    echo "error: only $compared tables" >&2
    exit 1
fi
echo "slurm: $compared tables of 3 parts are those of a single run, byte for byte"
