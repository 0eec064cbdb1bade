"""The tokenizer: counts that sites exchange, byte-level BPE learnt from them, its file. No torch."""
