# Stage 3: the networks predict the training and test spectra; figures show how well, how training and fits went, too;
# in a page of their own they can be played with.


rule evaluate_networks:
    input:
        network=rules.gather_networks.output.network,
        grid=rules.check_grid.output.known,
    output:
        evaluation=RESULTS / "evaluation.npz",
    log:
        LOGS / "evaluate_networks.log",
    benchmark:
        BENCHMARKS / "evaluate_networks.tsv"
    localrule: True
    conda:
        f"{ENVS}/payneflow.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        grid=lambda wildcards, resources: config["grid"],
        grid_keys=lambda wildcards: run.key_options(config),
    message:
        "Predicting the training and test spectra"
    shell:
        "payneflow evaluate {input.network:q} {params.grid:q} {params.grid_keys} --output {output.evaluation:q} "
        "> {log:q} 2>&1"


rule explore_networks:
    input:
        network=rules.gather_networks.output.network,
        record=rules.gather_networks.output.record,
        grid=rules.check_grid.output.known,
    output:
        page=report(
            RESULTS / "explore.html",
            caption="../report/explore.rst",
            category="Explorer",
        ),
    log:
        LOGS / "explore_networks.log",
    localrule: True
    conda:
        f"{ENVS}/payneflow.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        grid=lambda wildcards, resources: run.grid_as_options(config),
        grid_keys=lambda wildcards: run.key_options(config),
    message:
        "Writing the page in which the networks can be played with"
    shell:
        "payneflow explore {input.network:q} {params.grid} {params.grid_keys} --record {input.record:q} "
        "--output {output.page:q} > {log:q} 2>&1"


rule plot_figure:
    input:
        source=lambda wildcards: RESULTS / run.REPORT_FIGURES[wildcards.figure].source,
    output:
        figure=report(
            RESULTS / "figures/{figure}.png",
            caption="../report/figure.rst",
            category=lambda wildcards: run.REPORT_FIGURES[wildcards.figure].category,
        ),
    log:
        LOGS / "plot_figure/{figure}.log",
    localrule: True
    conda:
        f"{ENVS}/payneflow.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        caption=lambda wildcards, input: CHECKOUT / f"workflow/report/{wildcards.figure}.rst",
    message:
        "Plotting {wildcards.figure}"
    shell:
        "payneflow plot {wildcards.figure} {input.source:q} --output {output.figure:q} > {log:q} 2>&1"
