/* Requests to the stub of the NPU's driver, as no program should make them.
 * The driver's numbers: see rknpu_stub.c. */
#include <errno.h>
#include <fcntl.h>
#include <linux/ioctl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

enum { ACTION, SUBMIT, MEM_CREATE, MEM_MAP, MEM_DESTROY, MEM_SYNC };

/* Words of 64 bits: the driver's arguments begin with two numbers of 32 in one.
 */
static int ask(int fd, unsigned request, uint64_t *words, size_t count) {
  unsigned size = (unsigned)(count * sizeof *words);

  if (ioctl(fd, _IOC(_IOC_READ | _IOC_WRITE, 'r', request, size), words) != 0)
    return errno;
  return 0;
}

int main(int argc, char **argv) {
  const char *what = argc > 1 ? argv[1] : "";
  int fd = open("/dev/rknpu", O_RDWR);
  uint64_t action = 0, memory[5] = {(uint64_t)2 << 32, 5000};

  if (strcmp(what, "volt") == 0) {
    action = 4;
    return ask(fd, ACTION, &action, 1);
  }
  if (strcmp(what, "file") == 0)
    return fopen("/proc/rknpu/volt", "r") == NULL;
  if (strcmp(what, "other size") == 0)
    return ask(fd, MEM_CREATE, memory, 4); /* of another driver's header */
  int code = ask(fd, MEM_CREATE, memory, 5);
  if (code != 0 || strcmp(what, "create") == 0)
    return code;
  uint64_t gone[2] = {0, memory[2]};
  uint64_t range[4] = {1, memory[2], 4096,
                       strcmp(what, "beyond") == 0 ? 4097 : 4096};
  code = ask(fd, MEM_SYNC, range, 4);
  if (code == 0)
    code = ask(fd, MEM_DESTROY, gone, 2);
  if (code == 0 && strcmp(what, "twice") == 0)
    code = ask(fd, MEM_DESTROY, gone, 2);
  return code;
}
