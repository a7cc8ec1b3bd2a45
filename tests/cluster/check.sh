#!/usr/bin/env bash
# Prove that the cluster works: each line is one property a test may rely on. About 30 s.
#
#   PYTHON         an interpreter with mpi4py and the mpich wheel (default python3); without them two checks are skipped
#   CLUSTER_BASE, CLUSTER_ACCOUNTING   as for start.sh
#
# A cluster that ran before stays up; one started here is stopped at the end.

set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/common.sh"
PYTHON=$(command -v "${PYTHON:-python3}")
case $PYTHON in /*) ;; *) PYTHON=$PWD/$PYTHON ;; esac  # jobs start in another directory
work=$(mktemp -d)
failed=0
was_running=no
if pid_of slurmctld >/dev/null; then was_running=yes; fi
trap '[ $was_running = yes ] || "$here/stop.sh"; rm -rf "$work"' EXIT

check() {
    local what=$1; shift
    if "$@" >"$work/log" 2>&1; then echo "ok      $what"
    else echo "FAILED  $what"; sed 's/^/        /' "$work/log"; failed=1; fi
}
state_of() { scontrol show job "$1" | grep -o 'JobState=[A-Z_]*' | cut -d= -f2; }
is_state() { [ "$(state_of "$1")" = "$2" ]; }
submit() { sbatch --parsable --chdir="$work" --output="$work/%j.out" "$@"; }

idle() { [ "$(sinfo --noheader --Node --states=idle --format=%N | sort -u | wc -l)" = 4 ]; }
batch() { local job; job=$(submit --wait --wrap 'hostname') && is_state "$job" COMPLETED && [ -s "$work/$job.out" ]; }
all_nodes() { [ "$(srun -N4 -n4 sh -c 'echo $SLURMD_NODENAME' | sort | paste -sd,)" = n1,n2,n3,n4 ]; }
# What the Snakemake plugin does to a job: every SLURM_ variable but a few is removed, SLURM_CONF among them.
without_environment() {
    local job
    job=$(submit --ntasks=2 --wait --wrap 'env -u SLURM_CONF -u SLURM_NTASKS srun -n 2 echo rank') || true
    is_state "$job" COMPLETED && [ "$(grep -c rank "$work/$job.out")" = 2 ]
}
has_mpi() { "$PYTHON" -c 'from mpi4py import MPI; assert "MPICH" in MPI.Get_library_version()'; }
ranks() {   # ranks NODES RANKS: every rank must see all the others
    srun --mpi=pmi2 -N "$1" -n "$2" "$PYTHON" -c 'from mpi4py import MPI; print("sum", MPI.COMM_WORLD.allreduce(1))' |
        grep -c "^sum $2\$" | grep -qx "$2"
}
# What Snakemake asks: the state of jobs by name. The database answers also for jobs that squeue has forgotten.
sacct_states() { (. "$BASE/env.sh" && sacct -X --parsable2 --clusters all --noheader --format=JobIdRaw,State --name "$1"); }
sacct_is() { sacct_states "$1" | grep -qE "^[0-9]+\|$2"; }
sacct_answers() {
    local name=check-$$-$RANDOM
    submit --job-name="$name" --wait --wrap 'exit 3' || true
    wait_until 100 sacct_is "$name" FAILED
}
accounting() { (. "$BASE/env.sh" && [ "$CLUSTER_ACCOUNTING" = yes ]); }
wrong_account() { ! submit --account=nobodys --wrap true; }
database_restart() {
    local name=check-$$-$RANDOM
    submit --job-name="$name" --wait --wrap true || return 1
    kill -KILL "$(pid_of slurmdbd)" "$(pid_of mariadbd)"
    wait_until 100 gone slurmdbd && wait_until 100 gone mariadbd || return 1
    sacct_states "$name" && return 1
    "$here/start.sh" && wait_until 200 sacct_is "$name" COMPLETED
}
failing() { local job; job=$(submit --wait --wrap 'exit 3') || true; is_state "$job" FAILED; }
cancelled() {
    local job; job=$(submit --wrap 'sleep 600'); wait_until 100 is_state "$job" RUNNING || return 1
    scancel "$job"; wait_until 200 is_state "$job" CANCELLED
}
memory() {  # 1 GB in a 100 MB job
    local job; job=$(submit --mem=100 --wait --wrap "$PYTHON -c 'import time; x = b\"x\" * 10**9; time.sleep(300)'") || true
    ! is_state "$job" COMPLETED && grep -q 'exceeded memory limit' "$work/$job.out"
}
same_daemons() {
    local before after; before=$(cat "$BASE"/run/*.pid); "$here/start.sh"; after=$(cat "$BASE"/run/*.pid); [ "$before" = "$after" ]
}
survives_restart() {
    local job; job=$(submit --wrap 'sleep 12'); wait_until 100 is_state "$job" RUNNING || return 1
    kill -TERM "$(pid_of slurmctld)"; wait_until 100 gone slurmctld && "$here/start.sh" || return 1
    wait_until 200 is_state "$job" COMPLETED
}

check 'start' "$here/start.sh"
[ $failed = 0 ] || exit 1
check 'four idle nodes' wait_until 200 idle
check 'a batch job runs' batch
check 'a step spans the four nodes' all_nodes
check 'srun works in a job whose SLURM_ variables were removed' without_environment
if has_mpi 2>/dev/null; then
    check 'two MPI ranks on one node' ranks 1 2
    check 'four MPI ranks on two nodes' ranks 2 4
else
    echo "skipped MPI: $PYTHON has no mpi4py with MPICH"
fi
check 'a failing job is FAILED' failing
check 'sacct reports the state of a job by name' sacct_answers
check 'scancel ends a job' cancelled
check 'a job above its memory request is killed' memory
check 'start again is a no-op' same_daemons
check 'a stopped slurmctld comes back with its queue' survives_restart
if accounting; then
    check 'an unknown account is refused' wrong_account
    check 'a killed slurmdbd and mariadbd come back with their jobs' database_restart
else
    echo 'skipped accounting: this cluster runs without it'
fi
[ $failed = 0 ] && echo 'all checks passed'
exit $failed
