"""WavLLM: a language model that hears, by two frozen speech encoders and LLaMA (arXiv 2404.00656)."""
