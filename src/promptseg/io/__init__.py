"""Files in and out: images read by stated rules, files written whole or not at all."""
