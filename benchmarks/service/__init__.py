"""The running service and its parts: against the engine alone, an echo, other links, itself with less."""
