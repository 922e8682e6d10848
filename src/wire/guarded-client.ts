import pg from 'pg';
import type { ClientConfig } from 'pg';
import { LockstepError } from '../model/errors.ts';
import { AuthGuard, SAFE_AUTH, SCRAM_ONLY } from './core/auth-guard.ts';
import type { AuthMethod } from './core/auth-guard.ts';
import type { ChannelBinding } from './core/channel-binding.ts';
import { WireGuard } from './core/wire-guard.ts';
import { isInPassFile } from './pass-file.ts';

interface GuardedStream extends NodeJS.EventEmitter {
  destroy(error?: Error): void;
}

interface GuardedConnection extends NodeJS.EventEmitter {
  readonly stream: GuardedStream;
  readonly ssl: unknown;
}

/** What pg's Client has beyond its types. */
interface ClientInternals {
  _errorAllQueries(error: Error): void;
  _getActiveQuery(): OpenCursor | null;
  _getPassword(proceed: () => void): void;
}

export interface GuardedClientConfig extends Omit<ClientConfig, 'enableChannelBinding'> {
  /** The longest message that is taken. Default: PostgreSQL's own limit of a gigabyte. */
  readonly maxMessageBytes?: number | undefined;
  /** How the server may authenticate. Default: SCRAM, or nothing at all where no password is known, in the pass file either. */
  readonly requireAuth?: readonly AuthMethod[] | undefined;
  /** `require`: a server is refused with which SCRAM is not bound to TLS. Default: it is not bound. */
  readonly enableChannelBinding?: ChannelBinding | undefined;
}

/** Code of the error with which a server is refused for how it authenticates; its message has the remedy. */
export const AUTH_REFUSED = 'EAUTH';

/**
 * pg's Client for servers that may be none: what is not PostgreSQL's protocol ends the connection with the
 * error EPROTO, instead of filling the memory, stopping the process in pg's parser, or throwing out of it. A server that
 * would get a secret without having proved that it knows it, or was to prove so and did not, gets none: EAUTH. Where
 * it asks for a password and none is known, that is CONFIG_INVALID.
 */
export class GuardedClient extends pg.Client {
  constructor(config?: GuardedClientConfig) {
    // pg asks only whether there is a value.
    super(config as ClientConfig | undefined);
    const connection = this.connection as unknown as GuardedConnection;
    const bound = connection.ssl ? 'required' : 'impossible';
    const auth = new AuthGuard(
      this.#allowedAuth(config?.requireAuth),
      config?.enableChannelBinding === 'require' ? bound : 'optional',
    );
    const guard = new WireGuard(config?.maxMessageBytes, auth);
    // With TLS, a first byte of another kind comes before, and the messages arrive on another stream.
    if (connection.ssl) connection.on('sslconnect', () => guardStream(connection.stream, guard));
    else guardStream(connection.stream, guard);
    // Before pg answers: on a stream that is destroyed it writes nothing more.
    connection.prependListener('authenticationSASL', ({ mechanisms }: { mechanisms: readonly string[] }) => {
      const fault = auth.judgeMechanisms(mechanisms);
      if (fault !== null) connection.stream.destroy(refusedAuth(fault));
    });
    connection.prependListener('error', tellOfMissingTls);
    // pg leaves a stream open on which TLS was refused, and its server may go on sending.
    connection.on('error', () => connection.stream.destroy());
    this.#requirePassword();
    this.#settleCursors();
  }

