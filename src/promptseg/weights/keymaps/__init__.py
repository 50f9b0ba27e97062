"""Names of tensors in the layouts that others publish."""
