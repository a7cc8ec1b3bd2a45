#!/usr/bin/env bash
# The demonstration of `make cluster`: every 64th pixel of the grid in 8 chunks of 2 MPI ranks, on the cluster of this
# folder, which is started for it and stopped afterwards unless it ran before.
#
#   run_demo.sh RESULTS [OPTION OF SNAKEMAKE ...]    from the top of the checkout, its environment activated

set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
results=$1; shift
. "$here/common.sh"
was_running=no
if pid_of slurmctld >/dev/null; then was_running=yes; fi
trap '[ $was_running = yes ] || "$here/stop.sh"' EXIT
"$here/start.sh"
. "$BASE/env.sh"

begin=$SECONDS
# Asked every second or two about jobs of seconds, where a real cluster is asked every ten seconds or so.
snakemake --profile slurm --slurm-init-seconds-before-status-checks 1 "$@" \
    --config 'pixels="::64"' chunk_size=15 results="$results"
echo "The workflow took $((SECONDS - begin)) s on the cluster."
