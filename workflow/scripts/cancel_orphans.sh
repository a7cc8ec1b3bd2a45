#!/bin/sh
# Cancel the Slurm jobs that an earlier, killed run of this directory left behind, and wait until they are gone: when one
# of them failed later, the Snakemake inside it would delete what the job of the new run has written.
#
#   cancel_orphans.sh no    in a run on one machine: a Slurm that is not there or does not answer is no reason to stop
#   cancel_orphans.sh yes   in a run on the cluster: it is one

on_cluster=$1
stop() { echo "$*" >&2; [ "$on_cluster" = no ] && exit 0; exit 1; }

for program in sbatch squeue scancel; do
    command -v "$program" >/dev/null && continue
    [ "$on_cluster" = no ] && exit 0
    stop "--profile slurm needs Slurm's commands, but there is no $program on this machine's PATH. Start Snakemake on a" \
        "login node of your cluster (perhaps after: module load slurm). To run on this machine alone: make run"
done

# The plugin gives a job the comment rule_... and the directory that Snakemake was started in.
orphans() { squeue --me --noheader --format='%A|%Z|%k' | awk -F'|' -v place="$PWD" '$2 == place && $3 ~ /^rule_/ {print $1}'; }

jobs=$(timeout 60 squeue --me --noheader --format='%A' 2>&1) || stop "Slurm does not answer (squeue: $jobs), so it is not known" \
    "whether jobs of an earlier run are still there. Try again when it is back; it is Slurm's controller that is away."
jobs=$(orphans)
[ -n "$jobs" ] || exit 0
echo "cancelling jobs that an earlier run of this directory left behind:" $jobs
scancel $jobs
for second in $(seq 90); do
    [ -n "$(orphans)" ] || exit 0
    sleep 1
done
echo "jobs of an earlier run of this directory do not end:" $(orphans) "- look at them with: squeue --me" >&2
exit 1
