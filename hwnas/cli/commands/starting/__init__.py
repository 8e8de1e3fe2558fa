"""What a first hour begins with: ``hwnas init``, ``hwnas examples``."""
