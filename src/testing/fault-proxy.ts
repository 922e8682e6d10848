import { createServer, connect as openSocket } from 'node:net';
import type { AddressInfo, Server, Socket } from 'node:net';
import { FrontendMessages } from './core/frontend-messages.ts';

/**
 * How a connection is cut when a matching statement passes. `before`: the server never gets it.
 * `in-flight`: it is forwarded, and the client's side is closed at once. `late`: the client's side is closed,
 * and the server gets it 200 ms afterwards. `answered`: the server has run it, and its answer is dropped.
 */
export type CutMoment = 'before' | 'in-flight' | 'late' | 'answered';

/** A fault that strikes statements as they pass. */
export interface StatementFault {
  /** Which statements; default COMMIT, also as the last of several in one text. */
  readonly sql?: RegExp;
  readonly when: CutMoment;
  /** Share of the matching statements that are struck, from 0 to 1; default 1. */
  readonly share?: number;
}

export interface FaultProxyOptions {
  /** Numbers in [0, 1) that choose which statements are struck. Default Math.random. */
  readonly random?: () => number;
}

/** Stands between an app and its servers and breaks connections as told. Without TLS only. */
export interface FaultProxy extends AsyncDisposable {
  /** The given connection string with the proxy's hosts and ports in place of the servers'. */
  readonly url: string;
  /** Connections cut by {@link disturb} so far. */
  readonly struck: number;
  /** From now on these faults strike; none ends it. The first that matches and is drawn does. */
  disturb(...faults: readonly StatementFault[]): void;
  /** Cuts every open connection, and tells how many. New ones are accepted. */
  cutConnections(): number;
}

const LATE_MS = 200;
const COMMIT = /(^|;)\s*COMMIT\s*;?\s*$/i;
const HOST = '127.0.0.1';

/**
 * Starts a proxy in front of every server of `url` (`postgresql://user:password@a:5432,b:5432/db`), so that
 * an app's own tests can see what it does when a connection breaks, above all between COMMIT and its answer:
 * with a {@link StatementFault} a healthy leader gives unknown outcomes. Use with `await using`.
 */
export async function startFaultProxy(url: string, options: FaultProxyOptions = {}): Promise<FaultProxy> {
  const match = /^(postgres(?:ql)?:\/\/(?:[^@/]*@)?)([^/?]+)(.*)$/.exec(url);
  if (match === null) throw new TypeError('The URL is not postgresql://user:password@host:port,…/database.');
  const [, head = '', authority = '', tail = ''] = match;
  const proxy = new SocketProxy(options.random ?? Math.random);
  try {
    const ports: number[] = [];
    for (const target of authority.split(',')) ports.push(await proxy.listen(target));
    return Object.assign(proxy, { url: `${head}${ports.map((port) => `${HOST}:${port}`).join(',')}${tail}` });
  } catch (error) {
    await proxy[Symbol.asyncDispose]();
    throw error;
  }
}

class SocketProxy implements Omit<FaultProxy, 'url'> {
  readonly #random: () => number;
  readonly #servers: Server[] = [];
  readonly #links = new Set<Link>();
  #faults: readonly StatementFault[] = [];
  #struck = 0;

  constructor(random: () => number) {
    this.#random = random;
  }

  get struck(): number {
    return this.#struck;
  }

  async listen(target: string): Promise<number> {
    const address = /^(?:\[([^\]]+)\]|([^:]+))(?::(\d+))?$/.exec(target);
    const host = address?.[1] ?? address?.[2] ?? HOST;
    const port = Number(address?.[3] ?? 5432);
    const server = createServer((client) => this.#accept(client, openSocket({ host, port, noDelay: true })));
    this.#servers.push(server);
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(0, HOST, resolve);
    });
    return (server.address() as AddressInfo).port;
  }

  disturb(...faults: readonly StatementFault[]): void {
    this.#faults = faults;
  }

  cutConnections(): number {
    const count = this.#links.size;
    for (const link of this.#links) link.cut();
    return count;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.cutConnections();
    await Promise.all(
      this.#servers.map((server) => new Promise((resolve) => server.close(resolve as () => void))),
    );
  }

  #accept(client: Socket, server: Socket): void {
    client.setNoDelay(true);
    const link = new Link(
      client,
      server,
      (text) => this.#draw(text),
      () => this.#links.delete(link),
    );
    this.#links.add(link);
  }

  #draw(text: string): CutMoment | null {
    for (const { sql = COMMIT, when, share = 1 } of this.#faults) {
      if (!sql.test(text) || this.#random() >= share) continue;
      this.#struck += 1;
      return when;
    }
    return null;
  }
}

/** One client connection and the one behind it. */
class Link {
  readonly #client: Socket;
  readonly #server: Socket;
  readonly #draw: (text: string) => CutMoment | null;
  readonly #messages = new FrontendMessages();
  #isAnswerDropped = false;
  #heldBack: Buffer | null = null;

  constructor(client: Socket, server: Socket, draw: (text: string) => CutMoment | null, onEnd: () => void) {
    this.#client = client;
    this.#server = server;
    this.#draw = draw;
    client.on('data', (bytes) => this.#forward(bytes));
    server.on('data', (bytes) => this.#answer(bytes));
    for (const socket of [client, server]) socket.on('error', () => undefined);
    // What the client sent last still reaches the server, as it would through a real network.
    client.on('close', () => this.#endServer());
    server.on('close', () => {
      client.destroy();
      onEnd();
    });
  }

  cut(): void {
    this.#client.destroy();
    this.#server.destroy();
  }

  #forward(bytes: Buffer): void {
    for (const text of this.#messages.take(bytes)) {
      const moment = this.#draw(text);
      if (moment === null) continue;
      return this.#strike(moment, bytes);
    }
    this.#server.write(bytes);
  }

  #strike(moment: CutMoment, bytes: Buffer): void {
    switch (moment) {
      case 'before':
        return this.cut();
      case 'in-flight':
        this.#server.write(bytes);
        this.#client.destroy();
        return;
      case 'late':
        this.#heldBack = bytes;
        this.#client.destroy();
        return;
      case 'answered':
        this.#isAnswerDropped = true;
        this.#server.write(bytes);
    }
  }

  #endServer(): void {
    const bytes = this.#heldBack;
    if (bytes === null) this.#server.end();
    else setTimeout(() => this.#server.end(bytes), LATE_MS);
  }

  #answer(bytes: Buffer): void {
    if (this.#isAnswerDropped) return this.cut();
    if (!this.#client.destroyed) this.#client.write(bytes);
  }
}
