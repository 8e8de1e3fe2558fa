"""hwnas: hardware-aware neural architecture search for mobile deployment.

Importing the package loads neither torch nor a runtime: spaces, tables, predictors and array
searches work on numpy alone.
"""

__version__ = "0.1.0"
