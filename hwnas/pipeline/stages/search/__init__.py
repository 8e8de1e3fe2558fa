"""The search stage: its evaluators and searchers, its trainings, and what it writes."""
