/*
 * Preloaded into an agent and so into its PostgreSQL: their wall clock goes wrong by as many milliseconds as the file
 * that LOCKSTEP_CHAOS_CLOCK names holds, a 64-bit number, from the moment it is written. Monotonic clocks go on as they are.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const volatile int64_t none = 0;
static const volatile int64_t *offset = &none;

__attribute__((constructor)) static void find_offset(void) {
  const char *path = getenv("LOCKSTEP_CHAOS_CLOCK");
  int fd = path == NULL ? -1 : open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return;
  void *page = mmap(NULL, sizeof *offset, PROT_READ, MAP_SHARED, fd, 0);
  if (page != MAP_FAILED) offset = page;
  close(fd);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
  int result = syscall(SYS_clock_gettime, clock, now);
  if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
    int64_t ms = *offset;
    int64_t ns = now->tv_nsec + ms % 1000 * 1000000;
    int64_t carry = ns < 0 ? -1 : ns >= 1000000000 ? 1 : 0;
    now->tv_sec += ms / 1000 + carry;
    now->tv_nsec = ns - carry * 1000000000;
  }
  return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
  int result = syscall(SYS_gettimeofday, now, zone);
  struct timespec wrong;
  if (result == 0 && clock_gettime(CLOCK_REALTIME, &wrong) == 0) {
    now->tv_sec = wrong.tv_sec;
    now->tv_usec = wrong.tv_nsec / 1000;
  }
  return result;
}

time_t time(time_t *told) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (told != NULL) *told = now.tv_sec;
  return now.tv_sec;
}
