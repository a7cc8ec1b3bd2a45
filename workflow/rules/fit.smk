# Stage 4: labels are fitted, shard by shard, to observed spectra or to the test spectra of the grid.
# OMP_NUM_THREADS=1: linear algebra of more threads rounds otherwise, and the threads of a fit are payneflow's own.


rule calibrate_errors:
    input:
        network=rules.gather_networks.output.network,
        grid=rules.check_grid.output.known,
    output:
        label_errors=RESULTS / "label_errors.npz",
    log:
        LOGS / "calibrate_errors.log",
    benchmark:
        BENCHMARKS / "calibrate_errors.tsv"
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
        fit=lambda wildcards: fits.calibration_options(config, SHARDS),
    message:
        "Measuring the networks' own label errors on held-back spectra"
    shell:
        "OMP_NUM_THREADS=1 payneflow calibrate {input.network:q} {params.grid:q} {params.grid_keys} {params.fit} "
        "--output {output.label_errors:q} > {log:q} 2>&1"


# by their digest, as the grid is (grid.smk)
rule know_spectra:
    input:
        [],
    output:
        digest=RESULTS / "known/spectra/{shard}.json",
    log:
        LOGS / "know_spectra/{shard}.log",
    localrule: True
    conda:
        f"{ENVS}/payneflow.yaml"
    threads: 1
    resources:
        mem_mb=500,
        runtime=30,
    params:
        list=lambda wildcards, resources: run.list_file(SHARDS[wildcards.shard].paths),
        known=RESULTS / "known/files.json",
    message:
        "Taking the digest of the spectra of {wildcards.shard}"
    shell:
        "payneflow digest --list {params.list:q} --output {output.digest:q} --known {params.known:q} > {log:q} 2>&1"


rule fit_spectra:
    input:
        known=lambda wildcards: run.digest_file(RESULTS, wildcards.shard if SHARDS[wildcards.shard] else None),
        network=rules.gather_networks.output.network,
        label_errors=rules.calibrate_errors.output.label_errors if config["fit"]["calibrate"] else [],
    output:
        ecsv=RESULTS / "fits/{shard}.ecsv",
        fits=RESULTS / "fits/{shard}.fits",
        pieces=[RESULTS / f"fits/{{shard}}_pieces.{ending}" for ending in ("ecsv", "fits")] if PIECES else [],
    log:
        LOGS / "fit_spectra/{shard}.log",
    benchmark:
        BENCHMARKS / "fit_spectra/{shard}.tsv"
    conda:
        f"{ENVS}/payneflow.yaml"
    threads: config["fit"]["processes"]
    resources:
        mem_mb=fits.memory_of_fit(config["fit"]),
        runtime=60,
    params:
        grid=lambda wildcards, resources: fits.grid_of_fit(config, SHARDS[wildcards.shard]),
        source=lambda wildcards: fits.source_options(config, SHARDS[wildcards.shard]),
        fit=lambda wildcards: fits.spectra_options(config["fit"]),
        errors=["--label-errors", RESULTS / "label_errors.npz"] if config["fit"]["calibrate"] else [],
        output=lambda wildcards: RESULTS / "fits" / wildcards.shard,
    message:
        "Fitting labels to {wildcards.shard}"
    shell:
        "OMP_NUM_THREADS=1 payneflow fit {input.network:q} {params.source} {params.grid} {params.fit} {params.errors:q} "
        "--output {params.output:q} --processes {threads} > {log:q} 2>&1"


rule gather_fits:
    input:
        shards=expand(RESULTS / "fits/{shard}.ecsv", shard=SHARDS),
        pieces=expand(RESULTS / "fits/{shard}_pieces.ecsv", shard=SHARDS) if PIECES else [],
    output:
        ecsv=RESULTS / "fits.ecsv",
        fits=RESULTS / "fits.fits",
        parquet=[RESULTS / "fits.parquet"] if config["fit"]["parquet"] else [],
        pieces=run.tables_of_pieces(RESULTS, config["fit"]),
    log:
        LOGS / "gather_fits.log",
    localrule: True
    conda:
        f"{ENVS}/payneflow.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        list=lambda wildcards, input: run.list_file(input.shards),
        output=RESULTS / "fits",
        parquet="--parquet" if config["fit"]["parquet"] else "",
        pieces="--pieces" if PIECES else "",
    message:
        "Gathering the fits of all shards"
    shell:
        "payneflow gather_fits --list {params.list:q} --output {params.output:q} {params.parquet} {params.pieces} "
        "> {log:q} 2>&1"
