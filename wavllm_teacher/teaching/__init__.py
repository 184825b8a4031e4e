"""Training a dual-encoder teacher on the user's own labelled speech."""
