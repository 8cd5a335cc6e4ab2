"""Images as files: 8 bits per value, and an attack on a file in one call."""

from minadv.images.attack import attack_image
from minadv.images.convert import from_8bit, read_image, save_image, survives_8bit, to_8bit

__all__ = ["attack_image", "from_8bit", "read_image", "save_image", "survives_8bit", "to_8bit"]
