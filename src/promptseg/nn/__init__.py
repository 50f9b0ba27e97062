"""Networks: no files, no formats, no thresholds."""
