"""What the image of the emulator is made of besides our programs: kernel, busybox, tools.

This package is hashed whole: a change of its code makes all of it anew.
"""

#: The packages whose code makes the folders of this package, for their cache keys.
RECIPES = ("pico_image.emulator.system", "pico_image.compile")
