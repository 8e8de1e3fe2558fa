"""The command line: each verb parses options, calls one function and prints the result.

Verbs are imported when they are used (``verbs.py``); what they do is in other packages.
"""

from hwnas.cli.app import VERBS, app, main

__all__ = ["VERBS", "app", "main"]
