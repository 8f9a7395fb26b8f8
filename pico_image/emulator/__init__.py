"""The ``emulator`` backend: the same image for QEMU, and the machine that boots it."""
