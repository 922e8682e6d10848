import type { Clock } from '../../model/clock.ts';
import { LockstepError } from '../../model/errors.ts';
import { encodeBytes, isTokenTrouble, parseObject, readError } from './core/etcd-answers.ts';
import type { EtcdError, HeaderJson } from './core/etcd-answers.ts';
import { EtcdHttp } from './etcd-http.ts';
import type { EtcdTlsFiles, HttpOutcome } from './etcd-http.ts';

export interface EtcdGatewayOptions {
  readonly clock: Clock;
  readonly endpoints: readonly string[];
  readonly username?: string | undefined;
  readonly password?: string | undefined;
  readonly tls?: EtcdTlsFiles | undefined;
  /** How long one member may take to answer. */
  readonly requestTimeoutMs: number;
  /** How long one call may take over all its attempts. */
  readonly callTimeoutMs: number;
}

/** `mayHaveRun`: an attempt of this call was sent and not answered, so that etcd may run it still. */
export type GatewayOutcome =
  | { readonly kind: 'answered'; readonly body: unknown; readonly mayHaveRunBefore: boolean }
  | { readonly kind: 'unanswered'; readonly reason: string };

type Attempt =
  | { readonly kind: 'answered'; readonly body: unknown }
  | { readonly kind: 'failed'; readonly reason: string; readonly mayHaveRun: boolean }
  /** The same member answers once it gets a new token. */
  | { readonly kind: 'token-refused'; readonly reason: string }
  | { readonly kind: 'refused'; readonly reason: string };

/** Between two rounds over all members. */
const FIRST_PAUSE_MS = 20;
const LONGEST_PAUSE_MS = 150;

/**
 * Calls etcd through whichever member answers, and stays with it. It renews the token when etcd no longer
 * takes it, and holds all members to one etcd cluster.
 */
export class EtcdGateway {
  readonly #options: EtcdGatewayOptions;
  readonly #http: EtcdHttp;
  readonly #closing = new AbortController();
  #preferred = 0;
  /** Null before the first authentication, and after etcd refused the token. */
  #token: Promise<string | null> | null = null;
  /** The token in use, to tell it from one that was refused and replaced since. */
  #tokenInUse: string | null | undefined = undefined;
  /** Why a member gave no token: known to a call that ends before all members were asked. */
  #tokenTrouble = '';
  #cluster: { readonly id: string; readonly endpoint: string } | null = null;
  readonly #verified = new Set<string>();
  #firstLook: Promise<void> | null = null;
  #hasWorked = false;

  constructor(options: EtcdGatewayOptions) {
    this.#options = options;
    this.#http = new EtcdHttp(options.tls ?? {}, options.clock);
  }

  get isClosed(): boolean {
    return this.#closing.signal.aborted;
  }

  /** The members, for error texts. */
  get names(): string {
    return this.#options.endpoints.join(', ');
  }

