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
    threads: config["ranks"]
    resources:
        mem_mb=600 + 400 * config["ranks"],
        runtime=60,
    params:
        environment=environment_of_training(),
        launch=launch_of_ranks,
        trainer=config["trainer"],
        seed=config["seed"],
        settings=training_options(),
    message:
        "Training {wildcards.chunk} with {params.trainer}"
    shell:
        "{params.environment}{params.launch} payneflow train {input.chunk:q} --output {output.trained:q} --ranks {threads} "
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
        runtime=10,
    message:
        "Gathering the networks of all chunks"
    shell:
        "payneflow gather {input.trained:q} --network {output.network:q} --record {output.record:q} > {log:q} 2>&1"
