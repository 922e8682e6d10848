import { createServer, connect as openSocket } from 'node:net';
import type { AddressInfo, Server, Socket } from 'node:net';

const HOST = '127.0.0.1';
/** The pool's own connections: for probes, and for the catalog. */
const OWN_CONNECTION = /lockstep-(probe|catalog)/;

/**
 * Stands in front of one server and counts the round trips of an app's connections: how often one of them
 * sends something after the server has answered. It can also be the network that breaks at the worst moment.
 */
export class FlightCounter implements AsyncDisposable {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #flights = 0;
  #cutAfter: { readonly text: string; readonly onCut: () => void } | null = null;
  /** Whether everything is refused. */
  isDown = false;

  private constructor(targetPort: number) {
    this.#server = createServer((client) => this.#accept(client, targetPort));
  }

  static async start(targetPort: number): Promise<FlightCounter> {
    const counter = new FlightCounter(targetPort);
    await new Promise<void>((resolve, reject) => {
      counter.#server.once('error', reject);
      counter.#server.listen(0, HOST, resolve);
    });
    return counter;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** How many there were since the last call. */
  take(): number {
    const flights = this.#flights;
    this.#flights = 0;
    return flights;
  }

  /** Drops the answer to the next message that holds `text`, and everything from then on. Resolves when it has. */
  cutAfter(text: string): Promise<void> {
    return new Promise((resolve) => (this.#cutAfter = { text, onCut: resolve }));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #accept(client: Socket, targetPort: number): void {
    if (this.isDown) return void client.destroy();
    const server = openSocket({ host: HOST, port: targetPort, noDelay: true });
    client.setNoDelay(true);
    let isCounted = false;
    let isStarted = false;
    let isAnswered = true;
    let onAnswer: (() => void) | null = null;
    client.on('data', (bytes) => {
      if (!isStarted) isCounted = !OWN_CONNECTION.test(bytes.toString('latin1'));
      isStarted = true;
      if (isCounted && isAnswered) this.#flights += 1;
      isAnswered = false;
      const cut = this.#cutAfter;
      if (cut !== null && bytes.includes(cut.text)) onAnswer = cut.onCut;
      server.write(bytes);
    });
    server.on('data', (bytes) => {
      isAnswered = true;
      if (onAnswer === null) return void client.write(bytes);
      this.isDown = true;
      for (const socket of this.#sockets) socket.destroy();
      onAnswer();
    });
    for (const [socket, other] of [
      [client, server],
      [server, client],
    ] as const) {
      this.#sockets.add(socket);
      socket.on('error', () => undefined);
      socket.on('close', () => {
        this.#sockets.delete(socket);
        other.destroy();
      });
    }
  }
}
