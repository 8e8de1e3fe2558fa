"""One schema for every file of a run folder and of an export: who writes it and who reads it.

A stage fills a schema and saves it; later stages, the report and the command line load it. There is
no second description of these files. Each schema is frozen, names its file and its version, and is
checked on both ways. Keys that a newer version of hwnas added are kept and ignored.
"""
