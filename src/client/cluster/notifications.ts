import pg from 'pg';
import type { ClientConfig } from 'pg';
import { every } from '../../clock/every.ts';
import type { Clock } from '../../model/clock.ts';
import { LockstepError } from '../../model/errors.ts';
import type { NodeKey } from '../../model/node.ts';
import type { Leadership } from './core/leadership.ts';
import { toError } from '../../wire/hook-errors.ts';
import { noLeader } from '../app/failures.ts';
import { refuseUnknownNames } from '../app/unknown-name.ts';
import { GuardedClient } from '../../wire/guarded-client.ts';

/** One notification of `NOTIFY channel, 'payload'`. */
export interface Notification {
  readonly channel: string;
  /** Empty when none was sent. */
  readonly payload: string;
  /** The server process that sent it. */
  readonly processId: number;
}

export interface ListenOptions {
  /**
   * Called when the connection had broken and the channel is listened to again, on the same or a new leader:
   * what was sent in between is lost, since PostgreSQL keeps no notifications. Read what they were about.
   */
  readonly onGap?: ((channel: string) => void) | undefined;
  /** Whether waiting for notifications keeps the process alive. Default false. */
  readonly keepAlive?: boolean | undefined;
}

const LISTEN_OPTIONS: readonly (keyof ListenOptions)[] = ['onGap', 'keepAlive'];

/** Throws CONFIG_INVALID for a handler that is no function, which would end the process at the first notification. */
export function checkListener(handler: unknown, options: ListenOptions): void {
  refuseUnknownNames('listen()', options, LISTEN_OPTIONS);
  for (const [name, value] of Object.entries({ handler, onGap: options.onGap }))
    if (typeof value !== 'function' && !(name === 'onGap' && value === undefined))
      throw new LockstepError(
        'CONFIG_INVALID',
        `Give a function as ${name}: listen(channel, (notification) => { … }).`,
      );
}

/** What {@link LockstepPool.listen} gives. */
export interface Subscription {
  readonly channel: string;
  /** Ends it; resolves when no notification comes any more. */
  unlisten(): Promise<void>;
}

/** What {@link Notifications} works with. */
export interface NotificationParts {
  readonly leadership: () => Leadership;
  readonly describeNodes: () => Record<NodeKey, string>;
  readonly firstError: () => Error | null;
  /** How to connect to a node; null when it has left. */
  readonly configOf: (node: NodeKey) => ClientConfig | null;
  /** How long `listen` waits for a leader. */
  readonly failoverTimeoutMs: number;
  readonly heartbeatMs: number;
  readonly clock: Clock;
}

interface Subscriber extends ListenOptions {
  readonly channel: string;
  readonly handler: (notification: Notification) => void;
  isListening: boolean;
  whenListening: () => void;
}

const RETRY_MS = 50;

/** PostgreSQL cuts longer names off, and would send notifications under the shorter one. */
const MAX_CHANNEL_BYTES = 63;

/**
 * All channels of a pool over one connection to the leader, which follows it. It exists only while somebody
 * listens.
 */
export class Notifications {
  readonly #parts: NotificationParts;
  readonly #subscribers = new Set<Subscriber>();
  readonly #listened = new Set<string>();
  #client: GuardedClient | null = null;
  #connecting: GuardedClient | null = null;
  #node: NodeKey | null = null;
  #isMaintained = false;
  #isClosed = false;

  constructor(parts: NotificationParts) {
    this.#parts = parts;
  }

