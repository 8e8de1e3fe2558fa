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
- ``VALUES``: whole values of a key: ``{("source", "kernel"): "op-predictor"}``.
- ``NEW_KEYS``: keys that did not exist, by the value they have where nobody sets them.
- ``NEW_LINES``: messages that did not exist, as patterns of whole lines of standard error.
- ``TODAY``: cases of which words changed throughout, recorded anew with today's names after their
  figures had been compared.
- ``ABSENT``: lines of the subset cases (options of the verbs, figures of the report) that are left
  out on purpose, with the reason.
"""

from __future__ import annotations

WORDS: dict[str, str] = {
    "--hot": "--breakdown",
    "--likes": "--augment-ops",
    "kernel": "op-predictor",
}
INPUT_KEYS: dict[str, str] = {}
FILES: dict[str, str] = {}
JSON_KEYS: dict[str, str] = {
    "loads": "reloads",
    "cold": "weight_traffic",
    "cold+ops": "weight_traffic+ops",
    "hot": "breakdown",
    "sentinels": "anchors",
    "guard": "margin",
    "shelf": "baselines",
    "rows/also": "other_precisions",
}
VALUES: dict[tuple[str, str], str] = {
    ("source", "kernel"): "op-predictor",
    ("form", "cold"): "weight_traffic",
    ("kind", "shelf"): "baseline",
}
NEW_KEYS: dict[str, object] = {"prior": None, "settings": {}, "folds": 0}
NEW_LINES: tuple[str, ...] = (
    r"warning: .* is called .* now; the old name is read for one (more )?version",
    r"\d/7 (profile|search|retrain|export|bench|select|report)",
    r"  - search.strategy: the run was begun with 'random', now it is 'evolution'",
    r"strategy [\w-]+: .*; --strategy selects another",
)
TEXT: list[tuple[str, str]] = [
    ("predictor kernel:", "op-predictor:"),
    ("form cold,", "form weight_traffic,"),
    (", cold 1.20%", ", weight_traffic 1.20%"),
    ("where the time of ", "latency of "),
    (" goes (", ", "),
    (
        " ms in the mean); cost is share of time",
        " ms in the mean, by part; cost is share of latency",
    ),
    ("sure/config.yaml: 4 problems", "sure/config.yaml: 5 problems"),
]
ABSENT: dict[str, str] = {}
TODAY = ("old_runs", "options", "report", "schema", "transfer", "wrong_uses")
