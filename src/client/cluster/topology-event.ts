import { request as requestHttp } from 'node:http';
import type { ClientRequest, IncomingMessage } from 'node:http';
import { request as requestHttps } from 'node:https';
import type { Clock } from '../../model/clock.ts';
import type { NodeTopology, Topology } from '../../model/topology.ts';
import { parseEvent } from '../../news/event.ts';
import type { NewsVerifier } from '../../news/signature.ts';

const FIRST_RETRY_MS = 100;
const LONGEST_RETRY_MS = 2000;

/** Three times the agents' keep-alive: a feed that says nothing for so long would not bring news either. */
const SILENCE_MS = 15_000;

/** An event that never ends is not an agent's. */
const MAX_EVENT_CHARACTERS = 1_000_000;

/**
 * One agent's `topology` events (`GET /v1/events`, server-sent events), reconnecting for as long as it is
 * open. Only what the agent signed counts: whoever took its port is not heard. It does not keep the process alive.
 */
export class AgentFeed {
  readonly #url: URL;
  readonly #verify: NewsVerifier;
  readonly #listener: (topology: Topology) => boolean;
  #request: ClientRequest | null = null;
  readonly #clock: Clock;
  #callOffRetry: (() => void) | null = null;
  #retryMs: number = FIRST_RETRY_MS;
  #isClosed = false;
  #hasHeard = false;

  /** `listener` tells whether the topology is one of the cluster that is listened to. */
  constructor(
    agentUrl: string,
    verify: NewsVerifier,
    clock: Clock,
    listener: (topology: Topology) => boolean,
  ) {
    this.#clock = clock;
    this.#url = new URL('/v1/events', agentUrl);
    this.#verify = verify;
    this.#listener = listener;
    this.#connect();
  }

  /** Whether the agent is connected and has told its topology under its signature. */
  get isLive(): boolean {
    return this.#hasHeard;
  }

  close(): void {
    this.#isClosed = true;
    this.#callOffRetry?.();
    this.#request?.destroy();
  }

  #connect(): void {
    const open = this.#url.protocol === 'https:' ? requestHttps : requestHttp;
    const request = open(this.#url, { headers: { accept: 'text/event-stream' }, agent: false });
    this.#request = request;
    request.on('socket', (socket) => socket.unref());
    request.on('response', (response) => this.#read(response));
    request.setTimeout(SILENCE_MS, () => request.destroy());
    request.on('error', () => undefined);
    request.on('close', () => this.#retry());
    request.end();
  }

  #read(response: IncomingMessage): void {
    if (response.statusCode !== 200) {
      response.destroy();
      return;
    }
    let buffered = '';
    response.setEncoding('utf8');
    response.on('error', () => undefined);
    response.on('data', (chunk: string) => {
      const events = (buffered + chunk).split(/\r?\n\r?\n/);
      buffered = events.pop() ?? '';
      for (const event of events) this.#handleEvent(event);
      if (buffered.length > MAX_EVENT_CHARACTERS) response.destroy();
    });
  }

  #handleEvent(text: string): void {
    const topology = parseTopologyEvent(text, this.#verify);
    if (topology === null || !this.#listener(topology)) return;
    this.#hasHeard = true;
    this.#retryMs = FIRST_RETRY_MS;
  }

  #retry(): void {
    this.#hasHeard = false;
    if (this.#isClosed) return;
    this.#callOffRetry = this.#clock.after(this.#retryMs, () => this.#connect());
    this.#retryMs = Math.min(this.#retryMs * 2, LONGEST_RETRY_MS);
  }
}

/** The topology that one server-sent event carries; null for other events, and for what is not one or not signed. */
export function parseTopologyEvent(text: string, verify: NewsVerifier): Topology | null {
  const { event, data, signature } = parseEvent(text.split(/\r?\n/));
  if (event !== 'topology' || !verify(event, data, signature)) return null;
  try {
    const value: unknown = JSON.parse(data);
    return isTopology(value) ? value : null;
  } catch {
    return null;
  }
}

function isTopology(value: unknown): value is Topology {
  if (typeof value !== 'object' || value === null) return false;
  const { term, version, nodes } = value as Partial<Topology>;
  return (
    typeof term === 'number' && typeof version === 'number' && Array.isArray(nodes) && nodes.every(isNode)
  );
}

function isNode(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false;
  const { name, host, port, agentUrl } = value as Partial<NodeTopology>;
  return [name, host, agentUrl].every((text) => typeof text === 'string') && typeof port === 'number';
}
