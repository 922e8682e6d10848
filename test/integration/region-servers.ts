import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import { compareSettled } from '../../src/multi-leader/compare.ts';
import type { Comparison } from '../../src/multi-leader/compare.ts';
import { Region } from '../../src/multi-leader/region.ts';
import type { RegionsDefinition } from '../../src/multi-leader/definition.ts';
import { readShapes } from '../../src/multi-leader/tables/shape.ts';
import { builds, LogicalServers } from './logical-servers.ts';

export interface TestRegion {
  readonly name: string;
  readonly url: string;
  readonly client: pg.Client;
  readonly region: Region;
}

/** Regions with a server each, the machine's PostgreSQL and the embedded one in turn. */
export class RegionServers implements AsyncDisposable {
  readonly #servers: LogicalServers[] = [];
  readonly regions: TestRegion[] = [];
  readonly problems: string[] = [];
  definition: RegionsDefinition = {};

  static async start(
    names: readonly string[],
    schema: string,
    definition: RegionsDefinition = {},
  ): Promise<RegionServers> {
    const all = new RegionServers();
    try {
      await all.#start(names, schema, definition);
      return all;
    } catch (error) {
      await all[Symbol.asyncDispose]();
      throw error;
    }
  }

  async #start(names: readonly string[], schema: string, definition: RegionsDefinition): Promise<void> {
    this.definition = definition;
    const places: { name: string; url: string; client: pg.Client }[] = [];
    for (const [index, name] of names.entries()) {
      const build = builds[index % builds.length];
      if (build === undefined) throw new Error('there is no PostgreSQL');
      const servers = await LogicalServers.create(build);
      this.#servers.push(servers);
      const { url, client } = await servers.start(name);
      await client.query(schema);
      places.push({ name, url, client });
    }
    for (const place of places) {
      const region = new Region({
        name: place.name,
        regions: places.map(({ name, url }) => ({ name, url })),
        definition,
        onProblem: (problem) => this.problems.push(`${place.name}: ${problem}`),
      });
      this.regions.push({ ...place, region });
    }
    await Promise.all(this.regions.map(({ region }) => region.start()));
  }

  at(name: string): TestRegion {
    const found = this.regions.find((one) => one.name === name);
    if (found === undefined) throw new Error(`there is no region ${name}`);
    return found;
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
    await Promise.all(this.#servers.map((servers) => servers[Symbol.asyncDispose]()));
  }
}
