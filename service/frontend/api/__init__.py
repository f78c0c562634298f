"""What all transports share: messages, errors, validation, encodings, vectors.

Imports service.config and of the worker spec, errors and runtime.
"""
