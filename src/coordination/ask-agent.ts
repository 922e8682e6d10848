import { Agent, request } from 'node:http';
import type { IncomingMessage, RequestOptions } from 'node:http';
import type { NodeId } from '../model/node.ts';
import { refusedBy, SEAL_HEADER } from './agent-seal.ts';
import type { AgentSeal } from './agent-seal.ts';

/** Acceptors are asked several times a second, over connections that stay. */
const CONNECTIONS = new Agent({ keepAlive: true });

interface Answer {
  readonly status: number;
  readonly seal: string | null;
  readonly body: string;
}

/**
 * Asks another agent. Throws CONFIG_INVALID when one side does not trust the other, else what the connection or the
 * signal says.
 */
export async function askAgent<T>(
  seal: AgentSeal,
  asked: {
    readonly to: NodeId;
    readonly url: string;
    readonly method: 'GET' | 'POST';
    readonly path: string;
    /** JSON; none with GET. */
    readonly body?: unknown;
    readonly signal: AbortSignal;
  },
): Promise<T> {
  const { to, url, method, path, signal } = asked;
  const body = asked.body === undefined ? '' : JSON.stringify(asked.body);
  const sealed = seal.seal({ to, method, path, body });
  const headers = {
    authorization: sealed.authorization,
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(body),
  };
  const answer = await exchange(`${url}${path}`, { method, headers, signal, agent: CONNECTIONS }, body);
  if (answer.status === 401) throw refusedBy(to);
  if (answer.status !== 200) throw new Error(`${path} of ${to} answered ${answer.status}`);
  sealed.checkAnswer(answer.seal, answer.body);
  return JSON.parse(answer.body) as T;
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
    response.on('data', (chunk: string) => (text += chunk));
    response.on('end', () => resolve(text));
    response.on('error', reject);
  });
}
