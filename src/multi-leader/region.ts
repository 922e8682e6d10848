import { setTimeout as delay } from 'node:timers/promises';
import type pg from 'pg';
import { Link } from './apply/link.ts';
import type { LinkStatus } from './apply/link.ts';
import { lowestPromise } from './core/watermark.ts';
import { Sequence } from '../model/sequence.ts';
import { LockstepError } from '../model/errors.ts';
import { ShareKeeper } from './escrow/shares.ts';
import { OrphanJudge } from './orphans/orphan-judge.ts';
import { OwnReader } from './own/own-reader.ts';
import { promiseTime } from './own/promises.ts';
import { countKept } from './own/kept-counts.ts';
import type { KeptCounts } from './own/kept-counts.ts';
import { Pruner } from './own/pruner.ts';
import { openOriginSession, openSession } from './sessions.ts';
import { carryOutDecisions } from './referee/pending-decisions.ts';
import { isCut, readRegionWords, setCut } from './setup/metadata.ts';
import { findPublicationTrouble } from './setup/publication.ts';
import { dropSlotsOf, OWN_SLOT, prepareRegion } from './setup/region-setup.ts';
import { describeDefinition, hasResolvers } from './definition.ts';
import type { RegionsDefinition } from './definition.ts';
import { ConflictResolver } from './resolve/conflict-resolver.ts';
import { ResolverRunner } from './resolve/resolver-runner.ts';
import { readShapes } from './tables/shape.ts';
import type { TableShape } from './tables/shape.ts';

export interface RegionOptions {
  readonly name: string;
  /** All regions with their leaders, in the order that they were founded in. */
  readonly regions: readonly { readonly name: string; readonly url: string }[];
  /** Names of those that have left for good; their places in the order stay. */
  readonly left?: readonly string[];
  /** What they share and how; the same for all of them. */
  readonly definition?: RegionsDefinition;
  /** The file that exports the definition; resolvers run in a thread that loads it anew. Needed where there are any. */
  readonly definitionPath?: string | null;
  /** Told once about each thing that stops and is tried again. */
  readonly onProblem?: (problem: string) => void;
}

/** Part of `lockstep regions status --json`. */
export interface RegionStatus extends KeptCounts {
  readonly name: string;
  readonly links: readonly LinkStatus[];
  /** How old the newest time is below which nothing can come any more; null before every region has promised one. */
  readonly settledAgoMs: number | null;
  readonly problem: string | null;
}

const PROMISE_EVERY_MS = 1_000;
const PRUNE_EVERY_MS = 2_000;
const SHARE_EVERY_MS = 500;
/** Who was not heard for so long is given nothing: it would be on its way for long. */
const REACHABLE_MS = 5_000;
const RETRY_MS = 500;
/** Work that has not failed for so long is well again. */
const WELL_AFTER_MS = 5_000;

/** Everything that one region runs: links from all others, the reader of its own log, promises and pruning. */
export class Region {
  readonly #options: RegionOptions;
  readonly #number: number;
  /** Numbers of the regions that have not left. */
  readonly #present: readonly number[];
  readonly #url: string;
  readonly #turns = new Sequence();
  readonly #links = new Map<string, Link>();
  readonly #promised = new Map<number, number>();
  /** When each region was heard last. */
  readonly #heardAtMs = new Map<number, number>();
  readonly #stopping = new AbortController();
  readonly #work: Promise<void>[] = [];
  #own: OwnReader | null = null;
  /** For what people ask. */
  #control: Promise<pg.Client> | null = null;
  /** What stopped last, by the piece of work; gone once that runs well again. */
  readonly #problems = new Map<string, string>();

  constructor(options: RegionOptions) {
    this.#options = options;
    this.#number = options.regions.findIndex(({ name }) => name === options.name);
    this.#url = options.regions[this.#number]?.url ?? '';
    if (this.#number === -1) {
      throw new LockstepError(
        'CONFIG_INVALID',
        `There is no region ${options.name}; there are ${options.regions.map(({ name }) => name).join(', ')}.`,
      );
    }
    const { left = [] } = options;
    if (left.includes(options.name))
      throw new LockstepError(
        'CONFIG_INVALID',
        `Region ${options.name} has left the others and is not run any more.`,
      );
    this.#present = options.regions.flatMap(({ name }, number) => (left.includes(name) ? [] : [number]));
  }

