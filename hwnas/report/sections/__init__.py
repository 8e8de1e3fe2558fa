"""The sections of the report: each turns the facts of a run into blocks, without HTML."""
