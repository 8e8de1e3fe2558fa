"""Cell spaces: NAS-Bench-201 and DARTS."""
