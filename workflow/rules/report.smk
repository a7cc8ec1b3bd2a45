# Stage 5: one page says what went in and whether it is good.


rule write_report:
    input:
        summary=rules.summarise_grid.output.summary,
        network=rules.gather_networks.output.network,
        record=rules.gather_networks.output.record,
        evaluation=rules.evaluate_networks.output.evaluation,
        label_errors=rules.calibrate_errors.output.label_errors if config["fit"]["calibrate"] else [],
        fits=rules.gather_fits.output.ecsv,
        explorer=rules.explore_networks.output.page,
        figures=run.figure_files(RESULTS, config["fit"]),
    output:
        page=RESULTS / "report.html",
    log:
        LOGS / "write_report.log",
    localrule: True
    conda:
        f"{ENVS}/payneflow.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        results=RESULTS,
        # a function of resources: the report tells the settings that the results were made with
        settings=lambda wildcards, resources: run.settings_file(config),
    message:
        "Writing the report"
    shell:
        "payneflow report {params.results:q} --config {params.settings:q} --output {output.page:q} > {log:q} 2>&1"
