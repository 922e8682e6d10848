import { once } from 'node:events';
import type { Server } from 'node:http';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { getRequestListener } from '@hono/node-server';
import { createBoundedServer } from '../../src/http/bounded-server.ts';
import { connect, LockstepError } from '../../src/index.ts';
import { cart, quorum } from '../../src/leaderless/index.ts';
import type { Quorum } from '../../src/leaderless/index.ts';
import { createApp } from './app.ts';
import { quorumCarts } from './carts.ts';
import { createCardProvider } from './card-provider.ts';
import { MAX_BODY_BYTES } from './doors/doors.ts';
import { openDeals } from './flash-deal.ts';
import { captureOutstanding } from './payments.ts';
import { openRegions } from './regional-pages.ts';
import { createSchema } from './schema.ts';
import { placeDemoOrders } from './seed/demo-orders.ts';
import { seedCatalogue } from './seed/seed.ts';
import type { SeedProgress } from './seed/seed.ts';
import { settle } from './settle.ts';

export interface ShopOptions {
  /** Connection URL that names all servers of the cluster. */
  readonly url: string;
  /** Independent servers that keep the carts; without them the cluster does. */
  readonly leaderlessUrls?: readonly string[];
  /** Every region's connection URL by name, as JSON; for the page that shows them side by side. */
  readonly regionUrls?: string | undefined;
  /** Where to listen on 127.0.0.1; the next free port when it is taken. Default 3000. */
  readonly port?: number;
  /** See AppOptions. */
  readonly demo?: boolean;
  readonly onProgress?: (progress: SeedProgress) => void;
  /** See AppOptions. */
  readonly isBehindProxy?: boolean;
  /** Told about every request that failed for a reason of the shop's own. */
  readonly onError?: (error: unknown) => void;
}

export interface Shop {
  /** Base address without a slash at its end. */
  readonly address: string;
  readonly port: number;
  /** Whether the catalogue was filled on this start. */
  readonly isSeeded: boolean;
  /** Lets requests under way finish, then closes every connection. */
  close(): Promise<void>;
}

const PORTS_TO_TRY = 20;
const MAX_CONNECTIONS = 1_000;

/** Creates the schema, fills an empty catalogue and serves the shop. */
export async function startShop(options: ShopOptions): Promise<Shop> {
  const { url, leaderlessUrls = [], port = 3000, onProgress, onError, isBehindProxy = false } = options;
  const db = connect(url);
  db.on('error', () => undefined);
  let kept: Quorum | null = null;
  const regions = openRegions(options.regionUrls);
  const end = async (): Promise<void> => {
    await kept?.close();
    await Promise.all([db, ...regions.values()].map((one) => one.end()));
  };
  try {
    const cards = createCardProvider({ latencyMs: 40 });
    const shopId = await settle(() => createSchema(db));
    const isSeeded = await seedCatalogue(db, onProgress === undefined ? {} : { onProgress });
    if (options.demo === true) await placeDemoOrders(db);
    await captureOutstanding(db, cards);
    if (leaderlessUrls.length > 0) kept = await quorum({ nodes: leaderlessUrls });
    const carts =
      kept === null ? {} : { carts: quorumCarts(kept.collection('carts', cart())), deals: openDeals(kept) };
    const app = createApp({
      db,
      cards,
      shopId,
      regions,
      isBehindProxy,
      demo: options.demo ?? false,
      ...carts,
      ...(onError === undefined ? {} : { onError }),
    });
    const { server } = createBoundedServer(getRequestListener(app.fetch), {
      maxBodyBytes: MAX_BODY_BYTES,
      strangers: MAX_CONNECTIONS,
      // A proxy's connections are everybody's.
      strangersPerAddress: isBehindProxy ? MAX_CONNECTIONS : MAX_CONNECTIONS / 4,
    });
    const boundPort = await listen(server, port);
    return {
      address: `http://127.0.0.1:${boundPort}`,
      port: boundPort,
      isSeeded,
      async close() {
        const closed = once(server, 'close');
        server.close();
        server.closeIdleConnections();
        const impatience = setTimeout(() => server.closeAllConnections(), 3_000);
        await closed;
        clearTimeout(impatience);
        await end();
      },
    };
  } catch (error) {
    await end();
    throw error;
  }
}

/** Takes the port, or the next free one after it. */
async function listen(server: Server, port: number): Promise<number> {
  for (let candidate = port; ; candidate += 1) {
    try {
      server.listen(candidate, '127.0.0.1');
      await once(server, 'listening');
      const address = server.address();
      return typeof address === 'object' && address !== null ? address.port : candidate;
    } catch (error) {
      const isTaken = error instanceof Error && 'code' in error && error.code === 'EADDRINUSE';
      if (!isTaken || candidate >= port + PORTS_TO_TRY) throw error;
    }
  }
}

/** One line that grows in a terminal; elsewhere, as under `lockstep dev`, a line for each quarter. */
function progressOfSeed(): (progress: SeedProgress) => void {
  let quarters = 0;
  return ({ done, total }) => {
    const line = `Filling the catalogue: ${Math.round((done / total) * 100)}% (${done.toLocaleString('en')} of ${total.toLocaleString('en')} rows)`;
    if (process.stderr.isTTY) process.stderr.write(`\r${line}${done === total ? '\n' : ''}`);
    else if (Math.floor((done / total) * 4) > quarters) process.stderr.write(`${line}\n`);
    quarters = Math.floor((done / total) * 4);
  };
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      url: { type: 'string' },
      port: { type: 'string', default: '3000' },
      json: { type: 'boolean', default: false },
      'behind-proxy': { type: 'boolean', default: false },
      demo: { type: 'boolean', default: false },
    },
  });
  const url = values.url ?? process.env['DATABASE_URL'];
  const port = Number(values.port);
  if (url === undefined)
    throw new LockstepError(
      'CONFIG_INVALID',
      'No database is given; pass --url postgresql://… or set DATABASE_URL.',
    );
  if (!Number.isInteger(port) || port < 0 || port > 65_535) {
    throw new LockstepError(
      'CONFIG_INVALID',
      `"${values.port}" is not a port; pass --port with a number from 0 to 65535.`,
    );
  }
  const leaderlessUrls = (process.env['LEADERLESS_URLS'] ?? '').split(' ').filter(Boolean);
  const shop = await startShop({
    url,
    leaderlessUrls,
    regionUrls: process.env['LOCKSTEP_REGION_URLS'],
    port,
    isBehindProxy: values['behind-proxy'],
    demo: values.demo,
    onProgress: progressOfSeed(),
    onError: (error) => console.error(error),
  });
  const note = port !== 0 && shop.port !== port ? ` (port ${port} is taken)` : '';
  console.log(
    values.json
      ? JSON.stringify({ address: shop.address, port: shop.port, seeded: shop.isSeeded })
      : `The shop is open at ${shop.address}${note}`,
  );
  const stop = (): void => {
    shop.close().then(
      () => process.exit(0),
      () => process.exit(1),
    );
  };
  process.once('SIGINT', stop);
  process.once('SIGTERM', stop);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  main().catch((error: unknown) => {
    console.error(error instanceof LockstepError ? error.message : error);
    process.exitCode = 1;
  });
}
