import { closeSync, constants, openSync, writeSync } from 'node:fs';

/** A Linux watchdog device, as the watchdog process uses it. */
export interface KernelWatchdogDevice {
  /** For example `/dev/watchdog`. */
  readonly device: string;
  /** How long after the last write the machine is reset. */
  readonly timeoutMs: number;
  /** PostgreSQL does not lead without it. */
  readonly isRequired: boolean;
}

/** In an armed device's timeout, it is written to so many times. */
const WRITES_A_TIMEOUT = 4;
const RETRY_MS = 10_000;

/**
 * Has the kernel reset the machine when this process stops to run while PostgreSQL may write. Opening the device
 * starts its clock, each write starts it anew, and `V` before closing stops it. Source: the Linux kernel's
 * documentation, "The Linux Watchdog driver API". Node.js has no ioctl, so that the timeout is the device's own.
 */
export class KernelWatchdog {
  readonly #options: KernelWatchdogDevice;
  #file: number | null = null;
  #writtenAtMs = 0;
  #retryAtMs = 0;

  constructor(options: KernelWatchdogDevice) {
    this.#options = options;
  }

  /**
   * Arms, keeps alive or lets go; to be called often. `rightUntilMs`: until when PostgreSQL may write, null while it
   * cannot. It stays armed only while the reset would come before that. Throws the system's error when the device
   * cannot be used.
   */
  step(nowMs: number, rightUntilMs: number | null): void {
    const { device, timeoutMs } = this.#options;
    if (rightUntilMs === null || nowMs + timeoutMs > rightUntilMs) return this.disarm();
    if (nowMs < this.#retryAtMs) return;
    if (this.#file !== null && nowMs - this.#writtenAtMs < timeoutMs / WRITES_A_TIMEOUT) return;
    try {
      this.#file ??= openSync(device, constants.O_WRONLY | constants.O_NONBLOCK);
      writeSync(this.#file, '\0');
      this.#writtenAtMs = nowMs;
    } catch (error) {
      this.#retryAtMs = nowMs + RETRY_MS;
      throw error;
    }
  }

  /** Stops the device's clock: PostgreSQL cannot write any more. */
  disarm(): void {
    const file = this.#file;
    this.#file = null;
    if (file === null) return;
    try {
      writeSync(file, 'V');
      closeSync(file);
    } catch {
      // It goes on and resets the machine, which hurts nobody's data.
    }
  }
}
