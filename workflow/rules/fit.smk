# Stage 4: labels are fitted, shard by shard, to observed spectra or to the test spectra of the grid.
# OMP_NUM_THREADS=1: linear algebra of more threads rounds otherwise, and the threads of a fit are payneflow's own.


rule calibrate_errors:
    input:
        network=rules.gather_networks.output.network,
        grid=GRID,
    output:
        label_errors=RESULTS / "label_errors.npz",
    log:
        LOGS / "calibrate_errors.log",
    benchmark:
        BENCHMARKS / "calibrate_errors.tsv"
    conda:
        "../../envs/payneflow.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        grid_keys=key_options(),
        fit=fit_options(),
    message:
        "Measuring the networks' own label errors on held-back spectra"
    shell:
        "OMP_NUM_THREADS=1 payneflow calibrate {input.network:q} {input.grid:q} {params.grid_keys} {params.fit} "
        "--output {output.label_errors:q} > {log:q} 2>&1"


rule fit_spectra:
    input:
        unpack(spectra_of_shard),
        network=rules.gather_networks.output.network,
        label_errors=rules.calibrate_errors.output.label_errors if config["fit"]["calibrate"] else [],
    output:
        ecsv=RESULTS / "fits/{shard}.ecsv",
        fits=RESULTS / "fits/{shard}.fits",
    log:
        LOGS / "fit_spectra/{shard}.log",
    benchmark:
        BENCHMARKS / "fit_spectra/{shard}.tsv"
    conda:
        "../../envs/payneflow.yaml"
    threads: config["fit"]["processes"]
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        source=source_options,
        fit=fit_options(),
        errors=lambda wildcards, input: f"--label-errors {input.label_errors}" if input.label_errors else "",
        output=lambda wildcards: RESULTS / "fits" / wildcards.shard,
    message:
        "Fitting labels to {wildcards.shard}"
    shell:
        "OMP_NUM_THREADS=1 payneflow fit {input.network:q} {params.source} {params.fit} {params.errors} --output {params.output:q} "
        "--processes {threads} > {log:q} 2>&1"


rule gather_fits:
    input:
        shards=expand(RESULTS / "fits/{shard}.ecsv", shard=SHARDS),
    output:
        ecsv=RESULTS / "fits.ecsv",
        fits=RESULTS / "fits.fits",
    log:
        LOGS / "gather_fits.log",
    conda:
        "../../envs/payneflow.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        output=RESULTS / "fits",
    message:
        "Gathering the fits of all shards"
    shell:
        "payneflow gather_fits {input.shards:q} --output {params.output:q} > {log:q} 2>&1"


rule plot_fitting_results:
    input:
        fits=rules.gather_fits.output.ecsv,
    output:
        figure=report(
            RESULTS / "figures/fitting_results.png",
            caption="../report/fitting_results.rst",
            category="Fits",
        ),
    log:
        LOGS / "plot_fitting_results.log",
    conda:
        "../../envs/payneflow.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=2,
    message:
        "Plotting fitted against true labels"
    shell:
        "payneflow plot fitting_results {input.fits:q} --output {output.figure:q} > {log:q} 2>&1"


rule plot_fit_overview:
    input:
        fits=rules.gather_fits.output.ecsv,
    output:
        figure=report(
            RESULTS / "figures/fit_overview.png",
            caption="../report/fit_overview.rst",
            category="Fits",
        ),
    log:
        LOGS / "plot_fit_overview.log",
    conda:
        "../../envs/payneflow.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
    message:
        "Plotting errors, chi2 and flags of all fits"
    shell:
        "payneflow plot fit_overview {input.fits:q} --output {output.figure:q} > {log:q} 2>&1"
