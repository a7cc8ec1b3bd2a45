"""The workflow on a real Slurm cluster: as typed, through faults, and with a wrong profile."""
