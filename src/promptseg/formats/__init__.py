"""Masks as files of many formats, and back; pictures of masks."""
