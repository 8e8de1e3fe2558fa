"""What may differ between the recorded outputs and today's: names only, never figures.

Everything is empty when ``outputs/`` was recorded by the code as it is. Whoever renames something
on purpose writes it down here, old name to new, and the comparison follows; or records anew
(``python tests/golden/record.py``) and empties this file again.

What the recorder sends (its cases are written with the old names):

- ``WORDS``: words of the command line: verbs, options and whole values of options
  (``{"--lut": "--table"}``, ``{"lut": "table"}``). A verb of two words is mapped word by word.
- ``INPUT_KEYS``: keys of input files (YAML, JSON, JSON lines), where the old key is no longer read.
- ``FILES``: files that a command is asked to write or that a run folder holds, as they are called
  inside it (``{"result.json": "search.json"}``).

What is compared (applied to the recorded output before comparing):

- ``JSON_KEYS``: keys of JSON and YAML output. A key ``"wall_s"`` is renamed wherever it stands,
  ``"answers/best"`` only where its parent object is the value of ``answers`` (lists between the two
  are skipped).
- ``TEXT``: replacements in every text, in order: standard output, messages, values in JSON.
- ``ABSENT``: lines of the subset cases (options of the verbs, figures of the report) that are left
  out on purpose, with the reason.
"""

from __future__ import annotations

WORDS: dict[str, str] = {}
INPUT_KEYS: dict[str, str] = {}
FILES: dict[str, str] = {}
JSON_KEYS: dict[str, str] = {}
TEXT: list[tuple[str, str]] = []
ABSENT: dict[str, str] = {}
