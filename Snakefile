# payneflow: a grid of synthetic spectra becomes one small network per pixel, and these turn spectra into labels.
#
#   grid -> chunks of pixels -> trained chunks -> network file -> fits, figures, report
#
# Every setting is in config.yaml. Each rule but a copy runs one `payneflow` subcommand, which works by hand as well.
# Rules with `localrule: True` are seconds of work: with the profile of a cluster they run where Snakemake does.

from snakemake.utils import min_version

min_version("9.0")


configfile: "config.yaml"


report: "workflow/report/workflow.rst"


include: "workflow/rules/settings.smk"
include: "workflow/rules/grid.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/fit.smk"
include: "workflow/rules/report.smk"


rule all:
    default_target: True
    input:
        run.final_output(RESULTS, config["fit"]),


onstart:
    script, on_cluster = CHECKOUT / "workflow/scripts/cancel_orphans.sh", "yes" if SITE.on_cluster else "no"
    shell("sh {script:q} {on_cluster}")


onsuccess:
    print(run.summary_of_run(Path(config["results"])))
