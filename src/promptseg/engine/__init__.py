"""Arrays and a network in, masks out: no files, no formats, no weights."""
