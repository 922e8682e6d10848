import { findPostgres } from '../../../src/postgres/binaries.ts';
import type { PostgresServer } from '../../../src/postgres/server.ts';
import { quorum } from '../../../src/leaderless/index.ts';
import type { Quorum, QuorumOptions } from '../../../src/leaderless/index.ts';
import { freePort, ServerFixture } from '../fixture.ts';

export interface IndependentServer {
  readonly name: string;
  readonly port: number;
  readonly url: string;
  readonly server: PostgresServer;
}

/** A statement that writes registers by hand, `insert` without its end, and names them where their change is looked up. */
export function insertRegisters(insert: string): string {
  return `WITH made AS (${insert} RETURNING collection, key, field, change)
    INSERT INTO lockstep_leaderless.changed_registers
    SELECT change, array_agg(collection), array_agg(key), array_agg(field) FROM made GROUP BY change`;
}

/** Independent servers, and the quorums that were opened on them; all are ended with it. */
export class IndependentServers implements AsyncDisposable {
  readonly #fixture: ServerFixture;
  readonly #quorums: Quorum[] = [];
  readonly servers: readonly IndependentServer[];

  private constructor(fixture: ServerFixture, servers: readonly IndependentServer[]) {
    this.#fixture = fixture;
    this.servers = servers;
  }

  /** `postgres`: see `findPostgres`. */
  static async start(count = 3, postgres?: string): Promise<IndependentServers> {
    const fixture = await ServerFixture.create(await findPostgres(postgres));
    try {
      const servers = await Promise.all(
        Array.from({ length: count }, async (_, index) => {
          const name = `q${index + 1}`;
          const port = await freePort();
          await fixture.initialize(name);
          const server = fixture.server(name, port);
          await fixture.configure(name, port, null);
          await server.startAlone();
          const { user, password } = fixture.address(port);
          return { name, port, server, url: `postgresql://${user}:${password}@127.0.0.1:${port}/postgres` };
        }),
      );
      return new IndependentServers(fixture, servers);
    } catch (error) {
      await fixture[Symbol.asyncDispose]();
      throw error;
    }
  }

  get version(): string {
    return this.#fixture.binaries.version;
  }

  /** What another process would open. */
  async quorum(
    options: Omit<QuorumOptions, 'nodes'> = {},
    names: readonly string[] = this.servers.map(({ name }) => name),
  ): Promise<Quorum> {
    const nodes = names.map((name) => ({ name, url: this.named(name).url }));
    const opened = await quorum({ nodes, ...options });
    this.#quorums.push(opened);
    return opened;
  }

  dataDir(name: string): string {
    return this.#fixture.dataDir(name);
  }

  named(name: string): IndependentServer {
    const found = this.servers.find((server) => server.name === name);
    if (found === undefined) throw new Error(`no server ${name}`);
    return found;
  }

  async kill(name: string): Promise<void> {
    await this.named(name).server.stop('immediate');
  }

  async restart(name: string): Promise<void> {
    await this.named(name).server.startAlone();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#quorums.map((opened) => opened.close()));
    await this.#fixture[Symbol.asyncDispose]();
  }
}
