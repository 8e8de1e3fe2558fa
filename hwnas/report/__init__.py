"""A run folder to tables, figures and one HTML page."""
