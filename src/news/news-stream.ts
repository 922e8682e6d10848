import { request as requestHttp } from 'node:http';
import type { ClientRequest, IncomingMessage } from 'node:http';
import { request as requestHttps } from 'node:https';
import type { Clock } from '../model/clock.ts';
import { nextBackoffMs } from './core/backoff.ts';
import { EventBudget } from './core/event-budget.ts';
import { EventReader } from './event.ts';
import type { SignedEvent } from './event.ts';
import type { NewsVerifier } from './signature.ts';

const CONNECT_TIMEOUT_MS = 2000;

/** Three times the agents' keep-alive: a stream that says nothing for so long would not bring news either. */
const SILENCE_MS = 15_000;

/** An event that never ends is not an agent's: theirs have some 500 characters for each node. */
const MAX_EVENT_CHARACTERS = 250_000;

/** Whether an agent can be asked there: what others tell may be anything. */
export function isAgentUrl(text: string): boolean {
  return URL.canParse(text) && /^https?:$/.test(new URL(text).protocol);
}

export interface NewsStreamOptions {
  /** See {@link isAgentUrl}. */
  readonly agentUrl: string;
  /** Whether an agent of the cluster said it: whoever took its port is not heard. */
  readonly verify: NewsVerifier;
  readonly clock: Clock;
  /** Told of each event that is signed; whether it was understood. */
  onEvent(event: SignedEvent): boolean;
  /** An event was not understood, or not signed, which ends the connection. */
  onSkipped?(event: string): void;
  /** A connection ended, or could not be made. */
  onLost?(): void;
}

/**
 * One agent's events (`GET /v1/events`), for as long as it is open: it connects again at once after a stream that brought
 * something, then ever slower. It keeps no process alive. Whoever took the agent's port is left at the first event that is
 * not signed; what the agent said once, which anybody can say again, is read no faster than agents speak.
 */
export class NewsStream {
  readonly #url: URL;
  readonly #options: NewsStreamOptions;
  readonly #budget: EventBudget;
  #request: ClientRequest | null = null;
  #callOff: (() => void) | null = null;
  #failures = 0;
  #hasHeard = false;
  /** Who answers there is no agent of the cluster. */
  #isForged = false;
  #isClosed = false;

  constructor(options: NewsStreamOptions) {
    this.#url = new URL('/v1/events', options.agentUrl);
    this.#options = options;
    this.#budget = new EventBudget(options.clock.nowMs());
    this.#connect();
  }

  /** Whether the agent is connected and has said something under its signature. */
  get isLive(): boolean {
    return this.#hasHeard;
  }

  close(): void {
    this.#isClosed = true;
    this.#callOff?.();
    this.#request?.destroy();
  }

  #connect(): void {
    const open = this.#url.protocol === 'https:' ? requestHttps : requestHttp;
    const request = open(this.#url, { headers: { accept: 'text/event-stream' }, agent: false });
    this.#request = request;
    this.#expectWithin(CONNECT_TIMEOUT_MS);
    request.on('socket', (socket) => socket.unref());
    request.on('response', (response) => this.#read(response));
    // No agent says that its answer is still to come; a stranger could say it without an end.
    request.on('information', () => request.destroy());
    // Refused, reset or silent: all mean the same here.
    request.on('error', () => undefined);
    request.on('close', () => this.#retry());
    request.end();
  }

  /** Ends the connection unless it says something in time. */
  #expectWithin(ms: number): void {
    this.#callOff?.();
    this.#callOff = this.#options.clock.after(ms, () => this.#request?.destroy());
  }

  #read(response: IncomingMessage): void {
    if (response.statusCode !== 200) {
      response.destroy();
      return;
    }
    const reader = new EventReader();
    this.#expectWithin(SILENCE_MS);
    response.setEncoding('utf8');
    response.on('error', () => undefined);
    response.on('data', (chunk: string) => {
      this.#expectWithin(SILENCE_MS);
      const events = reader.read(chunk);
      this.#isForged =
        !events.every((event) => this.#hear(event)) || reader.pendingLength > MAX_EVENT_CHARACTERS;
      if (this.#isForged) response.destroy();
      else this.#slowDown(response, events.length);
    });
  }

  #slowDown(response: IncomingMessage, events: number): void {
    const { clock } = this.#options;
    const pauseMs = this.#budget.spend(events, clock.nowMs());
    if (pauseMs === 0) return;
    response.pause();
    clock.after(pauseMs, () => response.resume());
  }

  /** Whether it is signed: nothing behind one that is not is looked at. */
  #hear(event: SignedEvent): boolean {
    if (this.#isClosed) return false;
    const { verify, onEvent, onSkipped } = this.#options;
    const isSigned = verify(event.event, event.data, event.signature);
    if (isSigned && onEvent(event)) this.#hasHeard = true;
    else onSkipped?.(event.event);
    return isSigned;
  }

  #retry(): void {
    this.#callOff?.();
    this.#failures = this.#hasHeard && !this.#isForged ? 0 : this.#failures + 1;
    this.#hasHeard = false;
    this.#isForged = false;
    if (this.#isClosed) return;
    this.#options.onLost?.();
    const pauseMs = nextBackoffMs(this.#failures, Math.random());
    this.#callOff = this.#options.clock.after(pauseMs, () => this.#connect());
  }
}
