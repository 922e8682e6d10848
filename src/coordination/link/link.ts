import { request } from 'node:http';
import type { Socket } from 'node:net';
import { StringDecoder } from 'node:string_decoder';
import { refusedBy, SEAL_HEADER } from '../agent-seal.ts';
import type { AgentSeal, LineSeal } from '../agent-seal.ts';
import { every } from '../../clock/every.ts';
import type { Clock } from '../../model/clock.ts';
import { LockstepError } from '../../model/errors.ts';
import { LineReader } from '../../model/line-reader.ts';
import type { NodeId } from '../../model/node.ts';

/**
 * Agents keep a connection open to each other: an upgraded HTTP connection of lines of JSON. Who opened it
 * sends pings; the other answers them and tells its status, at once when it changes. One small write each,
 * because they are sent many times a second. The two prove to each other who they are when it is opened, and
 * each line carries a code of its own. What a ping and a status say is for those to know who use the link.
 */
export const LINK_PATH = '/v1/link';
export const LINK_PROTOCOL = 'lockstep-link';

/** An unchanged status is told again this often. */
export const STATUS_INTERVAL_MS = 250;
const CONNECT_TIMEOUT_MS = 700;
const RECONNECT_MS = 200;
/** Nothing heard for this long: the connection is dead, whatever TCP believes. */
const SILENT_AFTER_MS = 1_200;
const UNSENT_LIMIT_BYTES = 256_000;
const LINE_LIMIT_BYTES = 1_000_000;

/** From who opened the link. `ping` is null when only the time of the round trip is asked for. */
export interface LinkRequest<Ping> {
  readonly id: number;
  readonly ping: Ping | null;
}

/** From the other side. */
export type LinkMessage<Status> =
  | { readonly kind: 'pong'; readonly id: number; readonly supports: boolean }
  | { readonly kind: 'status'; readonly status: Status };

/** Calls `onLine` for each line that the other side sealed, and destroys a connection with something else. */
export function readLines(socket: Socket, seal: LineSeal, onLine: (value: unknown) => void): void {
  const reader = new LineReader();
  // HTTP's sockets refuse setEncoding.
  const decoder = new StringDecoder('utf8');
  socket.on('data', (chunk: Buffer) => {
    const lines = reader.read(decoder.write(chunk));
    if (reader.pendingLength > LINE_LIMIT_BYTES) socket.destroy();
    try {
      for (const line of lines) onLine(JSON.parse(seal.open(line)));
    } catch {
      socket.destroy();
    }
  });
}

/** Sends one line. A reader that stalls is given up before it grows this process. */
export function writeLine(socket: Socket, seal: LineSeal, value: object): void {
  if (!socket.writable) return;
  if (socket.writableLength > UNSENT_LIMIT_BYTES) socket.destroy();
  else socket.write(`${seal.seal(JSON.stringify(value))}\n`);
}

/** Who is at the other end, and where. */
export interface LinkTarget {
  readonly name: NodeId;
  readonly host: string;
  readonly agentPort: number;
}

interface OpenLink {
  readonly socket: Socket;
  readonly lines: LineSeal;
}

/** What a {@link SealedLink} tells. */
export interface LinkListener<Status> {
  onStatus(status: Status): void;
  /** An answer to the ping that was sent at `sentAtMs`. */
  onPong(supports: boolean, sentAtMs: number): void;
  /** This node and who answers at the peer's address do not trust each other. */
  onDistrust(reason: string): void;
}

/** The link to one other agent; it connects again for as long as it is not closed. */
export class SealedLink<Ping, Status> {
  readonly #node: LinkTarget;
  readonly #seal: AgentSeal;
  readonly #clock: Clock;
  readonly #listener: LinkListener<Status>;
  readonly #closing = new AbortController();
  readonly #sentAtMs = new Map<number, number>();
  #link: OpenLink | null = null;
  #nextId = 1;
  #roundTripMs: number | null = null;
  #distrust: string | null = null;

  constructor(node: LinkTarget, seal: AgentSeal, clock: Clock, listener: LinkListener<Status>) {
    this.#node = node;
    this.#seal = seal;
    this.#clock = clock;
    this.#listener = listener;
    void this.#run();
  }

