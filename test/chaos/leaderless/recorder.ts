import { findNonlinearizable } from '../../../src/testing/core/linearizability.ts';
import type { TimedCall } from '../../../src/testing/core/linearizability.ts';
import { REGISTER_MODEL } from '../../../src/testing/core/register-model.ts';
import type { RegisterOperation } from '../../../src/testing/core/register-model.ts';

/** As outside checkers read it: one JSON line for the begin of a call, and one for its end. */
export interface HistoryLine {
  readonly process: number;
  readonly type: 'invoke' | 'ok' | 'fail' | 'info';
  readonly f: string;
  readonly key: string;
  readonly value: unknown;
  /** Nanoseconds on the monotonic clock. */
  readonly time: number;
}

/** How a call ended: `ok` as told, `fail`: it surely had no effect, `info`: nobody knows. */
export interface CallEnd {
  readonly type: 'ok' | 'fail' | 'info';
  readonly operation: RegisterOperation;
}

/** Writes down every call, and checks each key when it is done with. */
export class Recorder {
  readonly #write: (line: HistoryLine) => void;
  readonly #calls = new Map<string, TimedCall<RegisterOperation>[]>();
  readonly violations: string[] = [];
  readonly counts: Record<'ok' | 'fail' | 'info', number> = { ok: 0, fail: 0, info: 0 };
  #next = 0;

  constructor(write: (line: HistoryLine) => void) {
    this.#write = write;
  }

  /** A caller of outside checkers makes one call at a time, and none after one that ended in doubt. */
  nextProcess(): number {
    this.#next += 1;
    return this.#next;
  }

  begin(process: number, f: string, key: string, value: unknown): (end: CallEnd) => void {
    const invokedAt = performance.now();
    const say = (type: HistoryLine['type'], told: unknown): void =>
      this.#write({ process, type, f, key, value: told, time: Math.round(performance.now() * 1e6) });
    say('invoke', value);
    return ({ type, operation }) => {
      this.counts[type] += 1;
      say(type, operation);
      if (type === 'fail') return;
      const calls = this.#calls.get(key);
      const call = { operation, invokedAt, returnedAt: type === 'ok' ? performance.now() : null };
      if (calls === undefined) this.#calls.set(key, [call]);
      else calls.push(call);
    };
  }

  /** Nobody calls this key any more. */
  check(key: string): void {
    const calls = this.#calls.get(key) ?? [];
    this.#calls.delete(key);
    const stuck = findNonlinearizable(calls, REGISTER_MODEL);
    if (stuck !== null)
      this.violations.push(`${key} is not linearizable at ${JSON.stringify(stuck.operation)}`);
  }

  checkAll(): void {
    for (const key of this.#calls.keys()) this.check(key);
  }
}
