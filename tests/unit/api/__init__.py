"""The HTTP API over fakes of what stands behind it."""
