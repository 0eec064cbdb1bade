"""How far one model trained over three sites is from one trained in one place, and for how many bytes.

    python -m bench.joint_model [--corpus DIR] [--split] [--seeds N] [--cases NAME …] [--lr RATE …]
    python -m bench.joint_model --scale medium --shards DIR DIR DIR --cases NAME …
    python -m bench.joint_model --from RESULTS.jsonl

A byte-level Llama of 0.85 million parameters, 4 rows of 64 tokens a site and step, three sites simulated
in one process: the inner training and the outer loop's arithmetic (codec, merge) are those of a run, only
the network is left out. The texts are LibreOffice's help in Spanish, fetched from Debian, divided at
random; or any folder; with --split its subfolders are the sites. The medium scale has 35 million
parameters and reads shards that `ayni lm corpus pack` made; it is meant for a GPU.
"""
