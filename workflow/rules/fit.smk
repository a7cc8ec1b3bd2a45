# Stage 4: labels are fitted to the test spectra and compared with the true ones.


rule fit_spectra:
    input:
        network=rules.gather_networks.output.network,
        grid=GRID,
    output:
        ecsv=RESULTS / "fits.ecsv",
        fits=RESULTS / "fits.fits",
    log:
        LOGS / "fit_spectra.log",
    benchmark:
        BENCHMARKS / "fit_spectra.tsv"
    conda:
        "../../envs/payneflow.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        grid_keys=key_options(),
        output=RESULTS / "fits",
        flux_error=config["fit"]["flux_error"],
        start=config["fit"]["start"],
    message:
        "Fitting labels to the test spectra"
    shell:
        "payneflow fit {input.network:q} {input.grid:q} {params.grid_keys} --output {params.output:q} "
        "--flux-error {params.flux_error} --start {params.start} > {log:q} 2>&1"


rule plot_fitting_results:
    input:
        fits=rules.fit_spectra.output.ecsv,
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
