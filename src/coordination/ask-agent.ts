import { Agent, request } from 'node:http';
import type { IncomingMessage, RequestOptions } from 'node:http';
import type { NodeId } from '../model/node.ts';
import { refusedBy, SEAL_HEADER } from './agent-seal.ts';
import type { AgentSeal } from './agent-seal.ts';

/** Acceptors are asked several times a second, over connections that stay. */
const CONNECTIONS = new Agent({ keepAlive: true });

/** More than any agent says. */
const MAX_ANSWER_CHARACTERS = 4_000_000;

export interface Asked {
  readonly to: NodeId;
  readonly url: string;
  readonly method: 'GET' | 'POST';
  readonly path: string;
  /** JSON; none with GET. */
  readonly body?: unknown;
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
  const answer = await exchange(`${url}${path}`, { method, headers, signal, agent: CONNECTIONS }, body);
  if (answer.status === 401) throw refusedBy(to);
  // What a proxy or a server that is overloaded says, no agent has sealed.
  if (answer.seal === null && answer.status >= 400)
    throw new Error(`${path} of ${to} answered ${answer.status}`);
  sealed.checkAnswer(answer.seal, answer.status, answer.body);
  return answer;
}

/** What anyone is told, by whoever answers there: not to be believed. Throws what the connection or the signal says. */
export async function askUnsealed(url: string, signal: AbortSignal): Promise<string> {
  const answer = await exchange(url, { method: 'GET', signal, agent: CONNECTIONS }, '');
  if (answer.status !== 200) throw new Error(`${url} answered ${answer.status}`);
  return answer.body;
}

/** Plain http, for fetch takes more than twice the processor time, and elections wait for it. */
function exchange(url: string, options: RequestOptions, body: string): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const sent = request(url, options, (response) => {
      readBody(response).then((text) => {
        const seal = response.headers[SEAL_HEADER];
        resolve({
          status: response.statusCode ?? 0,
          seal: (Array.isArray(seal) ? seal[0] : seal) ?? null,
          body: text,
        });
      }, reject);
    });
    sent.on('error', reject);
    sent.end(body);
  });
}

function readBody(response: IncomingMessage): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = '';
    response.setEncoding('utf8');
    response.on('data', (chunk: string) => {
      text += chunk;
      if (text.length > MAX_ANSWER_CHARACTERS) response.destroy(new Error('an answer without an end'));
    });
    response.on('end', () => resolve(text));
    response.on('error', reject);
  });
}
