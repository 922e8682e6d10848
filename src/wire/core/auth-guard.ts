/**
 * How a server may ask for, or do without, a password; the names are those of libpq's `require_auth`. With
 * `scram-sha-256` the server proves that it knows the password, and learns it neither way. With `md5` it learns what is
 * as good as the password, with `password` the password itself. `none`: it asks for nothing.
 */
export type AuthMethod = 'scram-sha-256' | 'md5' | 'password' | 'none';

export const AUTH_METHODS: readonly AuthMethod[] = ['scram-sha-256', 'md5', 'password', 'none'];

/** No secret goes to a server that has not proved to know it. */
export const SAFE_AUTH: readonly AuthMethod[] = ['scram-sha-256', 'none'];

/** For servers that are surely given a password: whoever took the port of one does not know it. */
export const SCRAM_ONLY: readonly AuthMethod[] = ['scram-sha-256'];

const SAID: Readonly<Record<AuthMethod, string>> = {
  'scram-sha-256': 'for SCRAM',
  md5: 'for a password hashed with MD5, which is as good as the password to who gets it',
  password: 'for the password in clear',
  none: 'for no password, so that it does not prove to be the server that knows it',
};

/** Whether SCRAM must be bound to the TLS connection; without TLS there is nothing to bind it to. */
export type Binding = 'optional' | 'required' | 'impossible';

const BOUND_MECHANISM = 'SCRAM-SHA-256-PLUS';

/** Codes of PostgreSQL's authentication requests. Source: PostgreSQL documentation, "Message Formats". */
const OK = 0;
const CLEARTEXT = 3;
const MD5 = 5;
const SASL = 10;
const SASL_CONTINUE = 11;
const SASL_FINAL = 12;

/**
 * Follows one server's authentication requests: which way it asks, and that it goes that way to its end. pg's client
 * takes a server for authenticated that breaks SCRAM off before it proved anything, or asks for nothing at all.
 */
export class AuthGuard {
  readonly #allowed: readonly AuthMethod[];
  readonly #binding: Binding;
  #stage: 'nothing' | 'sasl' | 'sasl-continue' | 'sasl-final' | 'password' | 'ok' = 'nothing';

  constructor(allowed: readonly AuthMethod[], binding: Binding = 'optional') {
    this.#allowed = allowed;
    this.#binding = binding;
  }

  /** Whether it has let the client in. */
  get isOver(): boolean {
    return this.#stage === 'ok';
  }

  /** Why a request must not be answered; null when it may be. */
  judge(code: number): string | null {
    const stage = this.#stage;
    switch (code) {
      case OK:
        this.#stage = 'ok';
        if (stage === 'nothing') return this.#refuse('none');
        return stage === 'sasl-final' || stage === 'password' ? null : 'it broke SCRAM off';
      case CLEARTEXT:
      case MD5:
        this.#stage = 'password';
        if (stage !== 'nothing') return 'it asks for a password twice';
        return this.#refuse(code === MD5 ? 'md5' : 'password');
      case SASL:
        this.#stage = 'sasl';
        return stage === 'nothing' ? this.#refuse('scram-sha-256') : 'it asks for a password twice';
      case SASL_CONTINUE:
        this.#stage = 'sasl-continue';
        return stage === 'sasl' ? null : 'it mixes SCRAM up';
      case SASL_FINAL:
        this.#stage = 'sasl-final';
        return stage === 'sasl-continue' ? null : 'it mixes SCRAM up';
      default:
        return `it asks for a kind of authentication (${code}) that is not supported`;
    }
  }

  /** Why none of the kinds of SCRAM that it offers may be taken; null when one may. */
  judgeMechanisms(offered: readonly string[]): string | null {
    if (this.#binding === 'optional' || offered.includes(BOUND_MECHANISM)) return null;
    return `reach it with no proxy in between that ends TLS, or give channel_binding=prefer; it does not offer ${BOUND_MECHANISM}, which channel_binding=require demands`;
  }

  #refuse(method: AuthMethod): string | null {
    if (this.#binding === 'impossible')
      return 'turn TLS on, as by sslmode=verify-full in the URL, or give channel_binding=prefer; channel_binding=require binds SCRAM to TLS, and there is none';
    if (this.#binding === 'required' && method !== 'scram-sha-256')
      return `have it ask for SCRAM (scram-sha-256 in its pg_hba.conf), or give channel_binding=prefer; it asks ${SAID[method]}, and channel_binding=require demands SCRAM`;
    if (this.#allowed.includes(method)) return null;
    return `it asks ${SAID[method]}. If it is to be trusted with that, allow "${method}" by the option requireAuth, or in the URL: require_auth=${[...this.#allowed, method].join(',')}`;
  }
}
