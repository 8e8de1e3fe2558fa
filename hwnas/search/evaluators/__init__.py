"""What scores architectures: trainings, supernets, tables, predictors."""
