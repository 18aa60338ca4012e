#!/usr/bin/env bash
# Runs deploy/slurm/ on a SLURM of one node that it starts itself (munged, slurmctld, slurmd; nothing of an installed one is touched): a sweep
# whose workers run out of time and are requeued, a coordinator that comes back elsewhere, a cancelled worker, a drained array.
#
#   deploy/check/slurm.sh target/debug
#
# As root it installs Debian's slurm-wlm and munge where they are not. Where SLURM cannot be installed or started, nothing is checked, and it
# says so. Nothing is left but the packages.
set -euo pipefail
cd "$(dirname "$0")/../.."
bins=$(realpath "$1")
scripts=$PWD/deploy/slurm
work=$(mktemp -d /tmp/espalier-slurm.XXXXXX)
daemons=()

say() { echo "slurm: $*"; }
fail() {
    tail -n 15 "$work"/out/*.out "$work"/*.log >&2 || true
    echo "FAIL slurm: $*" >&2
    exit 1
}
skip() {
    echo "SKIPPED slurm: $*: the scripts in deploy/slurm were not run"
    exit 0
}
leave() {
    [ ! -e "$work/slurm.conf" ] || scancel --user "$(id -un)" --quiet 2>/dev/null || true
    # A job's processes go before the daemons that end them.
    quiet=0
    until [ -z "$(squeue --noheader 2>/dev/null)" ] || [ $((quiet += 1)) -gt 40 ]; do sleep 0.5; done
    for pid in "${daemons[@]}"; do kill "$pid" 2>/dev/null && wait "$pid" 2>/dev/null || true; done
    rm -rf --one-file-system "$work"
}
trap leave EXIT
trap 'echo "FAIL slurm: line $LINENO" >&2' ERR

# until_ok SECONDS WHAT COMMAND …: as soon as the command succeeds; fails, saying WHAT, if it does not.
until_ok() {
    local until=$((SECONDS + $1)) what=$2
    shift 2
    until "$@"; do
        [ $SECONDS -lt "$until" ] || fail "waited in vain: $what"
        sleep 0.3
    done
}

# --- refused at once, without SLURM ------------------------------------------------------------------------------------------------
# refused SCRIPT VARIABLE VALUE WORDS: the script ends with 2 and says so.
refused() {
    local code=0
    env SLURM_JOB_ID=1 "HOME=$work" "ESPALIER_DIR=$work/nowhere" "$2=$3" timeout 10 bash "$scripts/$1.sbatch" > "$work/refused.log" 2>&1 || code=$?
    [ $code = 2 ] && grep -qF -e "$4" "$work/refused.log" || fail "$1.sbatch with $2=$3 ended with $code, expected 2 and: $4"
}
for script in coordinator worker; do bash -n "$scripts/$script.sbatch" || fail "$script.sbatch cannot be read"; done
for value in abc -5 840.5 1e3 '1 2' 'a[$(touch here)]' 99999999999; do refused worker ESPALIER_LONGEST_CELL "$value" "ESPALIER_LONGEST_CELL: found $value"; done
refused worker ESPALIER_IDLE_EXIT soon "ESPALIER_IDLE_EXIT: found soon"
for value in 0 two 1025; do refused worker ESPALIER_THREADS "$value" "ESPALIER_THREADS: found $value, expected a whole number from 1 to 1024"; done
refused worker ESPALIER_MEMORY_GIB 8G "ESPALIER_MEMORY_GIB: found 8G"
for value in true 1 YES perhaps; do refused coordinator ESPALIER_NO_AUTH "$value" "ESPALIER_NO_AUTH=$value: this job's port is open"; done
say "wrong numbers, and a coordinator without tokens, are refused at once"

installed() {
    local program
    for program in slurmctld slurmd munged sbatch; do command -v $program > /dev/null || return 1; done
}
if ! installed; then
    [ "$(id -u)" = 0 ] && command -v apt-get > /dev/null || skip "it is not installed, and only root on Debian installs it"
    apt-get update -qq > "$work/apt.log" 2>&1 || true
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends slurm-wlm munge >> "$work/apt.log" 2>&1 || true
    installed || skip "slurm-wlm and munge cannot be installed ($(tail -n 1 "$work/apt.log"))"
fi

# --- one node --------------------------------------------------------------------------------------------------------------------
export SLURM_CONF=$work/slurm.conf
mkdir -m 700 "$work/munge" "$work/state" "$work/spool" "$work/out" "$work/home"
(umask 077; head -c 1024 /dev/urandom > "$work/munge/key")
node=$(hostname -s)
read -r port_of_controller port_of_node < <(python3 -c '
import socket
sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
print(*(s.getsockname()[1] for s in sockets))')
# More CPUs than there may be (config_overrides), so that a coordinator and three workers are placed on any machine; and a GPU that is none.
cat > "$SLURM_CONF" <<CONF
ClusterName=check
SlurmctldHost=$node(127.0.0.1)
SlurmctldPort=$port_of_controller
SlurmdPort=$port_of_node
SlurmUser=$(id -un)
SlurmdUser=$(id -un)
AuthInfo=socket=$work/munge/socket
StateSaveLocation=$work/state
SlurmdSpoolDir=$work/spool
SlurmctldPidFile=$work/slurmctld.pid
SlurmdPidFile=$work/slurmd.pid
SlurmctldLogFile=$work/slurmctld.log
SlurmdLogFile=$work/slurmd.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/pgid
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
GresTypes=gpu
NodeName=$node NodeAddr=127.0.0.1 CPUs=8 RealMemory=16384 Gres=gpu:1
PartitionName=check Nodes=$node Default=YES MaxTime=INFINITE State=UP
CONF
echo "Name=gpu File=/dev/null" > "$work/gres.conf"

munged --force --foreground --key-file "$work/munge/key" --socket "$work/munge/socket" --pid-file "$work/munge/pid" \
    --log-file "$work/munge/log" --seed-file "$work/munge/seed" > "$work/munged.log" 2>&1 &
daemons+=("$!")
slurmctld -D > "$work/controller.log" 2>&1 &
daemons+=("$!")
ready() { [ "$(sinfo --noheader --format %T 2>/dev/null)" = idle ]; }
# SLURM before 23 knows no "disabled", and later ones do without control groups only if told so.
for plugin in disabled cgroup/v1 autodetect; do
    echo "CgroupPlugin=$plugin" > "$work/cgroup.conf"
    slurmd -D -N "$node" > "$work/node.log" 2>&1 &
    slurmd=$!
    for _ in $(seq 60); do
        kill -0 $slurmd 2>/dev/null && ! ready || break
        sleep 0.5
    done
    if ready; then break; fi
    kill $slurmd 2>/dev/null && wait $slurmd || true
done
ready || skip "it cannot be started ($(cat "$work"/{munged,controller,node}.log | grep -E 'error|fatal' | tail -n 1))"
# Stopped first.
daemons=("$slurmd" "${daemons[@]}")
say "$(slurmd -V), one node, CgroupPlugin=$plugin"

# --- what is asked of SLURM ------------------------------------------------------------------------------------------------------
export PATH=$bins:$PATH HOME=$work/home ESPALIER_DIR=$work/espalier ESPALIER_ADVERTISE=127.0.0.1
batch() { (cd "$work/out" && sbatch --parsable "$@"); }
told() { scontrol show job "$1" --oneliner | grep -oP "(?<=\b$2=)\S*"; }
is() { [ "$(told "$1" "$2")" = "$3" ]; }
# SLURM lets whoever is requeued wait for two minutes. A test need not; but a job that starts in the second in which its last start was revoked is
# refused ("Job credential revoked"), so a few of them pass.
at_once() {
    local job eligible
    for job in $(squeue --noheader --array --states=PENDING --format %i); do
        eligible=$(date --date "$(told "$job" EligibleTime)" +%s 2>/dev/null) || continue
        [ "$eligible" -le $(($(date +%s) + 10)) ] || scontrol update job "$job" StartTime=now+3 2>/dev/null || true
    done
}
restarted() { at_once; scontrol show job "$1" --oneliner | grep -qE '\bRestarts=[1-9]'; }
moved() { at_once; [ "$(< "$ESPALIER_DIR/address")" != "$1" ]; }
# joined ARRAY TIMES TASK …: each of them has reached a coordinator so many times.
joined() {
    local array=$1 times=$2 task
    shift 2
    for task in "$@"; do
        [ "$(grep -c "bucket is shared" "$work/out/espalier-worker-${array}_$task.out" 2>/dev/null)" = "$times" ] || return 1
    done
}
export ESPALIER_TOKEN_FILE=$ESPALIER_DIR/identity/user-tokens
reach() {
    ESPALIER_COORDINATOR=$(< "$ESPALIER_DIR/address")
    export ESPALIER_COORDINATOR
}

# A shell that says no says nothing else than the script.
coordinator=$(ESPALIER_NO_AUTH=false ESPALIER_BACKEND=cpu batch --mem=512M "$scripts/coordinator.sbatch")
until_ok 60 "the coordinator writes its address" [ -s "$ESPALIER_DIR/address" ]
[ "$(stat -c %a "$ESPALIER_DIR" "$ESPALIER_DIR/address" | xargs)" = "700 600" ] || fail "the folder and the address are not the user's alone"
grep -qE '^https://127\.0\.0\.1:[0-9]+#[0-9a-f]{64}$' "$ESPALIER_DIR/address" || fail "found address $(cut -c 1-30 "$ESPALIER_DIR/address")…, expected https://HOST:PORT#FINGERPRINT"

# --- a sweep that takes longer than a worker has time ------------------------------------------------------------------------------
demo=$PWD/examples/demo
cat > "$work/sweep.yaml" <<SWEEP
name: slurm
models: [$demo/models/phi-demo, $demo/models/phi3-demo]
calibration: {data: $demo/data/calibration.txt, nsamples: 8, seqlen: 128}
recipes:
  - {method: wanda, sparsity: [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]}
  - {method: magnitude, sparsity: [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]}
tasks:
  - {task: wikitext2, data: $demo/data/heldout.txt, seqlen: 128}
  - {task: commonsense_qa, style: cloze, data: $demo/data/commonsense_qa.jsonl}
  - {task: cosmos_qa, style: cloze, data: $demo/data/cosmos_qa.csv}
  - {task: logiqa, style: cloze, data: $demo/data/logiqa.txt}
  - {task: reclor, style: cloze, data: $demo/data/reclor.json}
  - {task: ekar, style: cloze, data: $demo/data/ekar.jsonl}
SWEEP
reach
espalier submit "$work/sweep.yaml" > "$work/submit.log" 2>&1 || fail "submit"
# Of three minutes the longest cell and a minute are kept: some twenty seconds are left.
first=$(ESPALIER_LONGEST_CELL=100 batch --dependency="after:$coordinator" --array=0-1 --mem=2G --time=3 --signal=B:USR1@30 "$scripts/worker.sbatch")
until_ok 120 "a worker of array $first is requeued" restarted "$first"
grep -q "^espalier-worker ended with 8$" "$work"/out/espalier-worker-"$first"_*.out || fail "a worker was requeued, and none ended with 8"
! timeout 3 espalier watch slurm > "$work/watch.log" 2>&1 || fail "the sweep was whole before a worker left: it is too small for this machine"
whole=0
timeout 420 espalier watch slurm > "$work/watch.log" 2>&1 &
watch=$!
while kill -0 $watch 2>/dev/null; do at_once; sleep 1; done
wait $watch || whole=$?
[ $whole = 0 ] || fail "the sweep did not end whole: watch ended with $whole"
espalier report slurm --coordinator "$ESPALIER_COORDINATOR" --to "$work/report" > "$work/report.log" 2>&1 || fail "report"
rows=$(tail -n +2 "$work/report/results.csv" | wc -l)
[ "$rows" -ge 204 ] || fail "found $rows rows in the report, expected one at least for each of 34 variants and 6 tasks"
[ -n "$(find "$ESPALIER_DIR/bucket" -path "*report*" -name results.csv)" ] || fail "the bucket holds no report"
starts=$(cat "$work"/out/espalier-worker-"$first"_*.out | grep -c "^work may be left")
say "a sweep done whole by an array of two, requeued $starts times"
scancel "$first"

# --- a cancelled worker, a coordinator that comes back, a drained array -------------------------------------------------------------
until_ok 60 "array $first is gone" eval '[ -z "$(squeue --noheader --jobs '"$first"' 2>/dev/null)" ]'
second=$(batch --array=0-2 --mem=2G "$scripts/worker.sbatch")
until_ok 120 "three workers join" joined "$second" 1 0 1 2
scancel "${second}_2"
until_ok 60 "a cancelled worker ends" is "${second}_2" JobState CANCELLED
is "${second}_2" Restarts 0 || fail "a cancelled worker was requeued"

grep -hE . "$ESPALIER_DIR"/identity/*-tokens > "$work/secrets"
sed -n 2p "$ESPALIER_DIR/identity/ca.key" >> "$work/secrets"
! grep -slaF -f "$work/secrets" /proc/[0-9]*/environ /proc/[0-9]*/cmdline || fail "a token is in a process's environment or arguments"

before=$(< "$ESPALIER_DIR/address")
# As SLURM signals it a minute before its walltime.
scancel --batch --signal=USR1 "$coordinator"
until_ok 60 "the coordinator is requeued" restarted "$coordinator"
until_ok 60 "the coordinator comes back with another address" moved "$before"
reach
until_ok 120 "two workers find the coordinator's new address" joined "$second" 2 0 1
espalier drain > "$work/drain.log" 2>&1 || fail "drain"
for task in 0 1; do
    until_ok 60 "worker ${second}_$task ends when drained" is "${second}_$task" JobState COMPLETED
    is "${second}_$task" Restarts 0 || fail "a drained worker was requeued"
done
say "a cancelled worker stayed away, two joined a coordinator that came back, and drain ended them"

# --- a worker that cannot work -------------------------------------------------------------------------------------------------------
if [ ! -e /proc/driver/nvidia/version ]; then
    third=$(batch --array=0 --gres=gpu:1 --mem=2G "$scripts/worker.sbatch")
    until_ok 60 "a worker on a GPU that is none fails" is "${third}_0" JobState FAILED
    [ "$(told "${third}_0" ExitCode) $(told "${third}_0" Restarts)" = "7:0 0" ] || fail "a worker without its GPU: found $(told "${third}_0" ExitCode), expected 7:0 and no requeue"
fi
short=$(batch --array=0 --mem=2G --time=5 --signal=B:USR1@30 "$scripts/worker.sbatch")
until_ok 60 "a job shorter than its longest cell fails" is "${short}_0" JobState FAILED
is "${short}_0" ExitCode 2:0 || fail "a job shorter than its longest cell: found $(told "${short}_0" ExitCode), expected 2:0"

# --- no secret anywhere --------------------------------------------------------------------------------------------------------------
scontrol show job > "$work/jobs"
scancel "$coordinator"
until_ok 60 "the coordinator ends" is "$coordinator" JobState CANCELLED
mv "$work/secrets" "$ESPALIER_DIR/identity/"
grep -rqaF -f "$ESPALIER_DIR/identity/secrets" "$work" || fail "the search for secrets finds none where they are"
found=$(grep -rlaF -f "$ESPALIER_DIR/identity/secrets" --exclude-dir=identity "$work" || true)
[ -z "$found" ] || fail "a token or key is in $found"
say "no token in what jobs printed, in scontrol show job, in SLURM's own files or in the bucket: ok"
