import { createServer, connect } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';

/** A server that seems far away. */
export interface DelayProxy extends AsyncDisposable {
  /** The connection string with the proxy in place of the server. */
  readonly url: string;
}

/** Passes everything on after half of `roundTripMs`, in either direction, at any rate. */
export async function startDelayProxy(url: string, roundTripMs: number): Promise<DelayProxy> {
  const target = new URL(url);
  const sockets = new Set<Socket>();
  const server = createServer((near) => {
    const far = connect({ host: target.hostname, port: Number(target.port), noDelay: true });
    near.setNoDelay(true);
    for (const socket of [near, far]) {
      sockets.add(socket);
      socket.on('error', () => socket.destroy());
      socket.on('close', () => sockets.delete(socket));
    }
    passLate(near, far, roundTripMs / 2);
    passLate(far, near, roundTripMs / 2);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: url.replace(`${target.hostname}:${target.port}`, `127.0.0.1:${port}`),
    [Symbol.asyncDispose]: async () => {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function passLate(from: Socket, to: Socket, delayMs: number): void {
  from.on('data', (chunk) => {
    setTimeout(() => {
      if (to.writable) to.write(chunk);
    }, delayMs);
  });
  from.on('end', () => setTimeout(() => to.end(), delayMs));
}
