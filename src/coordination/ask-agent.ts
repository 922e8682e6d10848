import { Agent, request } from 'node:http';
import type { IncomingMessage, RequestOptions } from 'node:http';
import type { NodeId } from '../model/node.ts';
import { refusedBy, SEAL_HEADER } from './agent-seal.ts';
import type { AgentSeal } from './agent-seal.ts';

/** Acceptors are asked several times a second, over connections that stay. */
const CONNECTIONS = new Agent({ keepAlive: true });

/** More than any agent says. */
const MAX_ANSWER_BYTES = 4_000_000;
/** More than anyone is told without a seal. */
const MAX_UNSEALED_BYTES = 65_536;
/** A smaller piece counts as much, for each costs work: a stranger can send one byte at a time. */
const LEAST_PIECE_BYTES = 256;

export interface Asked {
  readonly to: NodeId;
  readonly url: string;
  readonly method: 'GET' | 'POST';
  readonly path: string;
  /** JSON; none with GET. */
  readonly body?: unknown;
  /** A longer answer is not listened to: whoever answers there, its seal is judged by all of it. */
  readonly maxBytes?: number;
  readonly signal: AbortSignal;
}

/** An answer that the agent that was asked has sealed, to this very request. */
export interface SealedAnswer {
  readonly status: number;
  readonly body: string;
}

interface Answer extends SealedAnswer {
  readonly seal: string | null;
}

interface Reading {
  readonly maxBytes: number;
  /** Nothing is read of an answer without a seal: its body is empty. */
  readonly isToBeSealed: boolean;
}

/**
 * Asks another agent. Throws CONFIG_INVALID when one side does not trust the other, else what the connection or the
 * signal says.
 */
export async function askAgent<T>(seal: AgentSeal, asked: Asked): Promise<T> {
  const { status, body } = await askSealed(seal, asked);
  if (status !== 200) throw new Error(`${asked.path} of ${asked.to} answered ${status}`);
  return JSON.parse(body) as T;
}

/** As {@link askAgent}, whatever the answer's status. `challenge`: see {@link AgentSeal.seal}. */
export async function askSealed(seal: AgentSeal, asked: Asked, challenge?: string): Promise<SealedAnswer> {
  const { to, url, method, path, signal } = asked;
  const body = asked.body === undefined ? '' : JSON.stringify(asked.body);
  const sealed = seal.seal({ to, method, path, body }, challenge);
  const headers = {
    authorization: sealed.authorization,
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(body),
  };
  const answer = await exchange(`${url}${path}`, { method, headers, signal, agent: CONNECTIONS }, body, {
    maxBytes: asked.maxBytes ?? MAX_ANSWER_BYTES,
    isToBeSealed: true,
  });
  if (answer.status === 401) throw refusedBy(to);
  // What a proxy or a server that is overloaded says, no agent has sealed.
  if (answer.seal === null && answer.status >= 400)
    throw new Error(`${path} of ${to} answered ${answer.status}`);
  sealed.checkAnswer(answer.seal, answer.status, answer.body);
  return answer;
}

/** What anyone is told, by whoever answers there: not to be believed. Throws what the connection or the signal says. */
export async function askUnsealed(url: string, signal: AbortSignal): Promise<string> {
  const answer = await exchange(url, { method: 'GET', signal, agent: CONNECTIONS }, '', {
    maxBytes: MAX_UNSEALED_BYTES,
    isToBeSealed: false,
  });
  if (answer.status !== 200) throw new Error(`${url} answered ${answer.status}`);
  return answer.body;
}

/** Plain http, for fetch takes more than twice the processor time, and elections wait for it. */
function exchange(url: string, options: RequestOptions, body: string, reading: Reading): Promise<Answer> {
  return new Promise((resolve, reject) => {
    // Node.js closes without a word where the other side changes the protocol, and the signal ends nothing from then on.
    const endUnanswered = (): void => reject(new Error('an end without an answer'));
    const sent = request(url, options, (response) => {
      sent.off('close', endUnanswered);
      const header = response.headers[SEAL_HEADER];
      const seal = (Array.isArray(header) ? header[0] : header) ?? null;
      const status = response.statusCode ?? 0;
      if (reading.isToBeSealed && seal === null) {
        // Of a stranger's body there may be any amount.
        response.destroy();
        resolve({ status, seal, body: '' });
      } else {
        readBody(response, reading.maxBytes).then((text) => resolve({ status, seal, body: text }), reject);
      }
    });
    // No agent says that its answer is still to come; a stranger could say it without an end.
    sent.on('information', () => sent.destroy(new Error('an answer that does not begin')));
    sent.on('error', reject);
    sent.on('close', endUnanswered);
    sent.end(body);
  });
}

function readBody(response: IncomingMessage, maxBytes: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const pieces: Buffer[] = [];
    let counted = 0;
    response.on('data', (piece: Buffer) => {
      counted += Math.max(piece.length, LEAST_PIECE_BYTES);
      if (counted > maxBytes) response.destroy(new Error('an answer without an end'));
      else pieces.push(piece);
    });
    response.on('end', () => resolve(Buffer.concat(pieces).toString('utf8')));
    response.on('error', reject);
  });
}
