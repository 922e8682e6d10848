import type { Clock } from '../../model/clock.ts';
import { setMaxListeners } from 'node:events';
import { readFile } from 'node:fs/promises';
import { Agent as HttpAgent, request as httpRequest } from 'node:http';
import type { ClientRequest, IncomingMessage } from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';
import { LockstepError } from '../../model/errors.ts';

/** PEM files. They are read again when connections fail, so that renewed certificates need no restart. */
export interface EtcdTlsFiles {
  /** Who signed the members' certificates; without it, the authorities that Node.js knows. */
  readonly ca?: string | undefined;
  /** This client's certificate and its key, both or none. */
  readonly cert?: string | undefined;
  readonly key?: string | undefined;
}

/** `unsent`: the member got nothing of it. `broken`: it may have got all of it, and there is no whole answer. */
export type HttpOutcome =
  | { readonly kind: 'answer'; readonly status: number; readonly text: string }
  | { readonly kind: 'unsent'; readonly reason: string }
  | { readonly kind: 'broken'; readonly reason: string; readonly isTimeout: boolean };

export interface HttpPost {
  /** Scheme, host and port. */
  readonly endpoint: string;
  readonly path: string;
  readonly body: object;
  readonly token: string | null;
  readonly timeoutMs: number;
}

/** Far above etcd's own limit for a request (1.5 MiB by default). */
const MAX_ANSWER_BYTES = 8 * 1_048_576;

/** JSON over HTTP(S) to etcd's members on kept connections. Host names are looked up for each new connection. */
export class EtcdHttp {
  readonly #tls: EtcdTlsFiles;
  readonly #clock: Clock;
  readonly #plain = new HttpAgent({ keepAlive: true, keepAliveMsecs: 1_000 });
  readonly #closing = new AbortController();
  #secure: HttpsAgent | null = null;
  #secureContent = '';
  #isSecureStale = true;

  constructor(tls: EtcdTlsFiles, clock: Clock) {
    this.#clock = clock;
    this.#tls = tls;
    // One listener for each request under way.
    setMaxListeners(0, this.#closing.signal);
  }

  /** Sends and waits for the whole answer. Throws CONFIG_INVALID when a TLS file cannot be read at the start. */
  async post(post: HttpPost): Promise<HttpOutcome> {
    const agent = await this.#agentFor(post.endpoint);
    const outcome = await new Promise<HttpOutcome>((resolve) => {
      const sending = this.#send(post, agent);
      const { request } = sending;
      const callOff = this.#clock.after(post.timeoutMs, () =>
        request.destroy(new TimeoutError(post.timeoutMs)),
      );
      const end = (result: HttpOutcome): void => {
        callOff();
        resolve(result);
      };
      const fail = (error: Error): void => end(sending.failure(error));
      request.on('error', fail);
      const callOffEnd = onUnansweredEnd(request, fail);
      request.on('response', (response) => {
        callOffEnd();
        collect(response).then(
          (text) => end({ kind: 'answer', status: response.statusCode ?? 0, text }),
          (error: Error) => {
            request.destroy();
            fail(error);
          },
        );
      });
    });
    if (outcome.kind === 'unsent') this.#isSecureStale = true;
    return outcome;
  }

