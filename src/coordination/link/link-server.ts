import type { IncomingMessage, Server } from 'node:http';
import type { Socket } from 'node:net';
import { SEAL_HEADER } from '../agent-seal.ts';
import type { AgentSeal, HeardRequest, LineSeal } from '../agent-seal.ts';
import { Seats } from '../../http/core/seats.ts';
import { every } from '../../clock/every.ts';
import type { Clock } from '../../model/clock.ts';
import { LINK_PATH, LINK_PROTOCOL, readLines, STATUS_INTERVAL_MS, writeLine } from './link.ts';
import type { LinkMessage, LinkRequest } from './link.ts';
import type { Proofs } from './proofs.ts';

/** Who opened a link sends several lines a second; one that is silent for so long is gone, or was none of us. */
const SILENT_AFTER_MS = 5_000;

/** The side of a link that was connected to: answers pings, and tells this node's status. */
export interface LinkApi<Ping, Status> {
  status(): Status;
  /** Calls `listener` when the status changed in a way that others act on. */
  onStatusChange(listener: () => void): () => void;
  /** Whether this member supports the leader that pings. */
  answerPing(ping: Ping): boolean;
  /** Someone asked that is no agent of this cluster, or did not mean this one. */
  onRefused(reason: string): void;
}

/** Each agent keeps one link to another; more for a moment when it connects again. */
const LINKS_PER_NODE = 4;
const MAX_LINKS = 256;

/** Serves links on an agent's HTTP server. Returns the function that ends those that stand. */
export function serveLinks<Ping, Status>(options: {
  readonly server: Server;
  readonly api: LinkApi<Ping, Status>;
  readonly seal: AgentSeal;
  readonly proofs: Proofs;
  readonly clock: Clock;
}): () => void {
  const { server, api, seal, proofs, clock } = options;
  const links = new Seats<Socket>({ perAddress: LINKS_PER_NODE, total: MAX_LINKS });
  const sockets = new Set<Socket>();
  server.on('upgrade', (request: IncomingMessage, socket: Socket) => {
    socket.on('error', () => undefined);
    const opener = request.url === LINK_PATH ? hear(request, api, seal) : null;
    // Who repeats a request can say nothing on the link; nor is anybody to hold the other half of a refused one.
    if (opener === null || !proofs.accept(opener.nonce, socket)) {
      socket.end('HTTP/1.1 401 Unauthorized\r\nconnection: close\r\n\r\n', () => socket.destroy());
      return;
    }
    links.take(opener.from, socket)?.destroy();
    const { header, lines } = opener.openLink();
    socket.setNoDelay(true);
    socket.setTimeout(0);
    socket.write(
      `HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: ${LINK_PROTOCOL}\r\n${SEAL_HEADER}: ${header}\r\n\r\n`,
    );
    sockets.add(socket);
    serveLink(socket, lines, api, clock);
    socket.once('close', () => {
      sockets.delete(socket);
      links.leave(socket);
    });
  });
  return () => {
    for (const socket of sockets) socket.destroy();
  };
}

function hear(
  request: IncomingMessage,
  api: Pick<LinkApi<never, unknown>, 'onRefused'>,
  seal: AgentSeal,
): HeardRequest | null {
  try {
    return seal.hear(request.headers.authorization, 'GET', LINK_PATH);
  } catch (error) {
    api.onRefused((error as Error).message);
    return null;
  }
}

function serveLink<Ping, Status>(
  socket: Socket,
  lines: LineSeal,
  api: LinkApi<Ping, Status>,
  clock: Clock,
): void {
  const say = (message: LinkMessage<Status>): void => writeLine(socket, lines, message);
  const tell = (): void => say({ kind: 'status', status: api.status() });
  let heardAtMs = clock.nowMs();
  readLines(socket, lines, (value) => {
    heardAtMs = clock.nowMs();
    const { id, ping } = value as LinkRequest<Ping>;
    say({ kind: 'pong', id, supports: ping !== null && api.answerPing(ping) });
  });
  tell();
  const end = every(clock, STATUS_INTERVAL_MS, () => {
    if (clock.nowMs() - heardAtMs > SILENT_AFTER_MS) socket.destroy();
    else tell();
  });
  const unsubscribe = api.onStatusChange(tell);
  socket.once('close', () => {
    end();
    unsubscribe();
  });
}
