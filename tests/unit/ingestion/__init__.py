"""The way in, without servers."""
