import { access, constants, readFile, realpath } from 'node:fs/promises';
import { LockstepError } from '../../model/errors.ts';
import type { KernelWatchdogDevice } from '../../postgres/watchdog/kernel-watchdog.ts';
import type { ClusterConfig, KernelWatchdogConfig } from '../config/config.ts';
import { deviceObstacle } from './core/watchdog-obstacle.ts';
import type { DeviceFacts } from './core/watchdog-obstacle.ts';

/**
 * The device that PostgreSQL is to lead under; null for none. Where one is wanted and of no use, `onUnused` hears why,
 * or where it is required, CONFIG_INVALID is thrown. Does not open it, which would start it.
 */
export async function chooseKernelWatchdog(
  config: ClusterConfig,
  onUnused: (reason: string) => void,
): Promise<KernelWatchdogDevice | null> {
  const { mode, device, timeoutMs: named } = config.kernelWatchdog;
  if (mode === 'off') return null;
  const facts = await readFacts(config.kernelWatchdog);
  const obstacle = (await accessObstacle(device)) ?? deviceObstacle(facts, config.leaseTtlMs);
  const timeoutMs = named ?? facts.timeoutMs;
  if (obstacle === null && timeoutMs !== null) return { device, timeoutMs, isRequired: mode === 'required' };
  const message = `the kernel watchdog ${device} is not used: ${obstacle ?? 'its timeout is unknown'}`;
  if (mode === 'required') {
    throw new LockstepError(
      'CONFIG_INVALID',
      `This node must not lead without it, but ${message}. See "A kernel watchdog" in docs/leader-follower.md, or set kernelWatchdog.mode to "automatic".`,
      { details: { device } },
    );
  }
  onUnused(message);
  return null;
}

async function accessObstacle(device: string): Promise<string | null> {
  return access(device, constants.W_OK).then(
    () => null,
    (error: Error) => error.message,
  );
}

async function readFacts({ device, timeoutMs }: KernelWatchdogConfig): Promise<DeviceFacts> {
  const name = await realpath(device).catch(() => device);
  // The name without a number is the first one's.
  const folder = `/sys/class/watchdog/watchdog${/(\d+)$/.exec(name)?.[1] ?? '0'}`;
  const read = (file: string): Promise<string | null> =>
    readFile(`${folder}/${file}`, 'utf8').catch(() => null);
  const [seconds, nowayout] = await Promise.all([read('timeout'), read('nowayout')]);
  return {
    timeoutMs: timeoutMs ?? (seconds === null ? null : Number(seconds) * 1_000),
    isNowayout: nowayout?.trim() === '1',
  };
}
