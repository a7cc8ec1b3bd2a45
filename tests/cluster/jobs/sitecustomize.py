"""Read by each Python of a run on the cluster: training that sleeps, and a Snakemake that looks every two seconds.

`sgd` sleeps STEP_SECONDS before each loop: no machine is so fast, or so busy, that a job ends before a test has struck
it, and its ranks leave the processor to other tests. Snakemake asks Slurm after 1, 11, 21, ... seconds where there is
no news; here it never waits longer than LOOK_EVERY.
"""

import importlib.util
import os
import sys
import time

LOOK_EVERY = 2


def let_training_sleep(module):
    advance = module.SgdTrainer.advance

    def slow(self):
        time.sleep(float(os.environ["STEP_SECONDS"]))
        return advance(self)

    module.SgdTrainer.advance = slow


def look_often(module):
    inherited = module.Executor.next_seconds_between_status_checks

    def at_most(self, seconds):
        inherited.fset(self, min(seconds, LOOK_EVERY))

    module.Executor.next_seconds_between_status_checks = property(inherited.fget, at_most)


CHANGES = {"payneflow.training.sgd": let_training_sleep, "snakemake_executor_plugin_slurm": look_often}


class Changed:
    """Finds the modules of CHANGES and changes each when it has been executed."""

    def find_spec(self, name, path=None, target=None):
        if name not in CHANGES:
            return None
        change = CHANGES.pop(name)
        spec = importlib.util.find_spec(name)
        execute = spec.loader.exec_module

        def exec_module(module):
            execute(module)
            change(module)

        spec.loader.exec_module = exec_module
        return spec


sys.meta_path.insert(0, Changed())
