import { connect } from '../../../src/index.ts';
import type { CardProvider } from '../card-provider.ts';
import { createCardProvider } from '../card-provider.ts';
import type { ShopDatabase } from '../database.ts';
import { createSchema } from '../schema.ts';
import { seedCatalogue } from '../seed/seed.ts';
import type { SeedOptions } from '../seed/seed.ts';
import { settle } from '../settle.ts';
import { createEdition } from './edition.ts';
import type { Edition } from './edition.ts';
import { Figures } from './figures.ts';
import type { ProgressView } from './progress.ts';
import { visitShop } from './shopper.ts';
import type { SaleWorld } from './shopper.ts';
import { verifySale } from './verify.ts';
import type { Verdict } from './verify.ts';

export interface SaleOptions {
  readonly url: string;
  readonly shoppers: number;
  readonly pieces: number;
  readonly seed: number;
  /** Shoppers in the shop at the same time. */
  readonly concurrency: number;
  /** No new shopper is let in after this time. */
  readonly seconds?: number | undefined;
  /** Kills the leader; called once, when half of the pieces are sold. Returns its name. */
  readonly killLeader?: (() => Promise<string>) | undefined;
  /** Whether each shopper has a session of its own. Default true. */
  readonly hasSessions?: boolean | undefined;
  /** For a smaller catalogue in tests. */
  readonly catalogue?: SeedOptions;
  readonly onView?: (view: () => ProgressView) => void;
}

export interface SaleResult {
  /** Orders that were acknowledged to their buyers, of any product. */
  readonly orders: number;
  /** Limited pieces sold, by the rows of the database. */
  readonly sold: number;
  readonly oversold: number;
  readonly acknowledgedLost: number;
  readonly duplicates: number;
  /** Reads, orders, refusals and reviews a second. */
  readonly throughput: number;
  /** From a click on "buy" to the acknowledgement, over all acknowledged orders. */
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** See {@link Figures}. */
  readonly unavailableMs: number;
  readonly readsByNode: Readonly<Record<string, number>>;
  readonly shoppers: number;
  readonly stockLeft: number;
  readonly staleViews: number;
  readonly retries: number;
  readonly failures: number;
  readonly killedLeader: string | null;
  readonly seconds: number;
  /** Rules that were broken; empty when all is well. */
  readonly broken: readonly string[];
}

const PATIENCE_MS = 45_000;
const ERRORS_KEPT = 3;

/** Runs one holiday sale from an empty edition to the verdict of the database. */
export async function runSale(options: SaleOptions): Promise<SaleResult> {
  const db = connect({ connectionString: options.url, max: Math.min(48, options.concurrency) });
  db.on('error', () => undefined);
  try {
    await settle(() => createSchema(db));
    await seedCatalogue(db, options.catalogue);
    return await holdSale(db, createCardProvider({ seed: options.seed }), options);
  } finally {
    await db.end();
  }
}

async function holdSale(db: ShopDatabase, cards: CardProvider, options: SaleOptions): Promise<SaleResult> {
  const { pieces, shoppers, seed, killLeader } = options;
  const edition = await createEdition(db, pieces, shoppers, seed);
  const readsBefore = { ...db.stats().readsByNode };
  const startedAtMs = performance.now();
  const figures = new Figures(startedAtMs);
  const notes: string[] = [];
  const acknowledged = new Set<string>();
  const fault = createFault(killLeader, figures, notes);
  const world: SaleWorld = {
    db,
    hasSessions: options.hasSessions ?? true,
    cards,
    edition,
    seed,
    figures,
    acknowledged,
    patienceMs: PATIENCE_MS,
    onSold: () => figures.snapshot(performance.now()).limitedSold >= pieces / 2 && fault.strike(),
    onError: (error) =>
      notes.length < ERRORS_KEPT && notes.push(error instanceof Error ? error.message : String(error)),
  };
  const readsByNode = (): Record<string, number> => subtract(db.stats().readsByNode, readsBefore);
  options.onView?.(() => ({
    figures: figures.snapshot(performance.now()),
    pieces,
    shoppers,
    readsByNode: readsByNode(),
    notes,
  }));
  await letIn(world, options);
  figures.end(performance.now());
  const reads = readsByNode();
  const killedLeader = await fault.settled();
  const verdict = await settle(() => verifySale(db, edition, [...acknowledged]));
  return summarise(figures, verdict, {
    edition,
    shoppers,
    readsByNode: reads,
    killedLeader,
    wasKillWanted: killLeader !== undefined,
    startedAtMs,
  });
}

