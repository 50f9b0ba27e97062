"""SAM 3 (Carion 2025): every thing that a phrase or example boxes name, and SAM 2's own verbs."""
