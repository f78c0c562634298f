"""What can go wrong with a model, a device or an image. Imports nothing.

    ModelError        the source or its weights cannot be served: expected, its text is for the operator
      ModelChoiceError  what was asked for can already be seen to be no model
    OutOfMemory       the batch was too large for the device: split it, the process is fine
    DeviceLost        the device is unusable until the process is replaced
    ImageError        the caller's bytes are at fault: the text is safe to show to the caller
      UndecodableImage, UnsupportedImage, ImageTooLarge

Every other exception out of an encoder means that this batch failed.
"""

from __future__ import annotations

__all__ = [
    "DeviceLost",
    "ImageError",
    "ImageTooLarge",
    "ModelChoiceError",
    "ModelError",
    "OutOfMemory",
    "UndecodableImage",
    "UnsupportedImage",
]


class ModelError(Exception):
    """A source that cannot be resolved, converted or loaded; the message is one sentence for an operator."""


class ModelChoiceError(ModelError):
    """A name or source that is wrong as it is written, whatever the model's files hold."""


class OutOfMemory(Exception):
    """The device had no room for this batch; a smaller one may fit."""


class DeviceLost(Exception):
    """The device (or its context) failed for good; only a new process can use it again."""


class ImageError(ValueError):
    """The bytes of one image are refused. The message holds no bytes of it and may reach the caller."""


class UndecodableImage(ImageError):
    """Not an image of an allowed format, truncated, or damaged."""


class UnsupportedImage(ImageError):
    """The signature is that of a format this service does not decode."""


class ImageTooLarge(ImageError):
    """The header declares more pixels than the limit; nothing was decoded."""
