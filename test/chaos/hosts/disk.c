/*
 * Preloaded into an agent and so into its PostgreSQL: while the file "hung" lies in the folder that
 * LOCKSTEP_CHAOS_DISK names, no fsync or fdatasync returns; while "slow" lies there, each takes 200 ms longer.
 * Unlike a process that waits for a real disk, one that hangs here can still be killed.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static int is_there(const char *name) {
  char path[512];
  const char *folder = getenv("LOCKSTEP_CHAOS_DISK");
  if (folder == NULL) return 0;
  snprintf(path, sizeof path, "%s/%s", folder, name);
  return access(path, F_OK) == 0;
}

static void pause_ms(long ms) {
  struct timespec left = {ms / 1000, (ms % 1000) * 1000000};
  nanosleep(&left, NULL);
}

static void wait_for_disk(void) {
  if (is_there("slow")) pause_ms(200);
  while (is_there("hung")) pause_ms(10);
}

int fsync(int fd) {
  wait_for_disk();
  return syscall(SYS_fsync, fd);
}

int fdatasync(int fd) {
  wait_for_disk();
  return syscall(SYS_fdatasync, fd);
}
