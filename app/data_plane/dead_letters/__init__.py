"""Work that gave up, with why: from the journals, and from messages that could not be worked on."""
