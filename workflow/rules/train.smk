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
        "../../envs/theano.yaml" if config["trainer"] == "theano" else "../../envs/payneflow.yaml"
    threads: 1 if ON_CLUSTER else RANKS
    resources:
        tasks=ranks_of_training,
        mpi=LAUNCHER if RANKS > 1 else "",
        mem_mb_per_cpu=memory_of_training,
        runtime=runtime_of_training,
    params:
        environment=environment_of_training(),
        launch=launch_of_ranks,
        pace=checkpoint_options,
        trainer=config["trainer"],
        seed=config["seed"],
        settings=training_options(),
    message:
        "Training {wildcards.chunk} with {params.trainer}"
    shell:
        "{params.environment}{params.launch} payneflow train {input.chunk:q} --output {output.trained:q} "
        "--ranks {resources.tasks} {params.pace} "
        "--trainer {params.trainer} --seed {params.seed} {params.settings} > {log:q} 2>&1"


rule gather_networks:
    input:
        trained=expand(RESULTS / "trained/{chunk}.npz", chunk=CHUNKS),
    output:
        network=RESULTS / "neural_network.npz",
        record=report(
            RESULTS / "training_record.ecsv",
            caption="../report/training_record.rst",
            category="Training",
        ),
    log:
        LOGS / "gather_networks.log",
    conda:
        "../../envs/payneflow.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=5,
    message:
        "Gathering the networks of all chunks"
    shell:
        "payneflow gather {input.trained:q} --network {output.network:q} --record {output.record:q} > {log:q} 2>&1"
