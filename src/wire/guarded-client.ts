import pg from 'pg';
import type { ClientConfig } from 'pg';
import { WireGuard } from './core/wire-guard.ts';

interface GuardedStream extends NodeJS.EventEmitter {
  destroy(error?: Error): void;
}

interface GuardedConnection extends NodeJS.EventEmitter {
  readonly stream: GuardedStream;
  readonly ssl: unknown;
}

export interface GuardedClientConfig extends ClientConfig {
  /** The longest message that is taken. Default: PostgreSQL's own limit of a gigabyte. */
  readonly maxMessageBytes?: number | undefined;
}

/**
 * pg's Client for servers that may be none: what is not PostgreSQL's protocol ends the connection with the
 * error EPROTO, instead of filling the memory, stopping the process in pg's parser, or throwing out of it.
 */
export class GuardedClient extends pg.Client {
  constructor(config?: GuardedClientConfig) {
    super(config);
    const connection = this.connection as unknown as GuardedConnection;
    const guard = new WireGuard(config?.maxMessageBytes);
    // With TLS, a first byte of another kind comes before, and the messages arrive on another stream.
    if (connection.ssl) connection.on('sslconnect', () => guardStream(connection.stream, guard));
    else guardStream(connection.stream, guard);
    // pg leaves a stream open on which TLS was refused, and its server may go on sending.
    connection.on('error', () => connection.stream.destroy());
  }
}

function guardStream(stream: GuardedStream, guard: WireGuard): void {
  const emit = stream.emit.bind(stream);
  stream.emit = (event: string | symbol, ...args: unknown[]): boolean => {
    if (event !== 'data') return emit(event, ...args);
    const fault = guard.check(args[0] as Uint8Array);
    if (fault !== null) {
      stream.destroy(notPostgres(fault));
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
