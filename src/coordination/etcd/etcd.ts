import type { Clock } from '../../model/clock.ts';
import { randomUUID } from 'node:crypto';
import { setMaxListeners } from 'node:events';
import { LockstepError } from '../../model/errors.ts';
import type { CompareAndSetResult, Coordination, Register } from '../contract.ts';
import { compareAndSetRequest, decodeStored, judgeFailedTxn, rangeRequest } from './core/etcd-answers.ts';
import type { RangeJson, StoredRegister, TxnJson } from './core/etcd-answers.ts';
import { EtcdGateway } from './etcd-gateway.ts';
import type { EtcdTlsFiles } from './etcd-http.ts';
import { watchRegister } from './etcd-watch.ts';

export interface EtcdCoordinationOptions {
  readonly clock: Clock;
  /** Members of one etcd cluster (3.4 or later) as `http(s)://host:port`. */
  readonly endpoints: readonly string[];
  /** What keys begin with; of this cluster alone, e.g. `/lockstep/<id>/`. */
  readonly prefix: string;
  readonly username?: string | undefined;
  readonly password?: string | undefined;
  readonly tls?: EtcdTlsFiles | undefined;
  readonly timeouts?: {
    /** How long one member may take before another is asked. Default 500. */
    readonly requestMs?: number;
    /** How long one call may take over all its attempts. Default 1500. */
    readonly callMs?: number;
    /** How long a watch trusts a silent stream. Default 2000. */
    readonly watchCheckMs?: number;
  };
}

/**
 * Registers in etcd, through its JSON gateway. A register's version is etcd's `version` of its key. Reads are
 * linearizable; a write that got no answer is sent again and known by its operation. It throws
 * CONFIG_INVALID when etcd refuses the user at the start, the endpoints are of several etcd clusters, or a
 * register went back: deleted, or restored from a backup.
 */
export function createEtcdCoordination(options: EtcdCoordinationOptions): Coordination {
  return new EtcdCoordination(options);
}

class EtcdCoordination implements Coordination {
  readonly #prefix: string;
  readonly #clock: Clock;
  readonly #gateway: EtcdGateway;
  readonly #callTimeoutMs: number;
  readonly #watchCheckMs: number;
  readonly #closing = new AbortController();
  /** The newest of each register that this process has seen. */
  readonly #seen = new Map<string, StoredRegister>();
  readonly #running = new Set<Promise<unknown>>();

  constructor(options: EtcdCoordinationOptions) {
    this.#prefix = options.prefix;
    this.#callTimeoutMs = options.timeouts?.callMs ?? 1_500;
    this.#watchCheckMs = options.timeouts?.watchCheckMs ?? 2_000;
    setMaxListeners(0, this.#closing.signal);
    this.#clock = options.clock;
    this.#gateway = new EtcdGateway({
      clock: options.clock,
      endpoints: options.endpoints,
      username: options.username,
      password: options.password,
      tls: options.tls,
      requestTimeoutMs: options.timeouts?.requestMs ?? 500,
      callTimeoutMs: this.#callTimeoutMs,
    });
  }

  async read(key: string): Promise<Register> {
    return toRegister(await this.#track(this.#read(this.#prefix + key)));
  }

  async compareAndSet(key: string, expectedVersion: number, value: unknown): Promise<CompareAndSetResult> {
    return this.#track(this.#compareAndSet(this.#prefix + key, expectedVersion, value));
  }

  /** A transaction is one request, whatever is known before. */
  expectWrite(): void {}

  watch(key: string, listener: (register: Register) => void): () => void {
    const ended = new AbortController();
    const name = this.#prefix + key;
    const run = watchRegister({
      gateway: this.#gateway,
      key: name,
      listener,
      read: () => this.#read(name),
      checkMs: this.#watchCheckMs,
      clock: this.#clock,
      signal: AbortSignal.any([this.#closing.signal, ended.signal]),
    });
    void this.#track(run);
    return () => ended.abort();
  }

  async close(): Promise<void> {
    this.#closing.abort();
    this.#gateway.close();
    await Promise.allSettled(this.#running);
  }

  async #read(name: string): Promise<StoredRegister> {
    const before = this.#seen.get(name);
    const outcome = await this.#gateway.call('/v3/kv/range', name, rangeRequest(name));
    if (outcome.kind === 'unanswered') {
      throw new LockstepError(
        'QUORUM_NOT_REACHED',
        `etcd did not answer within ${this.#callTimeoutMs} ms (${outcome.reason}). See whether a majority of its members runs and can be reached from here.`,
        { outcome: 'not-applied', retryable: true, details: { key: name, endpoints: this.#gateway.names } },
      );
    }
    const { kvs, header } = outcome.body as RangeJson;
    return this.#see(name, decodeStored(name, kvs?.[0], Number(header?.revision ?? 0)), before);
  }

  async #compareAndSet(name: string, expectedVersion: number, value: unknown): Promise<CompareAndSetResult> {
    const before = this.#seen.get(name);
    const write = { expectedVersion, value, operation: randomUUID() };
    const request = compareAndSetRequest(name, write, before?.createRevision ?? 0);
    const outcome = await this.#gateway.call('/v3/kv/txn', name, request);
    if (outcome.kind === 'unanswered') {
      return { kind: 'unknown', reason: `etcd did not answer in time (${outcome.reason})` };
    }
    const answer = outcome.body as TxnJson;
    const revision = Number(answer.header?.revision ?? 0);
    if (answer.succeeded === true) {
      const createRevision = expectedVersion === 0 ? revision : (before?.createRevision ?? 0);
      const written = { ...write, version: expectedVersion + 1, createRevision, revision };
      return { kind: 'applied', register: toRegister(this.#see(name, written, before)) };
    }
    const current = decodeStored(name, answer.responses?.[0]?.response_range?.kvs?.[0], revision);
    this.#see(name, current, before);
    switch (judgeFailedTxn(write, current, outcome.mayHaveRunBefore)) {
      case 'applied':
        return { kind: 'applied', register: toRegister(current) };
      case 'conflict':
        return { kind: 'conflict', current: toRegister(current) };
      case 'unknown':
        return { kind: 'unknown', reason: 'the write was sent before and others have written since' };
    }
  }

  /**
   * Keeps the newest. A register never goes back: one that is older than what was known `before` the
   * question was asked has lost writes that someone was told of, and so may have lost a leader.
   */
  #see(name: string, now: StoredRegister, before: StoredRegister | undefined): StoredRegister {
    const isOtherLife =
      before !== undefined &&
      before.createRevision > 0 &&
      now.createRevision > 0 &&
      now.createRevision !== before.createRevision;
    if (before !== undefined && (now.version < before.version || isOtherLife)) {
      throw new LockstepError(
        'CONFIG_INVALID',
        `The register ${name} in etcd went back from version ${before.version} to ${now.version}: it was deleted, or etcd was restored from a backup or replaced. See "A register went back" in docs/internals/etcd.md before you start the agents again.`,
        { details: { key: name, known: before.version, found: now.version } },
      );
    }
    const newest = this.#seen.get(name);
    if (newest === undefined || now.version > newest.version) this.#seen.set(name, now);
    return now;
  }

  #track<T>(task: Promise<T>): Promise<T> {
    this.#running.add(task);
    const forget = (): boolean => this.#running.delete(task);
    task.then(forget, forget);
    return task;
  }
}

function toRegister(stored: Register): Register {
  return { version: stored.version, value: stored.value };
}
