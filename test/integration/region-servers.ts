import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import { compareSettled } from '../../src/multi-leader/compare.ts';
import type { Comparison } from '../../src/multi-leader/compare.ts';
import { Region } from '../../src/multi-leader/region.ts';
import type { RegionsDefinition } from '../../src/multi-leader/definition.ts';
import { readShapes } from '../../src/multi-leader/tables/shape.ts';
import type { LinkStatus } from '../../src/multi-leader/apply/link.ts';
import type { PostgresServer } from '../../src/postgres/server.ts';
import { until } from './fixture.ts';
import { builds, LogicalServers } from './logical-servers.ts';

export interface TestRegion {
  readonly name: string;
  readonly url: string;
  readonly client: pg.Client;
  readonly region: Region;
  readonly server: PostgresServer;
  readonly dataDir: string;
}

export interface RegionServersOptions {
  /** The file that exports the definition, where it has resolvers. */
  readonly definitionPath?: string;
  /** Starts a server in surroundings of its own, such as a clock or a disk; `dataDir` is where its data will be. */
  readonly around?: <T>(name: string, dataDir: string, start: () => Promise<T>) => Promise<T>;
}

/** Regions with a server each, the machine's PostgreSQL and the embedded one in turn. */
export class RegionServers implements AsyncDisposable {
  readonly #servers: LogicalServers[] = [];
  readonly regions: TestRegion[] = [];
  readonly problems: string[] = [];
  readonly #clients: pg.Client[] = [];
  #options: RegionServersOptions = {};
  #places: readonly { readonly name: string; readonly url: string }[] = [];
  #left: readonly string[] = [];
  definition: RegionsDefinition = {};

  static async start(
    names: readonly string[],
    schema: string,
    definition: RegionsDefinition = {},
    options: RegionServersOptions = {},
  ): Promise<RegionServers> {
    const all = new RegionServers();
    try {
      await all.#start(names, schema, definition, options);
      return all;
    } catch (error) {
      await all[Symbol.asyncDispose]();
      throw error;
    }
  }

  async #start(
    names: readonly string[],
    schema: string,
    definition: RegionsDefinition,
    options: RegionServersOptions,
  ): Promise<void> {
    this.definition = definition;
    this.#options = options;
    const places: Omit<TestRegion, 'region'>[] = [];
    for (const name of names) places.push(await this.addServer(name, schema));
    this.#places = places.map(({ name, url }) => ({ name, url }));
    for (const place of places) this.regions.push({ ...place, region: this.#createRegion(place.name) });
    await Promise.all(this.regions.map(({ region }) => region.start()));
  }

  /** One with these tables, of which no region is run. */
  async addServer(name: string, schema: string): Promise<Omit<TestRegion, 'region'>> {
    const { around = (_name, _dataDir, start) => start() } = this.#options;
    const build = builds[this.#servers.length % builds.length];
    if (build === undefined) throw new Error('there is no PostgreSQL');
    const servers = await LogicalServers.create(build);
    this.#servers.push(servers);
    const dataDir = servers.dataDir(name);
    const { url, client, server } = await around(name, dataDir, () => servers.start(name));
    client.on('error', () => undefined);
    await client.query(schema);
    return { name, url, client, server, dataDir };
  }

  /** Runs a region that has joined, and starts the processes of the others with it. */
  async runJoined(newcomer: Omit<TestRegion, 'region'>): Promise<void> {
    const { name, url } = newcomer;
    this.#places = [...this.#places, { name, url }];
    const region = this.#createRegion(name);
    await region.start();
    this.regions.push({ ...newcomer, region });
    for (const other of this.regions.map((one) => one.name).filter((one) => one !== name)) {
      await this.at(other).region.stop();
      await this.startAnew(other);
    }
  }

  at(name: string): TestRegion {
    const found = this.regions.find((one) => one.name === name);
    if (found === undefined) throw new Error(`there is no region ${name}`);
    return found;
  }

  #createRegion(name: string): Region {
    return new Region({
      name,
      regions: this.#places,
      left: this.#left,
      definition: this.definition,
      definitionPath: this.#options.definitionPath ?? null,
      onProblem: (problem) => this.problems.push(`${name}: ${problem}`),
    });
  }

  /** Starts the processes of the others as after `lockstep regions remove`, and hands over the one that has left, which runs. */
  async leave(name: string): Promise<Region> {
    const { region } = this.at(name);
    this.#left = [...this.#left, name];
    this.regions.splice(this.regions.indexOf(this.at(name)), 1);
    for (const other of this.regions.map((one) => one.name)) {
      await this.at(other).region.stop();
      await this.startAnew(other);
    }
    return region;
  }

  /** Another process for the same region, and another connection to its server, which may be another one too. */
  async startAnew(name: string): Promise<TestRegion> {
    const before = this.at(name);
    const region = this.#createRegion(name);
    const client = new pg.Client(before.url);
    client.on('error', () => undefined);
    await client.connect();
    this.#clients.push(client);
    const after = { ...before, region, client };
    this.regions.splice(this.regions.indexOf(before), 1, after);
    await region.start();
    return after;
  }

  /** Resolves once a link says so. */
  async untilLink(from: string, to: string, isSo: (link: LinkStatus) => boolean): Promise<void> {
    let last: LinkStatus | undefined;
    await until(`the link from ${from} to ${to} says so`, async () => {
      last = (await this.at(to).region.status()).links.find((link) => link.from === from);
      return last !== undefined && isSo(last);
    }).catch((error: unknown) => {
      throw new Error(`${String(error)}: ${JSON.stringify(last)}`);
    });
  }

  /** Both ways. */
  async setCut(a: string, b: string, isCut: boolean): Promise<void> {
    await Promise.all([this.at(a).region.setCut(b, isCut), this.at(b).region.setCut(a, isCut)]);
  }

  /** Parts all regions from each other, or joins them again. */
  async setAllCut(isCut: boolean): Promise<void> {
    for (const [index, { name }] of this.regions.entries())
      for (const other of this.regions.slice(index + 1)) await this.setCut(name, other.name, isCut);
  }

  /** Resolves with the comparison once the regions are equal, or when they are not within the deadline. */
  async compare(patienceMs = 30_000): Promise<Comparison> {
    const regions = await Promise.all(
      this.regions.map(async ({ name, url }) => {
        const client = new pg.Client({ connectionString: url });
        await client.connect();
        return { name, client };
      }),
    );
    try {
      const [first] = regions;
      if (first === undefined) throw new Error('there is no region');
      const shapes = await readShapes(first.client, this.definition);
      return await compareSettled(regions, [...shapes.values()], { patienceMs, pause: () => delay(200) });
    } finally {
      await Promise.all(regions.map(({ client }) => client.end()));
    }
  }

  async describe(): Promise<string> {
    const all = await Promise.all(this.regions.map(({ region }) => region.status()));
    return JSON.stringify({ all, problems: this.problems }, null, 1);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.regions.map(({ region }) => region.stop().catch(() => undefined)));
    await Promise.all(this.#clients.map((client) => client.end().catch(() => undefined)));
    await Promise.all(this.#servers.map((servers) => servers[Symbol.asyncDispose]()));
  }
}