  /**
   * Sends and hands every line of the answer to `onLine`, until it ends, breaks, or `signal` is aborted.
   * The answer must begin within `timeoutMs`. Resolves with the reason of the end.
   */
  async stream(post: HttpPost, onLine: (line: string) => void, signal: AbortSignal): Promise<string> {
    const agent = await this.#agentFor(post.endpoint);
    return new Promise((resolve) => {
      const { request } = this.#send(post, agent, signal);
      const callOff = this.#clock.after(post.timeoutMs, () =>
        request.destroy(new TimeoutError(post.timeoutMs)),
      );
      const end = (reason: string): void => {
        callOff();
        resolve(reason);
        request.destroy();
      };
      request.on('error', (error) => {
        this.#isSecureStale = true;
        end(describe(error));
      });
      const callOffEnd = onUnansweredEnd(request, (error) => end(describe(error)));
      request.on('response', (response) => {
        callOff();
        callOffEnd();
        let rest = '';
        response.setEncoding('utf8');
        response.on('data', (chunk: string) => {
          const lines = (rest + chunk).split('\n');
          rest = lines.pop() ?? '';
          for (const line of lines) if (line.trim() !== '' && !signal.aborted) onLine(line);
          if (rest.length <= MAX_ANSWER_BYTES) return;
          rest = '';
          end(`a line of more than ${MAX_ANSWER_BYTES} bytes`);
        });
        response.on('error', (error) => end(describe(error)));
        response.on('close', () => {
          if (rest.trim() !== '' && !signal.aborted) onLine(rest);
          end('the stream ended');
        });
      });
    });
  }

  /** Breaks everything under way. */
  close(): void {
    this.#closing.abort();
    this.#plain.destroy();
    this.#secure?.destroy();
  }

  #send(
    post: HttpPost,
    agent: HttpAgent | HttpsAgent,
    signal?: AbortSignal,
  ): { readonly request: ClientRequest; failure(error: Error): HttpOutcome } {
    const body = JSON.stringify(post.body);
    const isSecure = post.endpoint.startsWith('https:');
    const request = (isSecure ? httpsRequest : httpRequest)(`${post.endpoint}${post.path}`, {
      method: 'POST',
      agent,
      signal: signal === undefined ? this.#closing.signal : AbortSignal.any([this.#closing.signal, signal]),
      headers: {
        'content-type': 'application/json',
        'content-length': Buffer.byteLength(body),
        ...(post.token === null ? {} : { authorization: post.token }),
      },
    });
    let isSent = false;
    request.on('socket', (socket) => {
      if (request.reusedSocket) isSent = true;
      // Nothing is written before the connection stands, and with TLS not before its handshake.
      else socket.once(isSecure ? 'secureConnect' : 'connect', () => (isSent = true));
    });
    request.end(body);
    return {
      request,
      failure: (error) => {
        const isRefusedByTls = /^ERR_SSL_.*ALERT/.test((error as NodeJS.ErrnoException).code ?? '');
        const reason = describe(error);
        if (!isSent || isRefusedByTls) return { kind: 'unsent', reason };
        return { kind: 'broken', reason, isTimeout: error instanceof TimeoutError };
      },
    };
  }

  async #agentFor(endpoint: string): Promise<HttpAgent | HttpsAgent> {
    if (!endpoint.startsWith('https:')) return this.#plain;
    if (this.#secure !== null && !this.#isSecureStale) return this.#secure;
    this.#isSecureStale = false;
    const { ca, cert, key } = this.#tls;
    let files: (string | undefined)[];
    try {
      files = await Promise.all([ca, cert, key].map((path) => readPem(path)));
    } catch (error) {
      if (this.#secure !== null) return this.#secure;
      this.#isSecureStale = true;
      throw error;
    }
    const content = JSON.stringify(files);
    if (this.#secure !== null && content === this.#secureContent) return this.#secure;
    this.#secure?.destroy();
    this.#secureContent = content;
    const [caPem, certPem, keyPem] = files;
    this.#secure = new HttpsAgent({
      keepAlive: true,
      keepAliveMsecs: 1_000,
      minVersion: 'TLSv1.2',
      ...(caPem === undefined ? {} : { ca: caPem }),
      ...(certPem === undefined ? {} : { cert: certPem }),
      ...(keyPem === undefined ? {} : { key: keyPem }),
    });
    return this.#secure;
  }
}

/** Node.js closes without a word where the other side changes the protocol, and a time limit ends nothing from then on. */
function onUnansweredEnd(request: ClientRequest, fail: (error: Error) => void): () => void {
  const onClose = (): void => fail(new Error('an end without an answer'));
  request.on('close', onClose);
  return () => void request.off('close', onClose);
}

class TimeoutError extends Error {
  constructor(timeoutMs: number) {
    super(`no answer within ${Math.ceil(timeoutMs)} ms`);
  }
}

async function readPem(path: string | undefined): Promise<string | undefined> {
  if (path === undefined) return undefined;
  return readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    throw new LockstepError(
      'CONFIG_INVALID',
      `The TLS file ${path} for etcd cannot be read (${error.code}). Correct "coordination.tls" in cluster.json.`,
      { details: { path } },
    );
  });
}

async function collect(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > MAX_ANSWER_BYTES) throw new Error(`an answer of more than ${MAX_ANSWER_BYTES} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

/** Several addresses of one name fail together as an error without a text of its own. */
function describe(error: Error): string {
  if (error instanceof AggregateError) {
    return error.errors.map((each: unknown) => (each as Error).message).join(', ') || error.message;
  }
  return error.message || ((error as NodeJS.ErrnoException).code ?? 'failed');
}
