import { createServer } from 'node:http';
import type { IncomingMessage, RequestListener, Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { addressKey, Seats } from './core/seats.ts';

export interface ServerBounds {
  /** Of a request, by what its header says; nothing of a longer one is read. */
  readonly maxBodyBytes: number;
  /** Connections that proved nothing yet; the oldest ends for a new one. */
  readonly strangersPerAddress: number;
  readonly strangers: number;
  /** Answers that have no end. There is none for those above. */
  readonly streamsPerAddress: number;
  readonly streams: number;
}

const DEFAULT_BOUNDS: ServerBounds = {
  maxBodyBytes: 1_000_000,
  strangersPerAddress: 128,
  strangers: 512,
  streamsPerAddress: 128,
  streams: 384,
};

const HEADERS_TIMEOUT_MS = 5_000;
const REQUEST_TIMEOUT_MS = 10_000;
/** Nothing moved either way for so long. */
const IDLE_TIMEOUT_MS = 30_000;

/** A server for a port that strangers may reach: see {@link createBoundedServer}. */
export interface BoundedServer {
  readonly server: Server;
  /** Who connected proved to be one of us: it is neither counted nor ended for others any more. */
  prove(socket: Socket): void;
  /** Takes a place for an answer that has no end, until it is closed. False when there is none. */
  openStream(request: IncomingMessage, response: ServerResponse): boolean;
  close(): Promise<void>;
}

/**
 * An HTTP server that a stranger can neither fill nor hold: requests have to come within seconds and their bodies to be
 * short, by the header; connections and endless answers are bounded, in all and for each address; and one connection gets one answer
 * at a time.
 */
export function createBoundedServer(
  listener: RequestListener,
  given: Partial<ServerBounds> = {},
): BoundedServer {
  const bounds = { ...DEFAULT_BOUNDS, ...given };
  const strangers = new Seats<Socket>({
    perAddress: bounds.strangersPerAddress,
    total: bounds.strangers,
  });
  const answering = new WeakSet<Socket>();
  const streams = new Seats<Socket>({ perAddress: bounds.streamsPerAddress, total: bounds.streams });
  const server = createServer(
    {
      headersTimeout: HEADERS_TIMEOUT_MS,
      requestTimeout: REQUEST_TIMEOUT_MS,
      connectionsCheckingInterval: 1_000,
      maxHeaderSize: 16_384,
    },
    (request, response) => {
      const { socket } = request;
      // No client of ours asks again before it has its answer. In one packet hundreds fit, each with an answer of any length.
      if (answering.has(socket)) return void socket.destroy();
      answering.add(socket);
      response.once('finish', () => answering.delete(socket));
      const fault = judgeHead(request, bounds.maxBodyBytes);
      if (fault === null) listener(request, response);
      else turnAway(request, response, fault);
    },
  );
  server.timeout = IDLE_TIMEOUT_MS;
  server.on('connection', (socket) => {
    strangers.take(addressKey(socket.remoteAddress), socket)?.destroy();
    socket.once('close', () => strangers.leave(socket));
  });
  return {
    server,
    prove: (socket) => {
      strangers.leave(socket);
      socket.setTimeout(0);
    },
    openStream: (request, response) => {
      const address = addressKey(request.socket.remoteAddress);
      if (!streams.hasRoom(address)) return false;
      strangers.leave(request.socket);
      streams.take(address, request.socket);
      response.once('close', () => streams.leave(request.socket));
      return true;
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

/** Why nothing of the body is to be read: the status to answer; null when it may be. */
function judgeHead({ headers, method }: IncomingMessage, maxBodyBytes: number): 400 | 411 | 413 | null {
  if (headers['transfer-encoding'] !== undefined) return 411;
  const length = Number(headers['content-length'] ?? 0);
  if (length > maxBodyBytes) return 413;
  return length > 0 && (method === 'GET' || method === 'HEAD') ? 400 : null;
}

/** The connection ends with the answer: what is still to come on it is not wanted. */
function turnAway(request: IncomingMessage, response: ServerResponse, status: number): void {
  response.writeHead(status, { connection: 'close', 'content-length': 0 });
  response.end(() => request.socket.destroy());
}