  /** Smoothed; null before the first answer. */
  get roundTripMs(): number | null {
    return this.#roundTripMs;
  }

  /** Why this node and who answers at the peer's address did not trust each other when the link was last tried; else null. */
  get distrust(): string | null {
    return this.#distrust;
  }

  send(ping: Ping | null): void {
    if (this.#link === null) return;
    const id = this.#nextId++;
    this.#sentAtMs.set(id, this.#clock.nowMs());
    const request: LinkRequest<Ping> = { id, ping };
    writeLine(this.#link.socket, this.#link.lines, request);
  }

  close(): void {
    this.#closing.abort();
    this.#link?.socket.destroy();
  }

  async #run(): Promise<void> {
    while (!this.#closing.signal.aborted) {
      const link = await this.#connect().catch((error: unknown) => {
        this.#distrust = error instanceof LockstepError ? error.message : null;
        if (this.#distrust !== null) this.#listener.onDistrust(this.#distrust);
        return null;
      });
      if (link !== null) this.#distrust = null;
      if (link !== null) await this.#serve(link);
      await this.#clock.sleep(RECONNECT_MS, this.#closing.signal);
    }
  }

  #connect(): Promise<OpenLink> {
    const { name, host, agentPort } = this.#node;
    const sealed = this.#seal.seal({ to: name, method: 'GET', path: LINK_PATH, body: '' });
    return new Promise((resolve, reject) => {
      const asked = request({
        host,
        port: agentPort,
        path: LINK_PATH,
        agent: false,
        headers: { authorization: sealed.authorization, connection: 'upgrade', upgrade: LINK_PROTOCOL },
        signal: AbortSignal.any([AbortSignal.timeout(CONNECT_TIMEOUT_MS), this.#closing.signal]),
      });
      asked.on('upgrade', (response, socket, head) => {
        socket.on('error', () => undefined);
        try {
          const header = response.headers[SEAL_HEADER];
          const lines = sealed.acceptLink(Array.isArray(header) ? header[0] : header);
          socket.unshift(head);
          resolve({ socket, lines });
        } catch (error) {
          socket.destroy();
          reject(error);
        }
      });
      asked.on('response', (response) => {
        // Of a stranger's body there may be any amount.
        response.destroy();
        const isRefused = response.statusCode === 401;
        reject(
          isRefused ? refusedBy(name) : new Error(`the agent of ${name} answered ${response.statusCode}`),
        );
      });
      // No agent says that its answer is still to come; a stranger could say it without an end.
      asked.on('information', () => asked.destroy(new Error('an answer that does not begin')));
      asked.on('error', reject);
      asked.end();
    });
  }

  /** Until the connection ends. */
  #serve(link: OpenLink): Promise<void> {
    const { socket, lines } = link;
    socket.setNoDelay(true);
    this.#sentAtMs.clear();
    this.#link = link;
    let heardAtMs = this.#clock.nowMs();
    readLines(socket, lines, (value) => {
      heardAtMs = this.#clock.nowMs();
      this.#hear(value as LinkMessage<Status>, heardAtMs);
    });
    return new Promise((resolve) => {
      const endWatch = every(this.#clock, STATUS_INTERVAL_MS, () => {
        if (this.#clock.nowMs() - heardAtMs > SILENT_AFTER_MS) socket.destroy();
        else if (this.#sentAtMs.size === 0) this.send(null);
      });
      socket.once('close', () => {
        endWatch();
        this.#link = null;
        resolve();
      });
    });
  }

  #hear(message: LinkMessage<Status>, nowMs: number): void {
    if (message.kind === 'status') return this.#listener.onStatus(message.status);
    const sentAtMs = this.#sentAtMs.get(message.id);
    if (sentAtMs === undefined) return;
    // Answers come in order, so older ones are no longer waited for.
    for (const id of this.#sentAtMs.keys()) {
      if (id > message.id) break;
      this.#sentAtMs.delete(id);
    }
    const tookMs = nowMs - sentAtMs;
    this.#roundTripMs = this.#roundTripMs === null ? tookMs : this.#roundTripMs * 0.9 + tookMs * 0.1;
    this.#listener.onPong(message.supports, sentAtMs);
  }
}
