import type pg from 'pg';
import { reachableBinaries, resolveAccount } from '../../src/postgres/account.ts';
import { findPostgres } from '../../src/postgres/binaries.ts';
import type { PostgresBinaries } from '../../src/postgres/binaries.ts';
import type { PostgresServer } from '../../src/postgres/server.ts';
import { freePort, ServerFixture } from './fixture.ts';

const system = await findPostgres('system').catch(() => null);
const embedded = await findPostgres('embedded').then(async (found) =>
  reachableBinaries(found, await resolveAccount()),
);

/** The machine's PostgreSQL, if there is one, and the embedded one. */
export const builds: readonly PostgresBinaries[] = [...(system === null ? [] : [system]), embedded];

/** Writable servers of one build, with a superuser's connection to each. */
export class LogicalServers implements AsyncDisposable {
  readonly #fixture: ServerFixture;
  readonly #clients: pg.Client[] = [];

  private constructor(fixture: ServerFixture) {
    this.#fixture = fixture;
  }

  static async create(binaries: PostgresBinaries): Promise<LogicalServers> {
    return new LogicalServers(await ServerFixture.create(binaries));
  }

  /** Where the data of one of them are, below a folder of its own. */
  dataDir(name: string): string {
    return this.#fixture.dataDir(name);
  }

  async start(
    name: string,
  ): Promise<{ readonly url: string; readonly client: pg.Client; readonly server: PostgresServer }> {
    await this.#fixture.initialize(name);
    const port = await freePort();
    const server = await this.#fixture.start(name, port);
    await server.promote(10_000);
    const client = await server.connect();
    this.#clients.push(client);
    const { user, password } = this.#fixture.address(port);
    return { url: `postgresql://${user}:${password}@127.0.0.1:${port}/postgres`, client, server };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#clients.map((client) => client.end().catch(() => undefined)));
    await this.#fixture[Symbol.asyncDispose]();
  }
}
