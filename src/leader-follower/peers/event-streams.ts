import type { IncomingMessage, ServerResponse } from 'node:http';
import type { BoundedServer } from '../../http/bounded-server.ts';
import { formatEvent } from '../../news/event.ts';
import type { NewsSigner } from '../../news/signature.ts';
import type { ClusterEvent, Topology } from '../../model/topology.ts';
import { every } from '../../clock/every.ts';
import type { Clock } from '../../model/clock.ts';
import type { Change } from './news.ts';

const KEEPALIVE_MS = 5_000;
const FIRST_MAX_AGE_MS = 100;
/** A reader that stalls must not grow the agent; it finds everything again when it reconnects. */
const UNSENT_LIMIT_BYTES = 1_000_000;

/** What event streams tell. */
export interface NewsSource {
  topology(): Topology;
  events(): readonly ClusterEvent[];
  subscribe(listener: (change: Change) => void): () => void;
}

/**
 * The streams of `GET /v1/events`: the topology, the events so far, and then each change. Whatever is told is put into
 * words and signed once, however many listen.
 */
export class EventStreams {
  readonly #source: NewsSource;
  readonly #signer: NewsSigner;
  readonly #server: Pick<BoundedServer, 'openStream'>;
  readonly #open = new Set<ServerResponse>();
  readonly #said = new WeakMap<object, string>();
  #first: { readonly text: string; readonly atMs: number } | null = null;
  readonly #clock: Clock;
  readonly #endKeepalive: () => void;
  readonly #unsubscribe: () => void;

  constructor(
    source: NewsSource,
    signer: NewsSigner,
    server: Pick<BoundedServer, 'openStream'>,
    clock: Clock,
  ) {
    this.#source = source;
    this.#signer = signer;
    this.#server = server;
    this.#clock = clock;
    this.#unsubscribe = source.subscribe((change) => {
      if (this.#open.size === 0) return;
      this.#tellAll(
        'topology' in change ? this.#say('topology', change.topology) : this.#say('event', change.event),
      );
    });
    this.#endKeepalive = every(clock, KEEPALIVE_MS, () => this.#tellAll(': keepalive\n\n'));
  }

  serve(request: IncomingMessage, response: ServerResponse): void {
    if (!this.#server.openStream(request, response)) {
      response.writeHead(503, { connection: 'close', 'retry-after': '5' }).end();
      return;
    }
    response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-cache' });
    this.#open.add(response);
    response.once('close', () => this.#open.delete(response));
    const past = this.#source.events().map((event) => this.#say('event', event));
    response.write([this.#sayTopology(), ...past].join(''));
  }

  close(): void {
    this.#endKeepalive();
    this.#unsubscribe();
    for (const response of this.#open) response.destroy();
  }

  /** Connections may come as fast as somebody likes; what they are told first is at most this old. */
  #sayTopology(): string {
    const nowMs = this.#clock.nowMs();
    if (this.#first === null || nowMs - this.#first.atMs > FIRST_MAX_AGE_MS)
      this.#first = { text: this.#say('topology', this.#source.topology()), atMs: nowMs };
    return this.#first.text;
  }

  #say(event: 'topology' | 'event', value: object): string {
    const said = this.#said.get(value);
    if (said !== undefined) return said;
    const data = JSON.stringify(value);
    const text = formatEvent({ event, data, signature: this.#signer.sign(event, data) });
    this.#said.set(value, text);
    return text;
  }

  #tellAll(text: string): void {
    for (const response of this.#open) {
      if (response.writableLength > UNSENT_LIMIT_BYTES) response.destroy();
      else response.write(text);
    }
  }
}
