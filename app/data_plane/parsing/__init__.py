"""Reads what a model wrote: text in, a value or a rejection out. Start at ``answer``."""
