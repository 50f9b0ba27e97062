"""Masks as files: PNG, COCO JSON, overlays."""
