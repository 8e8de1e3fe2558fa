"""The public Python API; users reach every name of it as ``hwnas.NAME``."""
