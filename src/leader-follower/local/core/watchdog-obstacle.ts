/** What the kernel tells of a watchdog device. */
export interface DeviceFacts {
  /** Null where the kernel does not tell. */
  readonly timeoutMs: number | null;
  /** Once started it cannot be stopped. */
  readonly isNowayout: boolean;
}

/** The part of the lease that a device's timeout may take: renewals come four times in a lease, and one may be late. */
const PART_OF_LEASE = 2;

/** Why a device is of no use to a cluster with this lease; null when it is. */
export function deviceObstacle({ timeoutMs, isNowayout }: DeviceFacts, leaseTtlMs: number): string | null {
  if (timeoutMs === null) {
    return 'the kernel does not tell its timeout; name it as "timeoutMs"';
  }
  if (isNowayout) {
    return 'it cannot be stopped once it runs (nowayout), so that each switchover would reset the machine; load its driver with nowayout=0';
  }
  if (timeoutMs * PART_OF_LEASE > leaseTtlMs) {
    return `its timeout of ${timeoutMs / 1_000} s is more than half of the lease, so that the reset could come after another leads; load its driver with a shorter one, or set leaseTtlMs to ${timeoutMs * PART_OF_LEASE}`;
  }
  return null;
}
