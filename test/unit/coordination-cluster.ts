import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { EMPTY_ACCEPTOR, stepAcceptor } from '../../src/consensus/acceptor.ts';
import type { AcceptorState, ConsensusMessage, ConsensusReply } from '../../src/consensus/acceptor.ts';
import { openAcceptorStore } from '../../src/coordination/embedded/acceptor-store.ts';
import type { DurableAcceptor } from '../../src/coordination/embedded/acceptor-store.ts';
import { AgentSeal, SEAL_HEADER } from '../../src/coordination/agent-seal.ts';
import { createEmbeddedCoordination } from '../../src/coordination/embedded/embedded.ts';
import type {
  EmbeddedCoordination,
  EmbeddedCoordinationOptions,
} from '../../src/coordination/embedded/embedded.ts';
import { CONSENSUS_PATH, createHttpTransport } from '../../src/coordination/embedded/http-transport.ts';
import type { Clock } from '../../src/model/clock.ts';
import { LockstepError } from '../../src/model/errors.ts';
import { parseNodeId } from '../../src/model/node.ts';
import type { NodeId } from '../../src/model/node.ts';
import { systemClock } from '../../src/clock/system-clock.ts';
import type { ConformanceCluster } from './coordination-conformance.ts';

export const VOTERS: readonly NodeId[] = ['a', 'b', 'c'].map(parseNodeId);

/** Voters in memory whose answers a test can withhold. */
export class MemoryCluster implements ConformanceCluster {
  readonly participants: readonly [EmbeddedCoordination, EmbeddedCoordination, EmbeddedCoordination];
  readonly #states = new Map<NodeId, Map<string, AcceptorState>>(VOTERS.map((voter) => [voter, new Map()]));
  readonly #silent = new Set<NodeId>();
  readonly #clock: Clock;
  readonly sent: { readonly from: NodeId; readonly to: NodeId; readonly message: ConsensusMessage }[] = [];

  constructor(options: Partial<EmbeddedCoordinationOptions> = {}) {
    this.#clock = options.clock ?? systemClock;
    const [a, b, c] = VOTERS.map((self) => this.#participant(self, options));
    this.participants = [a!, b!, c!];
  }

  #participant(self: NodeId, options: Partial<EmbeddedCoordinationOptions>): EmbeddedCoordination {
    return createEmbeddedCoordination({
      clock: systemClock,
      voters: VOTERS,
      proposerId: `${self}-1`,
      transport: { send: (to, message, timeoutMs) => this.#send(self, to, message, timeoutMs) },
      ...options,
    });
  }

  async #send(
    from: NodeId,
    to: NodeId,
    message: ConsensusMessage,
    timeoutMs: number,
  ): Promise<ConsensusReply> {
    this.sent.push({ from, to, message });
    await new Promise(setImmediate);
    if (!this.#silent.has(to))
      return this.handle(to, JSON.parse(JSON.stringify(message)) as ConsensusMessage);
    return new Promise((_, reject) => this.#clock.after(timeoutMs, () => reject(new Error('silent'))));
  }

  /** Gives a voter a message as if a proposer outside had sent it. */
  handle(voter: NodeId, message: ConsensusMessage): ConsensusReply {
    const registers = this.#states.get(voter)!;
    const { state, reply } = stepAcceptor(registers.get(message.key) ?? EMPTY_ACCEPTOR, message);
    registers.set(message.key, state);
    return JSON.parse(JSON.stringify(reply)) as ConsensusReply;
  }

  /** The voter hangs: it takes no message and gives no answer. */
  silence(voter: NodeId): void {
    this.#silent.add(voter);
  }

  wake(voter: NodeId): void {
    this.#silent.delete(voter);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.participants.map((participant) => participant.close()));
  }
}

/** Voters with their files behind real HTTP servers, each on a port of its own. */
export class HttpCluster implements ConformanceCluster {
  readonly participants: readonly [EmbeddedCoordination, EmbeddedCoordination, EmbeddedCoordination];
  readonly #servers: readonly Server[];
  readonly #folder: string;
  readonly urls: ReadonlyMap<NodeId, string>;

  private constructor(
    participants: HttpCluster['participants'],
    servers: Server[],
    folder: string,
    urls: Map<NodeId, string>,
  ) {
    this.participants = participants;
    this.#servers = servers;
    this.#folder = folder;
    this.urls = urls;
  }

  static async create(): Promise<HttpCluster> {
    const folder = await mkdtemp(join(tmpdir(), 'lockstep-coordination-'));
    const acceptors = await Promise.all(
      VOTERS.map((node) =>
        openAcceptorStore({ path: join(folder, `${node}.json`), cluster: 'shop', node, clock: systemClock }),
      ),
    );
    await Promise.all(acceptors.map((acceptor) => acceptor.admit()));
    const servers = await Promise.all(
      acceptors.map((acceptor, index) => serveAcceptor(acceptor, sealOf(VOTERS[index]!))),
    );
    const urls = new Map(VOTERS.map((voter, index) => [voter, urlOf(servers[index]!)]));
    const [a, b, c] = VOTERS.map((self, index) => {
      const acceptor = acceptors[index]!;
      const transport = createHttpTransport({
        clock: systemClock,
        self,
        acceptor,
        urlOf: (voter) => urls.get(voter) ?? '',
        seal: sealOf(self),
      });
      const coordination = createEmbeddedCoordination({
        clock: systemClock,
        voters: VOTERS,
        transport,
        proposerId: `${self}-1`,
        // A busy machine must not turn an answer into "unknown".
        messageTimeoutMs: 5_000,
        callTimeoutMs: 20_000,
      });
      acceptor.onAccepted((key) => coordination.notify(key));
      return coordination;
    });
    return new HttpCluster([a!, b!, c!], servers, folder, urls);
  }

  /** The voter's server is gone; its port refuses. */
  async stop(index: number): Promise<void> {
    await close(this.#servers[index]!);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.participants.map((participant) => participant.close()));
    await Promise.all(this.#servers.map(close));
    await rm(this.#folder, { recursive: true, force: true });
  }
}

export function sealOf(self: NodeId, superuser = 'only for this test'): AgentSeal {
  return new AgentSeal({ self, nodes: VOTERS, cluster: 'shop', secrets: { agent: 'a token', superuser } });
}

export async function serveAcceptor(
  acceptor: Pick<DurableAcceptor, 'handle'>,
  seal: AgentSeal,
): Promise<Server> {
  const server = createServer((request, response) => {
    void (async () => {
      const heard = seal.hear(request.headers.authorization, 'POST', CONSENSUS_PATH);
      const body = await text(request);
      heard.checkBody(body);
      const reply = JSON.stringify(await acceptor.handle(JSON.parse(body) as ConsensusMessage));
      return response.setHeader(SEAL_HEADER, heard.sealAnswer(200, reply)).end(reply);
    })().catch((error: unknown) => {
      if (error instanceof LockstepError) response.writeHead(401).end(error.message);
      else response.destroy();
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return server;
}

export function urlOf(server: Server): string {
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

export async function close(server: Server): Promise<void> {
  if (!server.listening) return;
  server.close();
  server.closeAllConnections();
  await once(server, 'close');
}
