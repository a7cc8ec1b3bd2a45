# Stage 2: every chunk is trained by a job of its own, then all networks are gathered into one file.


rule train_chunk:
    input:
        chunk=RESULTS / "chunks/{chunk}.npz",
    output:
        trained=RESULTS / "trained/{chunk}.npz",
    log:
        LOGS / "train_chunk/{chunk}.log",
    benchmark:
        BENCHMARKS / "train_chunk/{chunk}.tsv"
    conda:
        f"{ENVS}/{run.conda_of(config['trainer'])}.yaml"
    threads: 1 if SITE.on_cluster else SITE.ranks
    resources:
        tasks=lambda wildcards, threads: SITE.ranks_of_job(threads),
        mpi=SITE.launcher if SITE.ranks > 1 else "",
        mem_mb_per_cpu=lambda wildcards, attempt: TRAINING.memory(attempt),
        runtime=lambda wildcards, attempt: TRAINING.runtime(attempt),
    params:
        environment=lambda wildcards: ENVIRONMENT,
        # functions of resources, because a change of such a param repeats nothing
        launch=lambda wildcards, resources: run.launch_of_ranks(resources.mpi, resources.tasks),
        pace=lambda wildcards, resources: f"--checkpoint-seconds {config['checkpoint_seconds']} --keep-checkpoint",
    message:
        f"Training {{wildcards.chunk}} with {TRAINING.trainer}"
    shell:
        "{params.environment}{params.launch} payneflow train {input.chunk:q} --output {output.trained:q} "
        "--ranks {resources.tasks} {params.pace} > {log:q} 2>&1"


rule gather_networks:
    input:
        trained=expand(RESULTS / "trained/{chunk}.npz", chunk=TRAINING.chunks),
    output:
        network=RESULTS / "neural_network.npz",
        record=report(
            RESULTS / "training_record.ecsv",
            caption="../report/training_record.rst",
            category="Training",
        ),
    log:
        LOGS / "gather_networks.log",
    localrule: True
    conda:
        f"{ENVS}/payneflow.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=5,
    params:
        list=lambda wildcards, input: run.list_file(input.trained),
    message:
        "Gathering the networks of all chunks"
    shell:
        "payneflow gather --list {params.list:q} --network {output.network:q} --record {output.record:q} > {log:q} 2>&1"
