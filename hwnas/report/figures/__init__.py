"""The figures of the report: functions from plain values to matplotlib figures, without HTML."""
