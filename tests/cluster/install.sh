#!/bin/sh
# Install what the tests of the cluster need, where apt-get can and this user may; says in one line where it cannot.
# Nothing is started: the tests start their own cluster, under /tmp.

PATH=$PATH:/usr/sbin:/usr/local/sbin
complete() { for program in munged slurmctld slurmd slurmdbd mariadbd; do command -v $program >/dev/null || return 1; done; }
complete && exit 0
if ! command -v apt-get >/dev/null; then
    echo "The tests of the cluster need Slurm, munge, slurmdbd and MariaDB; there is no apt-get to install them." >&2; exit 0
fi
if [ "$(id -u)" = 0 ]; then root=""; else root="sudo -n"; fi
echo "Installing Slurm for the tests of the cluster (once, half a minute) ..."
log=$(mktemp)
{ $root apt-get update -qq && $root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
    slurm-wlm munge slurmdbd mariadb-server; } >"$log" 2>&1
complete || { echo "Slurm could not be installed: $(tail -n 1 "$log")" >&2; exit 0; }
rm -f "$log"
