"""The encoders alone, in this process: against what the machine can do, and against transformers."""
