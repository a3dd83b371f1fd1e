"""Budgets: the worst case of a question is reserved before it is asked, and settled when its cost is known."""
