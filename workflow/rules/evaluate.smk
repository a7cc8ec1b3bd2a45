# Stage 3: the networks predict the training and test spectra; figures show how well, and how training went.


rule evaluate_networks:
    input:
        network=rules.gather_networks.output.network,
        grid=GRID,
    output:
        evaluation=RESULTS / "evaluation.npz",
    log:
        LOGS / "evaluate_networks.log",
    benchmark:
        BENCHMARKS / "evaluate_networks.tsv"
    conda:
        "../../envs/payneflow.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        grid_keys=key_options(),
    message:
        "Predicting the training and test spectra"
    shell:
        "payneflow evaluate {input.network:q} {input.grid:q} {params.grid_keys} --output {output.evaluation:q} "
        "> {log:q} 2>&1"


rule plot_training_summary:
    input:
        record=rules.gather_networks.output.record,
    output:
        figure=report(
            RESULTS / "figures/training_summary.png",
            caption="../report/training_summary.rst",
            category="Training",
        ),
    log:
        LOGS / "plot_training_summary.log",
    conda:
        "../../envs/payneflow.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=2,
    message:
        "Plotting how training ended along the wavelength axis"
    shell:
        "payneflow plot training_summary {input.record:q} --output {output.figure:q} > {log:q} 2>&1"


rule plot_flux_prediction:
    input:
        evaluation=rules.evaluate_networks.output.evaluation,
    output:
        figure=report(
            RESULTS / "figures/flux_prediction.png",
            caption="../report/flux_prediction.rst",
            category="Evaluation",
        ),
    log:
        LOGS / "plot_flux_prediction.log",
    conda:
        "../../envs/payneflow.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=2,
    message:
        "Plotting a predicted spectrum beside the true one"
    shell:
        "payneflow plot flux_prediction {input.evaluation:q} --output {output.figure:q} > {log:q} 2>&1"


rule plot_flux_deviation:
    input:
        evaluation=rules.evaluate_networks.output.evaluation,
    output:
        figure=report(
            RESULTS / "figures/flux_deviation.png",
            caption="../report/flux_deviation.rst",
            category="Evaluation",
        ),
    log:
        LOGS / "plot_flux_deviation.log",
    conda:
        "../../envs/payneflow.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=2,
    message:
        "Plotting the deviations of both halves"
    shell:
        "payneflow plot flux_deviation {input.evaluation:q} --output {output.figure:q} > {log:q} 2>&1"
