# What comes in is known by its content: rules take a digest of the grid, or of a shard's spectra, for their input. It is
# made anew only where look_at_content finds that the content is another; date, name and place of a file count for nothing.


rule know_grid:
    input:
        lambda wildcards: look_at_content(),
    output:
        digest=KNOWN_GRID,
    log:
        LOGS / "know_grid.log",
    localrule: True
    conda:
        f"{ENVS}/payneflow.yaml"
    threads: 1
    resources:
        mem_mb=500,
        runtime=30,
    params:
        grid=lambda wildcards, resources: config["grid"],
        known=RESULTS / "known/files.json",
    message:
        "Taking the digest of the grid {params.grid}"
    shell:
        "payneflow digest {params.grid:q} --output {output.digest:q} --known {params.known:q} > {log:q} 2>&1"


rule know_spectra:
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
