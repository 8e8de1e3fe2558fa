"""hwnas: hardware-aware neural architecture search for mobile deployment.

Importing the package loads neither torch nor a runtime: spaces, tables, predictors and array
searches work on numpy alone. The package logs to the logger ``hwnas`` and prints nothing.
"""

import logging

__version__ = "0.1.0"

logging.getLogger("hwnas").addHandler(logging.NullHandler())
