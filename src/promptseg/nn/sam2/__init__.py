"""SAM 2 and SAM 2.1 (Ravi 2024): images, and the memory of frames."""
