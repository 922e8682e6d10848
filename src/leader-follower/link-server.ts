import type { IncomingMessage, Server } from 'node:http';
import type { Socket } from 'node:net';
import type { Ping } from './core/support.ts';
import { LINK_PATH, readLines, STATUS_INTERVAL_MS, writeLine } from './link.ts';
import type { LinkRequest } from './link.ts';
import type { NodeStatus } from './status.ts';

/** The side of a link that was connected to: answers pings, and tells this node's status. */
export interface LinkApi {
  status(): NodeStatus;
  /** Calls `listener` when the status changed in a way that others act on. */
  onStatusChange(listener: () => void): () => void;
  /** Whether this member supports the leader that pings. */
  answerPing(ping: Ping): boolean;
}

/** Serves links on an agent's HTTP server. Returns the function that ends those that stand. */
export function serveLinks(
  server: Server,
  api: LinkApi,
  isAuthorized: (request: IncomingMessage) => boolean,
): () => void {
  const sockets = new Set<Socket>();
  server.on('upgrade', (request: IncomingMessage, socket: Socket) => {
    socket.on('error', () => undefined);
    if (request.url !== LINK_PATH || !isAuthorized(request)) {
      socket.end('HTTP/1.1 401 Unauthorized\r\nconnection: close\r\n\r\n');
      return;
    }
    socket.setNoDelay(true);
    socket.setTimeout(0);
    socket.write('HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: lockstep-link\r\n\r\n');
    sockets.add(socket);
    serveLink(socket, api);
    socket.once('close', () => sockets.delete(socket));
  });
  return () => {
    for (const socket of sockets) socket.destroy();
  };
}

function serveLink(socket: Socket, api: LinkApi): void {
  const tell = (): void => writeLine(socket, { kind: 'status', status: api.status() });
  readLines(socket, (value) => {
    const { id, ping } = value as LinkRequest;
    writeLine(socket, { kind: 'pong', id, supports: ping !== null && api.answerPing(ping) });
  });
  tell();
  const timer = setInterval(tell, STATUS_INTERVAL_MS);
  const unsubscribe = api.onStatusChange(tell);
  socket.once('close', () => {
    clearInterval(timer);
    unsubscribe();
  });
}
