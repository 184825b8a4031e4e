"""Quantization: a float ONNX student and real audio in, the integer graph and its copies out."""