  /** A password that stands in the pass file a server must know too. By a socket it is its folder that says who answers. */
  #allowedAuth(given: readonly AuthMethod[] = SAFE_AUTH): readonly AuthMethod[] {
    if (given !== SAFE_AUTH || this.password != null || this.host.startsWith('/')) return given;
    const { host, port, database = '', user = '' } = this;
    return isInPassFile({ host, port, database, user }) ? SCRAM_ONLY : given;
  }

  /** Without one, pg begins to authenticate all the same, and fails with an error that has no code. */
  #requirePassword(): void {
    const internals = this as unknown as ClientInternals;
    const getPassword = internals._getPassword.bind(this);
    internals._getPassword = (proceed): void =>
      getPassword(() => {
        if (typeof this.password === 'string' && this.password !== '') proceed();
        else this.connection.emit('error', passwordMissing());
      });
  }

  /** pg tells its queries in the next tick that the connection has ended; a cursor is to know a tick later. */
  #settleCursors(): void {
    const internals = this as unknown as ClientInternals;
    let failed: OpenCursor | null = null;
    // A server that ends a connection says so first, upon which pg forgets the query.
    this.connection.on('errorMessage', () => {
      failed = internals._getActiveQuery();
    });
    const errorAllQueries = internals._errorAllQueries.bind(this);
    internals._errorAllQueries = (error): void => {
      const active = internals._getActiveQuery() ?? failed;
      errorAllQueries(error);
      process.nextTick(letGo, active, this.connection);
    };
  }
}

/** What of pg-cursor, and of the cursor in pg-query-stream, waits for the connection. */
interface OpenCursor {
  connection?: unknown;
  readonly cursor?: OpenCursor;
  close?(): unknown;
}

/** pg-cursor's `close` waits for the server to be ready, and so for ever where the connection has ended. */
function letGo(query: OpenCursor | null, connection: NodeJS.EventEmitter): void {
  const cursor = query?.cursor ?? query;
  if (typeof cursor?.close === 'function') cursor.connection = null;
  for (const listener of connection.rawListeners('readyForQuery')) {
    // Only what was registered by `once` has it.
    const { listener: waiting } = listener as { listener?: () => void };
    if (waiting === undefined) continue;
    connection.removeListener('readyForQuery', waiting);
    waiting();
  }
}

/** To be called by what reads the stream itself from now on, and checks it: each message would be looked at twice. */
export function endGuard(stream: object): void {
  Reflect.deleteProperty(stream, 'emit');
}

function guardStream(stream: GuardedStream, guard: WireGuard): void {
  const emit = stream.emit.bind(stream);
  stream.emit = (event: string | symbol, ...args: unknown[]): boolean => {
    if (event !== 'data') return emit(event, ...args);
    const fault = guard.check(args[0] as Uint8Array);
    if (fault !== null) {
      stream.destroy(guard.isAuthFault ? refusedAuth(fault) : notPostgres(fault));
      return true;
    }
    try {
      return emit(event, ...args);
    } catch (error) {
      // The parser met the end of its bytes inside a field. Whatever else throws here is the app's own.
      if (!isParserError(error)) throw error;
      stream.destroy(notPostgres(error.message));
      return true;
    }
  };
}

function isParserError(error: unknown): error is Error {
  return (
    error instanceof RangeError ||
    (error instanceof Error && error.message.startsWith('Unknown authenticationOk message type'))
  );
}

function notPostgres(fault: string): Error {
  const message = `The server does not speak PostgreSQL's protocol: ${fault}; check its address and port.`;
  return Object.assign(new Error(message), { code: 'EPROTO' });
}

function refusedAuth(fault: string): Error {
  return Object.assign(new Error(`The server is not trusted: ${fault}.`), { code: AUTH_REFUSED });
}

/** pg's own words have no code, so that the server would pass for one that cannot be reached, and be asked again and again. */
function tellOfMissingTls(error: Error): void {
  if (error.message !== 'The server does not support SSL connections') return;
  error.message = `Turn TLS on at the server (ssl = on), or give sslmode=disable where the network is trusted: ${error.message}.`;
  Object.assign(error, { code: AUTH_REFUSED });
}

function passwordMissing(): LockstepError {
  return new LockstepError(
    'CONFIG_INVALID',
    'Give a password, as a text: in the URL (postgresql://user:password@…), as the option "password", by PGPASSWORD or in the pass file; the server asks for one.',
  );
}

/** The error for an app, when all of its servers are refused. */
export function toAuthError(error: Error): LockstepError {
  return new LockstepError('CONFIG_INVALID', error.message, { cause: error });
}
