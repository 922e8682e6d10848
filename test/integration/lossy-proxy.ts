import { once } from 'node:events';
import { createServer, request } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface LossyRequest {
  readonly path: string;
  readonly token: string | undefined;
}

/** What happens to a request: `lose-answer` lets the server do it, and breaks the connection then. */
export type Fate = 'pass' | 'lose-answer' | 'break';

/** An HTTP proxy before one server that breaks connections where a test says so. */
export interface LossyProxy extends AsyncDisposable {
  readonly url: string;
  /** Decides of every request; to begin with all pass. */
  fate: (request: LossyRequest) => Fate | Promise<Fate>;
  /** Runs after an answer was lost and before the connection breaks. */
  afterLoss: () => Promise<void>;
}

export async function startLossyProxy(target: string): Promise<LossyProxy> {
  const server = createServer((incoming, outgoing) => {
    void (async () => {
      const { url: path = '', headers } = incoming;
      const fate = await proxy.fate({ path, token: headers.authorization });
      if (fate === 'break') return incoming.socket.destroy();
      const forward = request(`${target}${path}`, { method: 'POST', headers });
      forward.on('error', () => incoming.socket.destroy());
      forward.on('response', (response) => {
        if (fate === 'pass') {
          outgoing.writeHead(response.statusCode ?? 502, response.headers);
          response.pipe(outgoing);
          return;
        }
        response.resume().on('end', () => void proxy.afterLoss().then(() => incoming.socket.destroy()));
      });
      return incoming.pipe(forward);
    })();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const proxy: LossyProxy = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    fate: () => 'pass',
    afterLoss: () => Promise.resolve(),
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
  return proxy;
}
