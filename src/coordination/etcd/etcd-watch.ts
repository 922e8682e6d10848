import { every } from '../../clock/every.ts';
import type { Clock } from '../../model/clock.ts';
import { decodeStored, encodeBytes } from './core/etcd-answers.ts';
import type { StoredRegister, WatchJson } from './core/etcd-answers.ts';
import type { Register } from '../contract.ts';
import type { EtcdGateway } from './etcd-gateway.ts';

export interface EtcdWatchOptions {
  readonly clock: Clock;
  readonly gateway: EtcdGateway;
  /** The whole key in etcd. */
  readonly key: string;
  readonly listener: (register: Register) => void;
  /** Reads the register linearizably. */
  readonly read: () => Promise<StoredRegister>;
  /** How long a silent stream is trusted. */
  readonly checkMs: number;
  readonly signal: AbortSignal;
}

const FIRST_PAUSE_MS = 20;
const LONGEST_PAUSE_MS = 500;

/**
 * Tells `listener` the register's versions in growing order until `signal` is aborted: what is there, then
 * what a stream brings. A stream that breaks goes on after the last revision seen; where etcd has compacted
 * that away, the register is read. A silent stream is checked by a read now and then: it may hang at a
 * member that is suspended or cut off from the others, and nobody would tell.
 */
export async function watchRegister(options: EtcdWatchOptions): Promise<void> {
  await new EtcdWatch(options).run();
}

class EtcdWatch {
  readonly #options: EtcdWatchOptions;
  #lastVersion = 0;
  /** etcd's revision up to which everything was told; null when that has to be read. */
  #revision: number | null = null;

  constructor(options: EtcdWatchOptions) {
    this.#options = options;
  }

  async run(): Promise<void> {
    const { signal } = this.#options;
    for (let failures = 0; !signal.aborted;) {
      const isGood = await this.#runOnce().catch(() => false);
      failures = isGood ? 0 : failures + 1;
      await this.#pause(Math.min(FIRST_PAUSE_MS * 2 ** failures, LONGEST_PAUSE_MS));
    }
  }

  /** One stream from its opening to its end. False when nothing came of it. */
  async #runOnce(): Promise<boolean> {
    const { gateway, key, read, checkMs, signal, clock } = this.#options;
    if (this.#revision === null) {
      const register = await read();
      this.#tell(register);
      this.#revision = register.revision;
    }
    const ended = new AbortController();
    let isGood = false;
    let heardAtMs = clock.nowMs();
    const onResult = (result: unknown): void => {
      heardAtMs = clock.nowMs();
      if (this.#hear(result as WatchJson)) isGood = true;
      else ended.abort();
    };
    const endChecks = every(clock, checkMs / 2, () => {
      if (clock.nowMs() - heardAtMs < checkMs) return;
      heardAtMs = clock.nowMs();
      const told = this.#lastVersion;
      read().then(
        (register) => {
          // The stream had all the time of the read to tell it, and did not.
          if (register.version > told && this.#tell(register)) ended.abort();
        },
        () => undefined,
      );
    });
    try {
      const request = { key: encodeBytes(key), start_revision: String(this.#revision + 1) };
      const body = { create_request: request };
      await gateway.stream('/v3/watch', body, onResult, AbortSignal.any([signal, ended.signal]));
    } finally {
      endChecks();
    }
    return isGood;
  }

  /** False when etcd says that this stream brings nothing more; it leaves it open then. */
  #hear(message: WatchJson): boolean {
    if (message.canceled === true) {
      if (message.compact_revision !== undefined) this.#revision = null;
      return false;
    }
    for (const event of message.events ?? []) {
      // A register is never deleted by Lockstep; who reads or writes it will be told.
      if (event.type === 'DELETE' || event.kv === undefined) continue;
      const revision = Number(event.kv.mod_revision ?? 0);
      const register = decodeStored(this.#options.key, event.kv, revision);
      this.#revision = Math.max(this.#revision ?? 0, revision);
      this.#tell(register);
    }
    return true;
  }

  #tell(register: StoredRegister): boolean {
    if (register.version <= this.#lastVersion || this.#options.signal.aborted) return false;
    this.#lastVersion = register.version;
    this.#options.listener({ version: register.version, value: register.value });
    return true;
  }

  async #pause(ms: number): Promise<void> {
    await this.#options.clock.sleep(ms, this.#options.signal);
  }
}
