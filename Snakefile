# payneflow: a grid of synthetic spectra becomes one small network per pixel, and these turn spectra into labels.
#
#   grid -> chunks of pixels -> trained chunks -> network file -> fits, figures, report
#
# Every setting is in config.yaml. Each rule runs one `payneflow` subcommand, which works by hand as well.

from snakemake.utils import min_version

min_version("9.0")


configfile: "config.yaml"


report: "workflow/report/workflow.rst"


include: "workflow/rules/settings.smk"
include: "workflow/rules/fit_settings.smk"
include: "workflow/rules/grid.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/fit.smk"


# Seconds of work each: with the profile of a cluster these run where Snakemake does, not as jobs of their own.
localrules:
    all,
    gather_networks,
    evaluate_networks,
    plot_training_summary,
    plot_flux_prediction,
    plot_flux_deviation,
    calibrate_errors,
    gather_fits,
    plot_fitting_results,
    plot_fit_overview,


rule all:
    default_target: True
    input:
        get_final_output(),


onstart:
    shell(f"sh {workflow.basedir}/workflow/scripts/cancel_orphans.sh {'yes' if ON_CLUSTER else 'no'}")


onsuccess:
    print(summary_of_run())
