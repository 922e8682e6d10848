import { checkStaleness } from './app/checks.ts';
import { refuseUnknownNames } from './app/unknown-name.ts';
import { AsyncLocalStorage } from 'node:async_hooks';
import { LockstepError } from '../model/errors.ts';
import type { Consistency } from './app/options.ts';
import type { ExchangeObserver } from '../wire/contract.ts';
import type { Log } from './observe/exchange-observer.ts';
import type { TransactionContext } from './transaction/active-transaction.ts';
import { createSession } from './session.ts';
import type { Session } from './session.ts';
import { SessionState } from './session/session-state.ts';
import type { SessionTokens } from './session/session-tokens.ts';

/** How a session begins. */
export interface SessionOptions {
  /** Another session's `token`, to go on from there; of several, the newest. */
  readonly token?: string | readonly string[] | undefined;
  /**
   * For tokens from outside: one that is malformed, forged or too old is left out and counted in
   * `stats().tokensRefused`, instead of the CONFIG_INVALID that it is by default.
   */
  readonly ignoreInvalidToken?: boolean | undefined;
  /**
   * What this session reads misses nothing that was committed longer ago than this when the statement was
   * sent; where no follower is known to be that fresh, the leader answers.
   */
  readonly maxStalenessMs?: number | undefined;
  /**
   * Told of each statement of this session and of its transactions, as the pool's `log` is of all: which node answered,
   * why, and how long it took. Not of clients from `connect()`.
   */
  readonly log?: Log | undefined;
}

const OPTION_NAMES: readonly (keyof SessionOptions)[] = [
  'token',
  'ignoreInvalidToken',
  'maxStalenessMs',
  'log',
];

/** Makes a pool's sessions, and knows the one that is ambient where the caller stands. */
export class Sessions {
  readonly #context: TransactionContext;
  readonly #states = new WeakMap<Session, SessionState>();
  /** Made on first use, so that a pool that never has an ambient session pays nothing for it. */
  #ambient: AsyncLocalStorage<SessionState> | null = null;
  /** The session of all code outside of others; null where such code may read anything. */
  readonly #shared: SessionState | null;
  readonly tokens: SessionTokens;
  readonly #observe: (log: Log) => ExchangeObserver | null;

  constructor(
    context: TransactionContext,
    parts: {
      readonly tokens: SessionTokens;
      readonly consistency: Consistency;
      readonly observe: (log: Log) => ExchangeObserver | null;
    },
  ) {
    const { tokens, consistency, observe } = parts;
    this.#observe = observe;
    this.#context = context;
    this.tokens = tokens;
    this.#shared = consistency === 'own-writes' ? new SessionState({ isMonotonic: false }) : null;
  }

  /** The session of the calling code: the ambient one, else the one that all callers share, if any. */
  get current(): SessionState | null {
    return this.#ambient === null ? this.#shared : (this.#ambient.getStore() ?? this.#shared);
  }

  create(options: SessionOptions): Session {
    const { token, ignoreInvalidToken = false, maxStalenessMs = null } = options;
    refuseUnknownNames('a session', options, OPTION_NAMES);
    checkStaleness(options.maxStalenessMs);
    const texts = token === undefined ? [] : Array.isArray(token) ? (token as readonly unknown[]) : [token];
    const { tokens } = this;
    const state = new SessionState({
      token: tokens.read(texts, ignoreInvalidToken),
      maxStalenessMs,
      // Where tokens are in use, this session's will probably be asked for too.
      asksAlong: tokens.areUsed,
      observer: options.log === undefined ? null : this.#observe(options.log),
      onDisproved: () => (tokens.disproved += 1),
      shared: this.#shared,
    });
    const session = createSession(this.#context, state, tokens);
    this.#states.set(session, state);
    return session;
  }

  /** Runs `fn` with the session as the ambient one. Throws CONFIG_INVALID for another pool's session. */
  run<T>(sessionOrOptions: Session | SessionOptions, fn: (session: Session) => T): T {
    const session = 'query' in sessionOrOptions ? sessionOrOptions : this.create(sessionOrOptions);
    const state = this.stateOf(session);
    this.#ambient ??= new AsyncLocalStorage();
    return this.#ambient.run(state, fn, session);
  }

  /** Throws CONFIG_INVALID for another pool's session. */
  stateOf(session: Session): SessionState {
    const state = this.#states.get(session);
    if (state !== undefined) return state;
    throw new LockstepError(
      'CONFIG_INVALID',
      'The session belongs to another pool; pass one that this pool has made.',
    );
  }
}
