"""Golden files: what pure code made of real payloads, so that a change of it is seen."""
