"""How this installation runs: settings, the declared topology, and the documents that it ships."""
