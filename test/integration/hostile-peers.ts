import { createServer as createHttpServer } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { connect, createServer } from 'node:net';
import type { Server, Socket } from 'node:net';
import { formatEvent } from '../../src/news/event.ts';
import { createNewsSigner } from '../../src/news/signature.ts';
import type { Topology } from '../../src/model/topology.ts';

/** Whoever took the two ports of a dead node, and what was said to them there. */
export class Impostor implements AsyncDisposable {
  readonly #servers: Server[] = [];
  readonly #sockets = new Set<Socket>();
  readonly #heard: Buffer[] = [];
  readonly asked: string[] = [];
  postgresConnections = 0;

  /** Everything that came in, as text. */
  get heard(): string {
    return Buffer.concat(this.#heard).toString('latin1');
  }

  /** Shows `forged` to who asks for events, and says yes to everything else. */
  async serveAgent(port: number, forged: () => Topology): Promise<void> {
    const signer = createNewsSigner(Buffer.alloc(32, 9));
    const say = (response: ServerResponse): void => {
      const data = JSON.stringify(forged());
      const signature = signer.sign('topology', data);
      response.write(
        `event: topology\ndata: ${data}\n\n${formatEvent({ event: 'topology', data, signature })}`,
      );
    };
    const server = createHttpServer((request, response) => {
      this.asked.push(`${request.method} ${request.url}`);
      response.on('error', () => undefined);
      if (request.url !== '/v1/events') return this.#agree(request, response, forged());
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      say(response);
      const timer = setInterval(() => say(response), 50);
      response.once('close', () => clearInterval(timer));
    });
    server.on('upgrade', (request: IncomingMessage, socket: Socket) => {
      const [, , , nonce, , code] = (request.headers.authorization ?? '').split(' ');
      socket.write(
        `HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: lockstep-link\r\nlockstep-seal: ${code} ${nonce}\r\n\r\n`,
      );
      socket.write(`${code} {"kind":"pong","id":1,"supports":true}\n`);
    });
    await this.#listen(server, port);
  }

  /** Answers everything with a change of protocol, upon which nothing comes. */
  async switchProtocols(port: number): Promise<void> {
    const server = createServer((socket) => {
      socket.once('data', (chunk: Buffer) => {
        this.asked.push(chunk.toString('latin1').split(' HTTP/', 1)[0] ?? '');
        socket.write('HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: none\r\n\r\n');
      });
    });
    await this.#listen(server, port);
  }

  #agree(request: IncomingMessage, response: ServerResponse, forged: Topology): void {
    const answer = request.url === '/v1/challenge' ? { challenge: 'abc-def' } : forged;
    response.setHeader('lockstep-seal', request.headers.authorization?.split(' ').at(-1) ?? '');
    response.end(JSON.stringify(answer));
  }

  /** Treats each connection in the next of the ways that a server can be none, after its first message. */
  async servePostgres(port: number): Promise<void> {
    const message = (type: string, body: Buffer | string = ''): Buffer => {
      const head = Buffer.alloc(5);
      head.write(type, 0, 'latin1');
      head.writeUInt32BE(Buffer.byteLength(body) + 4, 1);
      return Buffer.concat([head, Buffer.from(body)]);
    };
    const code = (value: number, rest = ''): Buffer => {
      const bytes = Buffer.alloc(4);
      bytes.writeUInt32BE(value);
      return message('R', Buffer.concat([bytes, Buffer.from(rest)]));
    };
    const letIn = Buffer.concat([code(0), message('Z', 'I')]);
    const ways: ((socket: Socket) => unknown)[] = [
      (socket) => socket.write(letIn),
      (socket) => socket.write(code(3)),
      (socket) => socket.write(code(5, 'salt')),
      (socket) => socket.write(Buffer.concat([code(10, 'SCRAM-SHA-256\0\0'), code(12, 'v=x'), letIn])),
      (socket) => socket.write('HTTP/1.1 200 OK\r\n\r\n'),
      (socket) => socket.write(message('S', Buffer.alloc(60_000))),
      (socket) => socket.end(),
      () => undefined,
    ];
    const server = createServer({ allowHalfOpen: true }, (socket) => {
      const way = ways[this.postgresConnections++ % ways.length];
      socket.once('data', () => way?.(socket));
    });
    await this.#listen(server, port);
  }

  #listen(server: Server, port: number): Promise<void> {
    server.on('connection', (socket: Socket) => {
      this.#sockets.add(socket);
      socket.on('data', (chunk: Buffer) => this.#heard.push(chunk));
      socket.on('error', () => undefined);
      socket.once('close', () => this.#sockets.delete(socket));
    });
    this.#servers.push(server);
    return new Promise((resolve, reject) => {
      server.once('error', reject);
      server.listen(port, '127.0.0.1', resolve);
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = this.#servers.map((server) => new Promise((resolve) => server.close(resolve)));
    for (const socket of this.#sockets) socket.destroy();
    await Promise.all(closed);
  }
}

/** Connections of somebody who means no good; all end with it. */
export class Flood implements Disposable {
  readonly #port: number;
  readonly #sockets = new Set<Socket>();

  constructor(port: number) {
    this.#port = port;
  }

  /** How many of its connections the other side has not ended. */
  get held(): number {
    return [...this.#sockets].filter((socket) => !socket.destroyed && !socket.readableEnded).length;
  }

  /** `count` connections that each say `text` and then nothing, reading what comes. Half-open ones say that they are done. */
  async send(count: number, text: string | Buffer, isHalfOpen = false): Promise<void> {
    for (let n = 0; n < count; n += 1) {
      const socket = connect({ port: this.#port, host: '127.0.0.1', allowHalfOpen: true });
      this.#sockets.add(socket);
      socket.on('error', () => undefined);
      socket.resume();
      await new Promise((resolve) => {
        socket.once('connect', resolve);
        socket.once('close', resolve);
      });
      if (isHalfOpen) socket.end(text);
      else socket.write(text);
    }
  }

  [Symbol.dispose](): void {
    for (const socket of this.#sockets) socket.destroy();
  }
}
