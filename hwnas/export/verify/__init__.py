"""Exported models executed by their runtime and compared with torch."""
