"""Replay: recomputing and explaining what was recorded."""