  /** Resolves when the leader listens. Throws NO_LEADER (not applied) when it does not in time, CONFIG_INVALID. */
  async listen(
    channel: string,
    handler: (notification: Notification) => void,
    options: ListenOptions,
  ): Promise<Subscription> {
    requireChannel(channel);
    const subscriber: Subscriber = {
      ...options,
      channel,
      handler,
      isListening: false,
      whenListening: () => undefined,
    };
    this.#subscribers.add(subscriber);
    try {
      await this.#untilListening(subscriber);
    } catch (error) {
      await this.#remove(subscriber);
      throw error;
    }
    this.#applyKeepAlive();
    return { channel, unlisten: () => this.#remove(subscriber) };
  }

  /** The node is not to be listened on any more: another one leads, or another server answers there. */
  leave(node: NodeKey): void {
    if (this.#node === node) this.#client?.connection.stream.destroy();
  }

  close(): void {
    this.#isClosed = true;
    this.#subscribers.clear();
    this.#disconnect();
  }

  #untilListening(subscriber: Subscriber): Promise<void> {
    return new Promise((resolve, reject) => {
      const { failoverTimeoutMs: waitedMs, leadership, describeNodes, firstError, clock } = this.#parts;
      const giveUp = (): void => {
        const { reason } = leadership();
        reject(noLeader({ reason, waitedMs, nodes: describeNodes(), cause: firstError() }));
      };
      const callOff = clock.after(waitedMs, giveUp, true);
      subscriber.whenListening = (): void => {
        callOff();
        resolve();
      };
      if (this.#client === null) void this.#maintain();
      else this.#listenOn(this.#client).catch(() => undefined);
    });
  }

  async #remove(subscriber: Subscriber): Promise<void> {
    if (!this.#subscribers.delete(subscriber)) return;
    this.#applyKeepAlive();
    if (this.#subscribers.size === 0) return this.#disconnect();
    const { channel } = subscriber;
    const isWanted = [...this.#subscribers].some((other) => other.channel === channel);
    if (isWanted || !this.#listened.delete(channel)) return;
    await this.#client?.query(`UNLISTEN ${pg.escapeIdentifier(channel)}`).catch(() => undefined);
  }

  /** Keeps one connection to whoever leads until nobody listens any more. */
  async #maintain(): Promise<void> {
    if (this.#isMaintained) return;
    this.#isMaintained = true;
    while (this.#subscribers.size > 0 && !this.#isClosed) {
      const node = this.#parts.leadership().leader;
      const config = node === null ? null : this.#parts.configOf(node);
      if (node !== null && config !== null) await this.#serve(node, config);
      if (this.#subscribers.size > 0) await this.#pause();
    }
    this.#isMaintained = false;
  }

  /** Listens on a node until the connection ends. */
  async #serve(node: NodeKey, config: ClientConfig): Promise<void> {
    const client = new GuardedClient({ ...config, query_timeout: this.#parts.heartbeatMs });
    const ended = new Promise<void>((resolve) => client.once('end', resolve));
    client.on('error', () => undefined);
    client.on('notification', ({ channel, payload = '', processId }) =>
      this.#deliver({ channel, payload, processId }),
    );
    const interrupted = [...this.#subscribers].filter(({ isListening }) => isListening);
    this.#listened.clear();
    this.#connecting = client;
    try {
      await client.connect().finally(() => {
        this.#connecting = null;
      });
      this.#client = client;
      this.#node = node;
      await this.#listenOn(client);
      // Connecting took time in which the leader may have changed, or the last subscriber left.
      if (this.#parts.leadership().leader !== node || this.#subscribers.size === 0) this.#disconnect();
      else this.#tellGap(interrupted);
      this.#applyKeepAlive();
      await this.#untilEnded(client, ended);
    } catch {
      client.connection.stream.destroy();
    }
    this.#client = this.#node = null;
  }

  #tellGap(interrupted: readonly Subscriber[]): void {
    for (const subscriber of interrupted) {
      const { onGap, channel } = subscriber;
      if (onGap !== undefined && this.#subscribers.has(subscriber)) queueMicrotask(() => onGap(channel));
    }
  }

  /** Listens to whatever is wanted and not listened to yet. A connection on which that fails is given up. */
  async #listenOn(client: GuardedClient): Promise<void> {
    const wanted = [...this.#subscribers].map(({ channel }) => channel);
    const missing = new Set(wanted.filter((channel) => !this.#listened.has(channel)));
    for (const channel of missing) this.#listened.add(channel);
    const statements = [...missing].map((channel) => `LISTEN ${pg.escapeIdentifier(channel)}`);
    try {
      // Also without a channel it is an answer behind every LISTEN that is on its way.
      await client.query(statements.length === 0 ? 'SELECT 1' : statements.join('; '));
    } catch (error) {
      client.connection.stream.destroy(toError(error));
      throw error;
    }
    if (this.#client !== client) return;
    for (const subscriber of this.#subscribers) {
      if (!wanted.includes(subscriber.channel)) continue;
      subscriber.isListening = true;
      subscriber.whenListening();
    }
  }

  /** Asks from time to time whether the server still answers: a connection may die without a word. */
  async #untilEnded(client: GuardedClient, ended: Promise<void>): Promise<void> {
    const { clock, heartbeatMs } = this.#parts;
    const endHeartbeat = every(clock, heartbeatMs, () => {
      client.query('SELECT 1').catch((error: unknown) => client.connection.stream.destroy(toError(error)));
    });
    await ended;
    endHeartbeat();
  }

  /** A handler that throws must not tear the connection's message apart from the next one. */
  #deliver(notification: Notification): void {
    for (const { channel, handler } of this.#subscribers) {
      if (channel === notification.channel) queueMicrotask(() => handler(notification));
    }
  }

  #applyKeepAlive(): void {
    const { stream } = this.#client?.connection ?? {};
    const isWanted = [...this.#subscribers].some(({ keepAlive }) => keepAlive === true);
    const socket = stream as { ref?: () => void; unref?: () => void } | undefined;
    if (isWanted) socket?.ref?.();
    else socket?.unref?.();
  }

  /** Unlike the clock's own sleep it keeps no process alive. */
  #pause(): Promise<void> {
    return new Promise((resolve) => void this.#parts.clock.after(RETRY_MS, resolve));
  }

  #disconnect(): void {
    this.#connecting?.connection.stream.destroy();
    const client = this.#client;
    if (client === null) return;
    client.end().catch(() => undefined);
    client.connection.stream.destroy();
  }
}

function requireChannel(channel: string): void {
  const bytes = Buffer.byteLength(channel);
  if (bytes > 0 && bytes <= MAX_CHANNEL_BYTES && !channel.includes('\0')) return;
  throw new LockstepError(
    'CONFIG_INVALID',
    `A channel's name has 1 to ${MAX_CHANNEL_BYTES} bytes, and this one ${bytes}; choose another.`,
  );
}
