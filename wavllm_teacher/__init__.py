"""Audio to arousal, dominance, valence: teacher models, their training, and the label stage."""
