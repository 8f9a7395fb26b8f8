"""The SD card: parts, environment, composing, reading back, repacking and flashing."""
