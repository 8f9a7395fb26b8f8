"""What the emulator image is made of besides our programs: kernel, busybox, tools, initramfs."""
