"""How fast a GPU trains the joint model, beside transformers' own Trainer on the same model.

    python -m bench.gpu [--shape 1b] [--parts NAME …] [--out DIR] [--patience SECONDS]

Each part is a process of its own with a time limit, so that one that fails takes no other with it; what it
measured is a JSON line, its log a file in DIR. MFU is 6 N + causal attention (`ayni.lm.plan`) over the
peak of the GPU in bfloat16; beside it stands the share that counts only the attention which the documents'
mask leaves. On a CPU the shape `tiny` shows that all of it runs, and no more.
"""
