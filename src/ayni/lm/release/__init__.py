"""The global weights as others use them: the Hugging Face layout, and text generated from it."""
