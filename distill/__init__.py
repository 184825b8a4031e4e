"""The distill stage: teacher labels and their audio in, a small float student out."""
