/* A stand-in for the kernel's NPU driver: Rockchip's own librknnmrt.a runs on
 * it without a board.
 *
 * It is linked into a program with -Wl,--wrap=open and so on (the list is in
 * genuine.py), so that what the library asks the kernel for ends here. It
 * answers as the driver in the kernel 5.10 of the Luckfox SDK does
 * (drivers/rknpu: rknpu_ioctl.h, rknpu_drv.c, rknpu_mem.c, rknpu_job.c), and
 * computes nothing: buffers keep what was in them. Where a request would harm
 * the kernel (a freed object, memory beyond an object's end, the voltage of a
 * regulator that no board has), the program is aborted with a message.
 *
 *   RKNPU_STUB_LOG=FILE     append every request to FILE, one JSON object a
 * line RKNPU_STUB_DRIVER=802   the driver's version: major * 10000 + minor *
 * 100 + patch RKNPU_STUB_FAIL=MEM_CREATE:2:12 the second such request fails
 * with errno 12
 *
 *   RKNPU_STUB_ANSWER=FILE  every job writes FILE into the newest memory
 * object, which is a classifier's output
 *
 * The library is made for uClibc; the two names that glibc lacks are at the
 * end.
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/ioctl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#define DEVICE "/dev/rknpu"

enum { OBJECTS = 64, PAGE = 4096, SDK_DRIVER = 802, TASK_BYTES = 40 };
enum { GET_HW_VERSION, GET_DRV_VERSION, GET_FREQ, GET_VOLT = 4, ACT_RESET = 6 };
enum { GET_IOMMU = 18, SET_NICE, GET_SRAM = 22, GET_FREE_SRAM };
enum { NON_CONTIGUOUS = 1, FENCE_IN = 8, FENCE_OUT = 16 };

/* rknpu_ioctl.h: layouts of the requests' arguments. */
struct action {
  uint32_t what, value;
};
struct submit {
  uint32_t flags, timeout, first, count, done;
  int32_t priority;
  uint64_t tasks, registers, base, user;
  uint32_t cores;
  int32_t fence;
  uint32_t subcores[10];
};
struct create {
  uint32_t fd, flags;
  uint64_t size, object, dma, sram;
};
struct destroy {
  uint32_t fd, reserved;
  uint64_t object;
};
struct sync {
  uint32_t flags, reserved;
  uint64_t object, offset, size;
};

static const struct request {
  const char *name;
  size_t size;
} requests[] = {
    {"ACTION", sizeof(struct action)},       {"SUBMIT", sizeof(struct submit)},
    {"MEM_CREATE", sizeof(struct create)},   {"MEM_MAP", 16},
    {"MEM_DESTROY", sizeof(struct destroy)}, {"MEM_SYNC", sizeof(struct sync)},
};
enum { REQUESTS = sizeof requests / sizeof requests[0] };

_Static_assert(sizeof(struct submit) == 104 && sizeof(struct create) == 40,
               "rknpu_ioctl.h");

static struct object {
  bool alive;
  int fd; /* of the memory; -1: closed */
  uint64_t address, size;
  void *mapped;
} objects[OBJECTS];
static int device = -1;

int __real_close(int fd);
FILE *__real_fopen(const char *path, const char *mode);
FILE *__real_fopen64(const char *path, const char *mode);
int __real_ioctl(int fd, unsigned long number, ...);
void *__real_mmap(void *at, size_t size, int protection, int flags, int fd,
                  off_t offset);
void *__real_mmap64(void *at, size_t size, int protection, int flags, int fd,
                    off64_t offset);
int __real_munmap(void *at, size_t size);
int __real_open(const char *path, int flags, ...);
int __real_open64(const char *path, int flags, ...);
int __wrap_close(int fd);
FILE *__wrap_fopen(const char *path, const char *mode);
FILE *__wrap_fopen64(const char *path, const char *mode);
int __wrap_ioctl(int fd, unsigned long number, ...);
void *__wrap_mmap(void *at, size_t size, int protection, int flags, int fd,
                  off_t offset);
void *__wrap_mmap64(void *at, size_t size, int protection, int flags, int fd,
                    off64_t offset);
