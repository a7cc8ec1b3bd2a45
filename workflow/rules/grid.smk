# Stage 1: the grid is checked, then cut into chunk files, one for each training job.
# Rules know the grid by what the check says of it, its SHA-256 among that, which is made anew only where look_at_content
# (settings.smk) finds that the content is another; date, name and place of the file count for nothing.


rule check_grid:
    input:
        lambda wildcards: look_at_content(),
    output:
        known=KNOWN_GRID,
    log:
        LOGS / "check_grid.log",
    conda:
        f"{ENVS}/payneflow.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        # a function of resources, because a change of such a param repeats nothing: the grid is known by its digest
        grid=lambda wildcards, resources: config["grid"],
        reading=lambda wildcards: run.check_options(config),
    message:
        "Checking the grid {params.grid}"
    shell:
        "payneflow check {params.grid:q} {params.reading} --summary {output.known:q} > {log:q} 2>&1"


# apart from the check, because a summary that was lost is no reason to train again
rule summarise_grid:
    input:
        known=rules.check_grid.output.known,
    output:
        summary=RESULTS / "grid_summary.json",
    log:
        LOGS / "summarise_grid.log",
    localrule: True
    conda:
        f"{ENVS}/payneflow.yaml"
    threads: 1
    resources:
        mem_mb=100,
        runtime=5,
    message:
        "Summing up what the grid holds"
    shell:
        "cp {input.known:q} {output.summary:q} > {log:q} 2>&1"


rule split_pixels:
    input:
        grid=rules.check_grid.output.known,
    output:
        chunks=expand(RESULTS / "chunks/{chunk}.npz", chunk=TRAINING.chunks),
    log:
        LOGS / "split_pixels.log",
    benchmark:
        BENCHMARKS / "split_pixels.tsv"
    conda:
        f"{ENVS}/payneflow.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=lambda wildcards, attempt: TRAINING.runtime_of_split(attempt),
    params:
        grid=lambda wildcards, resources: config["grid"],
        reading=lambda wildcards: run.grid_options(config),
        pixels=config["pixels"],
        chunk_size=TRAINING.chunk_size,
        directory=RESULTS / "chunks",
        preparation=run.preparation_options(config),
    message:
        "Splitting the pixels {params.pixels} into chunks of {params.chunk_size}"
    shell:
        "payneflow split {params.grid:q} {params.reading} --pixels={params.pixels:q} --chunk-size {params.chunk_size} "
        "--output {params.directory:q} {params.preparation} > {log:q} 2>&1"
