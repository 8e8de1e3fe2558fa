"""The file border: files that survive a kill, and data from files checked by schemas."""
