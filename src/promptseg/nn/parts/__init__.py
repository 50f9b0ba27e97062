"""What networks of the SAM family share: layers, positions, prompts in, masks out."""
