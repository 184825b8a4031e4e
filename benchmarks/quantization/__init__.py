"""What the quantization of the shipped students costs, and what each part of it is worth."""
