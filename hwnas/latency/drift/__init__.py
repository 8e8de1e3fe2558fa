"""How a device changes between sessions, and what a prediction can then promise."""