/** Keeps a bounded number of shoppers in the shop. */
async function letIn(world: SaleWorld, { shoppers, concurrency, seconds }: SaleOptions): Promise<void> {
  const closesAtMs = seconds === undefined ? Number.POSITIVE_INFINITY : performance.now() + seconds * 1000;
  let next = 0;
  const queue = async (): Promise<void> => {
    while (next < shoppers && performance.now() < closesAtMs) {
      const index = next;
      next += 1;
      await visitShop(world, index);
    }
  };
  await Promise.all(Array.from({ length: Math.min(concurrency, shoppers) }, queue));
}

interface Fault {
  strike(): void;
  /** The killed node's name, null when it never came to that. Passes on why the kill failed. */
  settled(): Promise<string | null>;
}

function createFault(killLeader: SaleOptions['killLeader'], figures: Figures, notes: string[]): Fault {
  let kill: Promise<string> | null = null;
  return {
    strike() {
      if (killLeader === undefined || kill !== null) return;
      figures.markFault();
      notes.push('Killing the leader, agent and PostgreSQL together');
      kill = killLeader();
      kill.then(
        (name) => notes.push(`${name} is dead`),
        (error: unknown) => notes.push(`The kill failed: ${String(error)}`),
      );
    },
    settled: async () => kill,
  };
}

interface SaleFacts {
  readonly edition: Edition;
  readonly shoppers: number;
  readonly readsByNode: Readonly<Record<string, number>>;
  readonly killedLeader: string | null;
  readonly wasKillWanted: boolean;
  readonly startedAtMs: number;
}

function summarise(figures: Figures, verdict: Verdict, facts: SaleFacts): SaleResult {
  const nowMs = performance.now();
  const {
    orders,
    operationsPerSecond,
    p50Ms,
    p99Ms,
    unavailableMs,
    staleViews,
    retries,
    failures,
    shoppersDone,
  } = figures.snapshot(nowMs);
  return {
    orders,
    sold: verdict.sold,
    oversold: verdict.oversold,
    acknowledgedLost: verdict.acknowledgedLost,
    duplicates: verdict.duplicates,
    throughput: round(operationsPerSecond),
    p50Ms: round(p50Ms),
    p99Ms: round(p99Ms),
    unavailableMs: round(unavailableMs),
    readsByNode: facts.readsByNode,
    shoppers: shoppersDone,
    stockLeft: verdict.stockLeft,
    staleViews,
    retries,
    failures,
    killedLeader: facts.killedLeader,
    seconds: round((nowMs - facts.startedAtMs) / 1000),
    broken: findBrokenRules(verdict, facts, { staleViews, failures, shoppersDone }),
  };
}

/** What must hold after every sale, with or without a fault. */
export function findBrokenRules(
  verdict: Verdict,
  facts: Pick<SaleFacts, 'edition' | 'killedLeader' | 'wasKillWanted'>,
  seen: { readonly staleViews: number; readonly failures: number; readonly shoppersDone: number },
): string[] {
  const { pieces } = facts.edition;
  const broken: string[] = [];
  if (verdict.oversold > 0) broken.push(`${verdict.oversold} more pieces were sold than exist`);
  if (verdict.acknowledgedLost > 0) broken.push(`${verdict.acknowledgedLost} acknowledged orders are lost`);
  if (verdict.duplicates > 0) broken.push(`${verdict.duplicates} orders, payments or pieces exist twice`);
  if (verdict.sold + verdict.stockLeft !== pieces)
    broken.push(`${verdict.sold} sold and ${verdict.stockLeft} left do not make ${pieces}`);
  if (seen.shoppersDone >= pieces && seen.failures === 0 && verdict.stockLeft > 0)
    broken.push(`${verdict.stockLeft} pieces are left though more were wanted`);
  if (seen.staleViews > 0) broken.push(`${seen.staleViews} buyers did not find their fresh order`);
  if (seen.failures > 0) broken.push(`${seen.failures} shoppers gave up`);
  if (facts.wasKillWanted && facts.killedLeader === null)
    broken.push('the leader was never killed: too few pieces were sold');
  return broken;
}

function subtract(
  now: Readonly<Record<string, number>>,
  before: Readonly<Record<string, number>>,
): Record<string, number> {
  return Object.fromEntries(Object.entries(now).map(([node, reads]) => [node, reads - (before[node] ?? 0)]));
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}
