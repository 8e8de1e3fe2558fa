"""Space ``mobile``: stages of blocks of several families."""
