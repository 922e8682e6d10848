import { LockstepError } from '../../model/errors.ts';
import { formatSessionToken, mergeSessionTokens, parseSessionToken } from '../../model/token.ts';
import type { SessionToken } from '../../model/token.ts';
import type { ResolvedOptions } from '../app/options.ts';
import { TokenSigner } from './token-signer.ts';

/** How sessions' tokens leave this process and come back: signed where the pool has a `tokenSecret`. */
export class SessionTokens {
  readonly #signer: TokenSigner | null;
  readonly maxAgeMs: number;
  /** Tokens left out because they were malformed, forged or too old. */
  refused = 0;
  /** Whether any session's token has been asked for. */
  areUsed = false;
  /** Tokens set back because no server had come that far. */
  disproved = 0;

  constructor({ tokenSecrets, connection, limits }: ResolvedOptions) {
    this.maxAgeMs = limits.tokenMaxAgeMs;
    const scope = connection.database ?? '';
    this.#signer =
      tokenSecrets.length === 0 ? null : new TokenSigner(tokenSecrets, scope, limits.tokenMaxAgeMs);
  }

  get areSigned(): boolean {
    return this.#signer !== null;
  }

  /** A token's text as it may leave the process. */
  render(token: SessionToken): string {
    this.areUsed = true;
    const text = formatSessionToken(token);
    return this.#signer === null ? text : this.#signer.sign(text, Date.now());
  }

  /**
   * The newest of several tokens. Throws CONFIG_INVALID for what is not one of this pool's, or counts it and
   * leaves it out.
   */
  read(texts: readonly unknown[], ignoreInvalid: boolean): SessionToken | null {
    let newest: SessionToken | null = null;
    for (const text of texts) {
      try {
        const token = this.#verify(text);
        newest = newest === null ? token : mergeSessionTokens(newest, token);
      } catch (error) {
        if (!ignoreInvalid) throw error;
        this.refused += 1;
      }
    }
    return newest;
  }

  #verify(text: unknown): SessionToken {
    if (typeof text !== 'string') {
      throw new LockstepError(
        'CONFIG_INVALID',
        `Pass a session's token as a text or a list of such, and leave "token" out where there is none; it is ${text === null ? 'null' : `of type ${typeof text}`}.`,
      );
    }
    if (this.#signer === null) return parseSessionToken(text);
    const verified = this.#signer.verify(text, Date.now());
    if (verified.kind === 'valid') return parseSessionToken(verified.token);
    throw new LockstepError(
      'CONFIG_INVALID',
      `The session token is ${verified.reason}; start a session without it, or pass one that this app has signed.`,
      { details: { reason: verified.reason } },
    );
  }
}
