"""A container engine: connecting, images, running programs, volumes."""