int __wrap_munmap(void *at, size_t size);
int __wrap_open(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...);

static void note(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void die(const char *format, ...)
    __attribute__((format(printf, 1, 2), noreturn));

/* Written line by line: what was asked before a crash is there, too. */
static void note(const char *format, ...) {
  static int log = -1;
  const char *path = getenv("RKNPU_STUB_LOG");
  va_list arguments;

  if (path == NULL)
    return;
  if (log < 0)
    log = __real_open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  va_start(arguments, format);
  if (log < 0 || vdprintf(log, format, arguments) < 0)
    abort();
  va_end(arguments);
}

static void die(const char *format, ...) {
  const struct rlimit no_core = {0, 0};
  va_list arguments;

  setrlimit(RLIMIT_CORE, &no_core);
  fputs("rknpu stub: ", stderr);
  va_start(arguments, format);
  vfprintf(stderr, format, arguments);
  va_end(arguments);
  fputc('\n', stderr);
  abort();
}

/* regulator_get_voltage(NULL): no device tree of these boards has rknpu-supply.
 */
static void check_path(const char *path) {
  const char *end = strstr(path, "/rknpu/volt");

  if (end != NULL)
    die("%s was opened: reading it is an oops in the kernel", path);
}

static struct object *object_of(uint64_t address) {
  for (int i = 0; i < OBJECTS; i++) {
    if (objects[i].address == address && objects[i].alive)
      return &objects[i];
  }
  die("a request names the memory object %#" PRIx64 ", which is not alive",
      address);
}

static struct object *object_of_fd(int fd) {
  for (int i = 0; fd >= 0 && i < OBJECTS; i++) {
    if (objects[i].address != 0 && objects[i].fd == fd)
      return &objects[i];
  }
  return NULL;
}

static int act(struct action *action) {
  const char *version = getenv("RKNPU_STUB_DRIVER");

  switch (action->what) {
  case GET_HW_VERSION: /* a register of the chip that nobody here has read */
  case GET_IOMMU:
  case GET_SRAM:
  case GET_FREE_SRAM:
    action->value = 0;
    return 0;
  case GET_DRV_VERSION:
    action->value = version != NULL ? (uint32_t)atoi(version) : SDK_DRIVER;
    return 0;
  case GET_FREQ:
    action->value = 420000000;
    return 0;
  case GET_VOLT:
    die("RKNPU_GET_VOLT (ACTION %d) was asked: it is an oops in the kernel",
        GET_VOLT);
  case ACT_RESET:
  case SET_NICE:
    return 0;
  default:
    return EINVAL;
  }
}

static void write_answer(void) {
  const char *path = getenv("RKNPU_STUB_ANSWER");
  const struct object *newest = objects;

  while (newest + 1 < objects + OBJECTS && newest[1].address != 0)
    newest++;
  int file = path != NULL ? __real_open(path, O_RDONLY | O_CLOEXEC) : -1;
  if (path == NULL)
    return;
  if (file < 0 || read(file, newest->mapped, newest->size) <= 0)
    die("%s: %s", path, strerror(errno));
  __real_close(file);
}

static int submit(struct submit *job) {
  if (job->count == 0 || (job->flags & (FENCE_IN | FENCE_OUT)) != 0)
    return EINVAL;
  if ((uint64_t)(job->first + job->count) * TASK_BYTES >
      object_of(job->tasks)->size)
    die("%" PRIu32 " tasks from the %" PRIu32
        "-th on are more than their object holds",
        job->count, job->first);
  job->done = job->count;
  write_answer();
  return 0;
}

static int create(struct create *memory) {
  static uint64_t next_dma = 0x3000000;
  struct object *object = objects;

  if ((memory->flags & NON_CONTIGUOUS) != 0 || memory->fd != 0)
    return EINVAL; /* importing a buffer by its descriptor is not imitated */
  while (object < objects + OBJECTS && object->address != 0)
    object++;
  if (object == objects + OBJECTS)
    die("more than %d memory objects", OBJECTS);
  object->size = (memory->size + PAGE - 1) / PAGE * PAGE;
  object->fd = memfd_create("rknpu", MFD_CLOEXEC);
  if (object->fd < 0 || ftruncate(object->fd, (off_t)object->size) != 0)
    die("memfd: %s", strerror(errno));
  object->alive = true;
  object->address = 0xc1000000 + (uint64_t)(object - objects) * 64;
  memory->fd = (uint32_t)object->fd;
  memory->size = object->size;
  memory->object = object->address;
  memory->dma = next_dma;
  next_dma += object->size;
  return 0;
}

static int sync_memory(const struct sync *range) {
  const struct object *object = object_of(range->object);

  if (range->offset > object->size ||
      range->size > object->size - range->offset)
    die("a sync of %" PRIu64 " bytes at %" PRIu64 " of an object of %" PRIu64,
        range->size, range->offset, object->size);
  return 0;
}

static int answer(unsigned request, void *argument) {
  switch (request) {
  case 0:
    return act(argument);
  case 1:
    return submit(argument);
  case 2:
    return create(argument);
  case 4:
    object_of(((struct destroy *)argument)->object)->alive = false;
    return 0;
  case 5:
    return sync_memory(argument);
  default: /* rknpu_ioctl() compares MEM_MAP with its bare number, which never
              fits */
    return EINVAL;
  }
}

static void note_request(unsigned request, const void *argument, int code) {
  const struct action *action = argument;
  const struct submit *job = argument;
  const struct create *memory = argument;
  const struct destroy *gone = argument;
  const struct sync *range = argument;
  char rest[256] = "";

  if (request == 0)
    snprintf(rest, sizeof rest,
             ", \"action\": %" PRIu32 ", \"value\": %" PRIu32, action->what,
             action->value);
  else if (request == 1)
    snprintf(rest, sizeof rest,
             ", \"flags\": %" PRIu32 ", \"timeout_ms\": %" PRIu32
             ", \"tasks\": %" PRIu32,
             job->flags, job->timeout, job->count);
  else if (request == 2)
    snprintf(rest, sizeof rest,
             ", \"flags\": %" PRIu32 ", \"size\": %" PRIu64
             ", \"object\": %" PRIu64,
             memory->flags, memory->size, memory->object);
  else if (request == 4)
    snprintf(rest, sizeof rest, ", \"object\": %" PRIu64, gone->object);
  else if (request == 5)
    snprintf(rest, sizeof rest,
             ", \"flags\": %" PRIu32 ", \"offset\": %" PRIu64
             ", \"size\": %" PRIu64 ", \"object\": %" PRIu64,
             range->flags, range->offset, range->size, range->object);
  note("{\"request\": \"%s\", \"errno\": %d%s}\n", requests[request].name, code,
       rest);
}

/* RKNPU_STUB_FAIL, when it is this request's turn; else 0. */
static int planned_failure(const char *name) {
  static int seen;
  const char *plan = getenv("RKNPU_STUB_FAIL");
  size_t length = strlen(name);
  int turn, code;

  if (plan == NULL || strncmp(plan, name, length) != 0 || plan[length] != ':')
    return 0;
  if (sscanf(plan + length, ":%d:%d", &turn, &code) != 2 || turn < 1 ||
      code < 1)
    die("RKNPU_STUB_FAIL=%s is not REQUEST:N:ERRNO", plan);
  return ++seen == turn ? code : 0;
}

int __wrap_ioctl(int fd, unsigned long number, ...) {
  va_list arguments;

  va_start(arguments, number);
  void *argument = va_arg(arguments, void *);
  va_end(arguments);
  if (fd < 0 || fd != device)
    return __real_ioctl(fd, number, argument);
  unsigned request = _IOC_NR(number);
  /* The driver compares the whole number, which has the size of the argument in
   * it. */
  if (request >= REQUESTS || number != _IOC(_IOC_READ | _IOC_WRITE, 'r',
                                            request, requests[request].size)) {
    note("{\"request\": \"unknown\", \"errno\": %d, \"number\": %lu}\n", EINVAL,
         number);
    errno = EINVAL;
    return -1;
  }
  int code = planned_failure(requests[request].name);
  if (code == 0)
    code = answer(request, argument);
  note_request(request, argument, code);
  errno = code != 0 ? code : errno;
  return code != 0 ? -1 : 0;
}

static int open_device(void) {
  if (device >= 0)
    die(DEVICE " is opened a second time");
  device = memfd_create("device", MFD_CLOEXEC);
  note("{\"request\": \"open\", \"errno\": 0}\n");
  return device;
}

int __wrap_open(const char *path, int flags, ...) {
  va_list arguments;

  va_start(arguments, flags);
  int mode = (flags & O_CREAT) != 0 ? va_arg(arguments, int) : 0;
  va_end(arguments);
  check_path(path);
  return strcmp(path, DEVICE) == 0 ? open_device()
                                   : __real_open(path, flags, mode);
}

int __wrap_open64(const char *path, int flags, ...) {
  va_list arguments;

  va_start(arguments, flags);
  int mode = (flags & O_CREAT) != 0 ? va_arg(arguments, int) : 0;
  va_end(arguments);
  return __wrap_open(path, flags | O_LARGEFILE, mode);
}

FILE *__wrap_fopen(const char *path, const char *mode) {
  check_path(path);
  return __real_fopen(path, mode);
}

FILE *__wrap_fopen64(const char *path, const char *mode) {
  check_path(path);
  return __real_fopen64(path, mode);
}

int __wrap_close(int fd) {
  struct object *object = object_of_fd(fd);

  if (object != NULL) {
    object->fd = -1;
    note("{\"request\": \"close\", \"errno\": 0, \"object\": %" PRIu64 "}\n",
         object->address);
  } else if (fd >= 0 && fd == device) {
    device = -1;
    note("{\"request\": \"close\", \"errno\": 0}\n");
  }
  return __real_close(fd);
}

void *__wrap_mmap64(void *at, size_t size, int protection, int flags, int fd,
                    off64_t offset) {
  struct object *object = object_of_fd(fd);
  void *mapped = __real_mmap64(at, size, protection, flags, fd, offset);

  if (object != NULL && mapped != MAP_FAILED) {
    object->mapped = mapped;
    note("{\"request\": \"mmap\", \"errno\": 0, \"object\": %" PRIu64 "}\n",
         object->address);
  }
  return mapped;
}

void *__wrap_mmap(void *at, size_t size, int protection, int flags, int fd,
                  off_t offset) {
  return __wrap_mmap64(at, size, protection, flags, fd, offset);
}

int __wrap_munmap(void *at, size_t size) {
  for (int i = 0; i < OBJECTS; i++) {
    if (objects[i].mapped == NULL || objects[i].mapped != at)
      continue;
    objects[i].mapped = NULL;
    note("{\"request\": \"munmap\", \"errno\": 0, \"object\": %" PRIu64 "}\n",
         objects[i].address);
  }
  return __real_munmap(at, size);
}

/* uClibc's tables of characters, indexed from -128 to 255 (its ctype.h,
 * bits/uClibc_touplow.h). */

enum { CHARACTERS = 384, FIRST = -128 };
static uint16_t kinds[CHARACTERS];
static int16_t lower[CHARACTERS];
extern const uint16_t *__ctype_b;
extern const int16_t *__ctype_tolower;
const uint16_t *__ctype_b = kinds - FIRST;
const int16_t *__ctype_tolower = lower - FIRST;

static void __attribute__((constructor)) fill_tables(void) {
  for (int c = FIRST; c < CHARACTERS + FIRST; c++) {
    const bool is[] = {isupper(c),  islower(c), isalpha(c), isdigit(c),
                       isxdigit(c), isspace(c), isprint(c), isgraph(c),
                       isblank(c),  iscntrl(c), ispunct(c), isalnum(c)};
    for (size_t bit = 0; c >= 0 && bit < sizeof is / sizeof is[0]; bit++)
      kinds[c - FIRST] |= (uint16_t)(is[bit] << bit);
    lower[c - FIRST] = (int16_t)(c >= 0 ? tolower(c) : c);
  }
}