  /**
   * Sends `body` until a member answers or the time is over; `body` must bear being run twice, and only
   * touch `key`. Throws CONFIG_INVALID when etcd refuses it and never took anything before (a wrong
   * password is seen at the start), or when the members do not form one cluster.
   */
  async call(path: string, key: string, body: object): Promise<GatewayOutcome> {
    const deadline = this.#options.clock.nowMs() + this.#options.callTimeoutMs;
    const reasons = new Map<string, string>();
    let mayHaveRun = false;
    await this.#lookAtAll(key, deadline);
    for (let attempt = 1, tokens = 0; !this.isClosed; attempt++) {
      const leftMs = deadline - this.#options.clock.nowMs();
      if (leftMs < 1) break;
      const endpoint = this.#endpoint();
      const result = await this.#attempt(endpoint, path, key, body, deadline);
      if (result.kind === 'answered') {
        this.#hasWorked = true;
        return { kind: 'answered', body: result.body, mayHaveRunBefore: mayHaveRun };
      }
      // The last attempt may have been cut short: what came before it says more.
      if (this.#options.clock.nowMs() < deadline || !reasons.has(endpoint))
        reasons.set(endpoint, result.reason);
      if (result.kind === 'refused' && !this.#hasWorked) throw this.#refusal(endpoint, result.reason);
      if (result.kind === 'failed') mayHaveRun ||= result.mayHaveRun;
      // A token that ran out says nothing against the member.
      if (result.kind === 'token-refused' && tokens++ === 0) continue;
      this.#leave(endpoint);
      await this.#pause(attempt, deadline);
    }
    const what = [...reasons].map(([endpoint, reason]) => `${endpoint}: ${reason}`).join('; ');
    return { kind: 'unanswered', reason: this.isClosed ? 'coordination was closed' : what };
  }

  /**
   * Opens a stream at the preferred member and hands on the `result` of each message. Resolves with the
   * reason when it ends; the next one tries another member if this one did not answer.
   */
  async stream(
    path: string,
    body: object,
    onResult: (result: unknown) => void,
    signal: AbortSignal,
  ): Promise<string> {
    const endpoint = this.#endpoint();
    const { requestTimeoutMs } = this.#options;
    const token = await this.#currentToken(this.#options.clock.nowMs() + this.#options.callTimeoutMs);
    if (token.kind !== 'token') {
      this.#leave(endpoint);
      return token.reason;
    }
    let refused: string | null = null;
    let count = 0;
    const onLine = (line: string): void => {
      const result = parseObject(line)?.['result'] as { cancel_reason?: string } | undefined;
      if (result === undefined) {
        refused ??= readError(0, line).message;
        return;
      }
      count++;
      if (isTokenTrouble(result.cancel_reason ?? '')) this.#dropToken(token.value);
      onResult(result);
    };
    const post = { endpoint, path, body, token: token.value, timeoutMs: requestTimeoutMs };
    const reason = await this.#http.stream(post, onLine, signal);
    // Whatever the reason, a new token does no harm: some releases only break the connection for an old one.
    if (count === 0 && !signal.aborted) {
      this.#dropToken(token.value);
      this.#leave(endpoint);
    }
    return refused ?? reason;
  }

  /** Breaks every call and stream under way. */
  close(): void {
    this.#closing.abort();
    this.#http.close();
  }

  async #attempt(
    endpoint: string,
    path: string,
    key: string,
    body: object,
    deadline: number,
  ): Promise<Attempt> {
    const token = await this.#currentToken(deadline);
    if (token.kind !== 'token') return { ...token, mayHaveRun: false };
    const timeoutMs = this.#timeoutMs(deadline);
    if (!this.#verified.has(endpoint)) {
      const failure = await this.#verify(endpoint, key, token.value, timeoutMs);
      if (failure !== null) return failure;
    }
    const outcome = await this.#http.post({
      endpoint,
      path,
      body,
      token: token.value,
      timeoutMs: this.#timeoutMs(deadline),
    });
    return this.#judge(endpoint, outcome, token.value);
  }

  #judge(endpoint: string, outcome: HttpOutcome, token: string | null): Attempt {
    if (outcome.kind !== 'answer') {
      // Whoever is there next time may be another.
      this.#verified.delete(endpoint);
      // etcd 3.4.23, 3.5.22 and others only break the connection when the token has run out.
      if (outcome.kind === 'broken' && !outcome.isTimeout) this.#dropToken(token);
      return { kind: 'failed', reason: outcome.reason, mayHaveRun: outcome.kind === 'broken' };
    }
    if (outcome.status === 200) {
      const body = parseObject(outcome.text);
      if (body === null) return { kind: 'failed', reason: 'answers what is no JSON', mayHaveRun: true };
      this.#checkCluster(endpoint, body['header'] as HeaderJson | undefined);
      return { kind: 'answered', body };
    }
    const error = readError(outcome.status, outcome.text);
    if (error.refusal === 'token') {
      this.#dropToken(token);
      if (this.#options.username !== undefined) return { kind: 'token-refused', reason: error.message };
    }
    return toAttempt(error);
  }

  /**
   * Asks a member that was not asked before, or was lost, which etcd cluster it is of: a write must not go
   * to another one. Answers null when it is the right one.
   */
  async #verify(
    endpoint: string,
    key: string,
    token: string | null,
    timeoutMs: number,
  ): Promise<Attempt | null> {
    // Answered by the member alone: it only has to say who it is.
    const body = { key: encodeBytes(key), serializable: true, keys_only: true };
    const outcome = await this.#http.post({ endpoint, path: '/v3/kv/range', body, token, timeoutMs });
    const result = this.#judge(endpoint, outcome, token);
    if (result.kind === 'failed') return { ...result, mayHaveRun: false };
    return result.kind === 'answered' ? null : result;
  }

  #checkCluster(endpoint: string, header: HeaderJson | undefined): void {
    const id = header?.cluster_id ?? '';
    this.#cluster ??= { id, endpoint };
    if (this.#cluster.id !== id) {
      throw new LockstepError(
        'CONFIG_INVALID',
        `The etcd endpoints ${this.#cluster.endpoint} and ${endpoint} belong to different etcd clusters, so that they could name two leaders. Give only members of one cluster in "coordination.endpoints".`,
        { details: { endpoint, other: this.#cluster.endpoint } },
      );
    }
    this.#verified.add(endpoint);
  }

  /** Before anything else, once: members that answer must be of one cluster, also those not needed yet. */
  #lookAtAll(key: string, deadline: number): Promise<void> {
    this.#firstLook ??= (async () => {
      const token = await this.#currentToken(deadline);
      if (token.kind !== 'token') {
        this.#firstLook = null;
        return;
      }
      const timeoutMs = this.#timeoutMs(deadline);
      const looks = this.#options.endpoints.map((endpoint) =>
        this.#verify(endpoint, key, token.value, timeoutMs),
      );
      await Promise.all(looks);
    })();
    return this.#firstLook;
  }

  async #currentToken(
    deadline: number,
  ): Promise<
    | { readonly kind: 'token'; readonly value: string | null }
    | { readonly kind: 'failed' | 'refused'; readonly reason: string }
  > {
    if (this.#options.username === undefined) return { kind: 'token', value: null };
    // Shared, and it outlives the call that began it: hashing a password takes etcd a while.
    const asked = (this.#token ??= this.#authenticate());
    asked.catch(() => (this.#token = this.#token === asked ? null : this.#token));
    try {
      const waited = await Promise.race([asked, this.#sleep(deadline - this.#options.clock.nowMs())]);
      if (waited === undefined) {
        return {
          kind: 'failed',
          reason: `no token in time${this.#tokenTrouble && `: ${this.#tokenTrouble}`}`,
        };
      }
      this.#tokenTrouble = '';
      if (this.#token === asked) this.#tokenInUse = waited;
      return { kind: 'token', value: waited };
    } catch (error) {
      if (error instanceof LockstepError) throw error;
      const isRefusal = error instanceof RefusedError;
      return { kind: isRefusal ? 'refused' : 'failed', reason: (error as Error).message };
    }
  }

  /** Asks each member once. Resolves with null where etcd runs without authentication. */
  async #authenticate(): Promise<string | null> {
    const { username: name, password, endpoints, requestTimeoutMs } = this.#options;
    for (let count = 0; count < endpoints.length && !this.isClosed; count++) {
      const endpoint = this.#endpoint();
      const outcome = await this.#http.post({
        endpoint,
        path: '/v3/auth/authenticate',
        body: { name, password },
        token: null,
        timeoutMs: requestTimeoutMs * 2,
      });
      if (outcome.kind === 'answer' && outcome.status === 200) {
        const token = parseObject(outcome.text)?.['token'];
        if (typeof token === 'string') return token;
      }
      if (outcome.kind === 'answer') {
        const error = readError(outcome.status, outcome.text);
        if (error.message.includes('authentication is not enabled')) return null;
        if (error.refusal === 'refused') throw new RefusedError(error.message);
        this.#tokenTrouble = error.message;
      } else this.#tokenTrouble = outcome.reason;
      this.#leave(endpoint);
    }
    throw new Error(`authenticating as ${name}: ${this.#tokenTrouble}`);
  }

  /** The next request authenticates anew, unless another has begun to. */
  #dropToken(refused: string | null): void {
    if (refused !== this.#tokenInUse) return;
    this.#token = null;
    this.#tokenInUse = undefined;
  }

  #refusal(endpoint: string, reason: string): LockstepError {
    return new LockstepError(
      'CONFIG_INVALID',
      `etcd at ${endpoint} refuses ${this.#options.username ?? 'who gives no username'}: ${reason}. Correct "coordination" in cluster.json, or the user's role in etcd (it needs readwrite on the prefix).`,
      { details: { endpoint } },
    );
  }

  #endpoint(): string {
    return this.#options.endpoints[this.#preferred % this.#options.endpoints.length] ?? '';
  }

  /** The next request goes to another member, unless someone has moved on already. */
  #leave(endpoint: string): void {
    if (this.#endpoint() === endpoint) this.#preferred++;
  }

  #timeoutMs(deadline: number): number {
    return Math.max(1, Math.min(this.#options.requestTimeoutMs, deadline - this.#options.clock.nowMs()));
  }

  async #pause(attempt: number, deadline: number): Promise<void> {
    const count = this.#options.endpoints.length;
    if (attempt % count !== 0) return;
    const pauseMs = Math.min(FIRST_PAUSE_MS * 2 ** (attempt / count - 1), LONGEST_PAUSE_MS);
    await this.#sleep(Math.min(pauseMs, deadline - this.#options.clock.nowMs()));
  }

  async #sleep(ms: number): Promise<void> {
    if (ms <= 0) return;
    await this.#options.clock.sleep(ms, this.#closing.signal);
  }
}

/** etcd said no, and would say it again. */
class RefusedError extends Error {}

function toAttempt(error: EtcdError): Attempt {
  switch (error.refusal) {
    case 'refused':
      return { kind: 'refused', reason: error.message };
    // Without a user no token helps.
    case 'token':
      return { kind: 'refused', reason: error.message };
    case 'busy':
      return { kind: 'failed', reason: error.message, mayHaveRun: false };
    case 'unclear':
      return { kind: 'failed', reason: error.message, mayHaveRun: true };
    default:
      return error.refusal satisfies never;
  }
}
