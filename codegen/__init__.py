"""Code generation: the integer graph as self-contained C99, from int16 PCM to A/D/V, streaming."""
