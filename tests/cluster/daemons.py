"""Which of the cluster's daemons are missing on this machine, and how to get them."""

import os
import shutil

DAEMONS = ("munged", "slurmctld", "slurmd", "slurmdbd", "mariadbd")
MISSING = [name for name in DAEMONS if not shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")]
SAID = f"no {', '.join(MISSING)}; install them with: sh tests/cluster/install.sh" if MISSING else ""
