"""Training one network: recipe, loop, checkpoints."""