  /** Makes the database ready and starts; resolves when the region writes into its log all that others need. */
  async start(): Promise<void> {
    const { name, regions, definition = {} } = this.#options;
    if ((this.#options.definitionPath ?? null) === null && hasResolvers(definition)) {
      throw new LockstepError(
        'CONFIG_INVALID',
        'Give the path of the file that exports the definition as definitionPath: it has a resolver, which runs in a thread that loads that file.',
      );
    }
    const client = await this.#openControl();
    const names = regions.map((region) => region.name);
    const { left = [] } = this.#options;
    const prepared = prepareRegion(client, { name, names, left, definition });
    // Its connection would keep a process that has nothing to run.
    prepared.catch(() => client.end().catch(() => undefined));
    const shapes = new Map(await prepared);
    const { promiseKey } = await readRegionWords(client);
    this.#work.push(
      this.#keep('own reader', () => this.#readOwnAnew(shapes, promiseKey)),
      this.#keep('promises', () => this.#promise(promiseKey)),
      this.#keep('pruning', () => this.#prune(shapes)),
    );
    if ([...shapes.values()].some(({ references }) => references.length > 0))
      this.#work.push(this.#keep('foreign keys', () => this.#judgeOrphans(shapes, promiseKey)));
    if ([...shapes.values()].some(({ priority }) => priority !== null))
      this.#work.push(this.#keep('region priority', () => this.#carryOut(shapes, promiseKey)));
    if ([...shapes.values()].some(({ held }) => held.length > 0))
      this.#work.push(this.#keep('parts', () => this.#keepShares(shapes, promiseKey)));
    if ([...shapes.values()].some(({ resolves }) => resolves))
      this.#work.push(this.#keep('resolvers', () => this.#resolve(shapes, promiseKey)));
    for (const [number, source] of regions.entries()) {
      if (number === this.#number || !this.#present.includes(number)) continue;
      const link = new Link(
        {
          source: { ...source, number },
          own: { name, number: this.#number, url: this.#url },
          shapes,
          refreshShapes: () => this.#refreshShapes(shapes),
          definition: describeDefinition(definition),
          turns: this.#turns,
          passOwnLog: () => this.#passOwnLog(),
          onPromise: (timeUs) => this.#hear(number, timeUs),
          maxSkewMs: definition.maxSkewMs ?? 500,
        },
        await isCut(client, source.name),
      );
      this.#links.set(source.name, link);
      link.start();
    }
  }

  /** Ends in order: batches under way are committed or rolled back. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await Promise.all([...this.#links.values()].map((link) => link.stop()));
    this.#own?.close();
    await Promise.all(this.#work);
    await this.#control?.then((client) => client.end()).catch(() => undefined);
  }

  /** One that has ended, as when the server starts anew, is replaced by the next question. */
  #openControl(): Promise<pg.Client> {
    if (this.#control !== null) return this.#control;
    const opening = openSession(this.#url, 'control');
    this.#control = opening;
    const forget = (): void => {
      if (this.#control === opening) this.#control = null;
    };
    opening.then((client) => client.once('end', forget), forget);
    return opening;
  }

  /** Parts this region from what another writes, or joins it again; stays so over restarts. */
  async setCut(source: string, cut: boolean): Promise<void> {
    const link = this.#links.get(source);
    if (link === undefined) {
      throw new LockstepError(
        'CONFIG_INVALID',
        `There is no link from ${source} to ${this.#options.name}; there are links from ${[...this.#links.keys()].join(', ')}.`,
      );
    }
    await setCut(await this.#openControl(), source, cut);
    await link.setCut(cut);
  }

  async status(): Promise<RegionStatus> {
    const client = await this.#openControl();
    const lowestUs = this.#lowest();
    return {
      name: this.#options.name,
      links: [...this.#links.values()].map((link) => link.status),
      ...(await countKept(client)),
      settledAgoMs: lowestUs === null ? null : Math.round(Date.now() - lowestUs / 1_000),
      problem: this.#problems.size === 0 ? null : [...this.#problems.values()].join('; '),
    };
  }

  #lowest(): number | null {
    return lowestPromise(this.#present, this.#promised);
  }

  #hear(region: number, timeUs: number): void {
    this.#heardAtMs.set(region, performance.now());
    this.#promised.set(region, Math.max(this.#promised.get(region) ?? 0, timeUs));
  }

  async #passOwnLog(): Promise<void> {
    if (this.#own === null) throw new Error('the own log is not read yet');
    await this.#own.pass();
  }

  /** Runs a piece of work again whenever it ends, until the region stops. */
  async #keep(what: string, work: () => Promise<void>): Promise<void> {
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      const runsWell = setTimeout(() => this.#problems.delete(what), WELL_AFTER_MS);
      try {
        await work();
      } catch (error) {
        if (signal.aborted) return;
        this.#tell(what, `${what}: ${(error as Error).message}`);
        await delay(RETRY_MS, undefined, { signal }).catch(() => undefined);
      } finally {
        clearTimeout(runsWell);
      }
    }
  }

  #tell(what: string, problem: string): void {
    if (problem === this.#problems.get(what)) return;
    this.#problems.set(what, problem);
    this.#options.onProblem?.(problem);
  }

  /** Tables as they are now, where people have changed them since; new ones are shared from the next start on. */
  async #refreshShapes(shapes: Map<string, TableShape>): Promise<void> {
    const { definition = {} } = this.#options;
    for (const [name, shape] of await readShapes(await this.#openControl(), definition))
      if (shapes.has(name)) shapes.set(name, shape);
  }

  async #readOwnAnew(shapes: Map<string, TableShape>, promiseKey: Buffer): Promise<void> {
    try {
      await this.#readOwn(shapes, promiseKey);
    } catch (error) {
      if ((error as { readonly code?: unknown }).code === 'CONFIG_INVALID') await this.#refreshShapes(shapes);
      throw error;
    }
  }

  async #readOwn(shapes: ReadonlyMap<string, TableShape>, promiseKey: Buffer): Promise<void> {
    const client = await openSession(this.#url, 'own reader');
    const marks = await openSession(this.#url, 'marks').catch(async (error: unknown) => {
      await client.end().catch(() => undefined);
      throw error;
    });
    const own = new OwnReader({
      url: this.#url,
      shapes,
      region: this.#number,
      client,
      marks,
      promiseKey,
      onPromise: (timeUs) => this.#hear(this.#number, timeUs),
    });
    this.#own = own;
    try {
      if (!this.#stopping.signal.aborted) await own.run();
    } finally {
      this.#own = null;
      await Promise.all([client, marks].map((one) => one.end().catch(() => undefined)));
    }
  }

  async #promise(key: Buffer): Promise<void> {
    const { signal } = this.#stopping;
    const client = await openSession(this.#url, 'promises');
    try {
      for (;;) {
        await promiseTime(client, key, signal);
        await delay(PROMISE_EVERY_MS, undefined, { signal });
      }
    } finally {
      await client.end().catch(() => undefined);
    }
  }

  async #prune(shapes: ReadonlyMap<string, TableShape>): Promise<void> {
    const client = await openOriginSession(this.#url, 'pruning', OWN_SLOT);
    const pruner = new Pruner({
      client,
      shapes,
      region: this.#number,
      names: this.#options.regions.map(({ name }) => name),
      present: this.#present,
      passOwnLog: () => this.#passOwnLog(),
    });
    await this.#again(client, PRUNE_EVERY_MS, async () => {
      await dropSlotsOf(client, this.#options.left ?? []);
      this.#say('publication', await findPublicationTrouble(client, [...shapes.values()]));
      const lowestUs = this.#lowest();
      if (lowestUs !== null) await this.#turns.run(() => pruner.prune(lowestUs));
      this.#say('forgetting', pruner.trouble);
    });
  }

  async #judgeOrphans(shapes: ReadonlyMap<string, TableShape>, promiseKey: Buffer): Promise<void> {
    const client = await openSession(this.#url, 'foreign keys');
    const judge = new OrphanJudge({ client, shapes, region: this.#number, promiseKey });
    await this.#again(client, PRUNE_EVERY_MS, async () => {
      const lowestUs = this.#lowest();
      if (lowestUs !== null) await judge.judgeAll(lowestUs);
    });
  }

  async #keepShares(shapes: ReadonlyMap<string, TableShape>, promiseKey: Buffer): Promise<void> {
    const client = await openSession(this.#url, 'parts');
    const keeper = new ShareKeeper({ client, shapes, region: this.#number, promiseKey });
    await this.#again(client, SHARE_EVERY_MS, async () => {
      const heard = [...this.#heardAtMs].filter(([, atMs]) => performance.now() - atMs < REACHABLE_MS);
      await keeper.keep(new Set(heard.map(([region]) => region)));
    });
  }

  async #carryOut(shapes: ReadonlyMap<string, TableShape>, promiseKey: Buffer): Promise<void> {
    const client = await openSession(this.#url, 'region priority');
    const parts = { client, shapes, region: this.#number, promiseKey };
    await this.#again(client, SHARE_EVERY_MS, () => carryOutDecisions(parts));
  }

  async #resolve(shapes: ReadonlyMap<string, TableShape>, promiseKey: Buffer): Promise<void> {
    const runner = new ResolverRunner(this.#options.definitionPath ?? '');
    try {
      const client = await openSession(this.#url, 'resolvers');
      const resolver = new ConflictResolver({
        client,
        shapes,
        region: this.#number,
        promiseKey,
        ask: (shape, question) => runner.ask(shape, question),
      });
      await this.#again(client, SHARE_EVERY_MS, async () => {
        await resolver.resolveAll();
        this.#say('resolver', resolver.trouble);
      });
    } finally {
      await runner.close();
    }
  }

  #say(what: string, problem: string | null): void {
    if (problem === null) this.#problems.delete(what);
    else this.#tell(what, problem);
  }

  /** One turn after another until one fails or the region stops; ends the connection then. */
  async #again(client: pg.Client, everyMs: number, turn: () => Promise<unknown>): Promise<void> {
    const { signal } = this.#stopping;
    try {
      for (;;) {
        await delay(everyMs, undefined, { signal });
        await turn();
      }
    } finally {
      await client.end().catch(() => undefined);
    }
  }
}
