"""What each verb of the command line does with a run or a model file."""
