import { findLocalCluster } from '../../src/cli/commands/local-cluster.ts';
import { runFollow } from '../../src/cli/follow/follow-command.ts';
import { dataNodes } from '../../src/leader-follower/config/config.ts';
import { connectToLeader } from '../../src/logical/endpoints.ts';
import { SUPERUSER } from '../../src/postgres/settings.ts';

/** What the people who count parcels want to see, in a database of their own. */
const TABLES = 'orders,order_items,payments,products,inventory';
const DATABASE = 'warehouse';

/** `npm run warehouse`: follows the running shop's orders into another database until Ctrl-C. */
async function main(): Promise<void> {
  const { config } = await findLocalCluster(process.cwd());
  const hosts = dataNodes(config).map((node) => `${node.host}:${node.port}`);
  const login = `postgresql://${SUPERUSER}:${config.secrets.superuser}@${hosts.join(',')}`;
  const from = `${login}/${config.database}`;
  await createDatabase(from);
  process.stderr.write(
    `The shop's orders go to database "${DATABASE}" on the same servers, and stay up to date.\n`,
  );
  await runFollow({
    from,
    to: `${login}/${DATABASE}`,
    tables: TABLES,
    name: DATABASE,
    jobs: 2,
    createTables: true,
    startOver: process.argv.includes('--start-over'),
    untilCaughtUp: process.argv.includes('--until-caught-up'),
    json: process.argv.includes('--json'),
  });
}

async function createDatabase(url: string): Promise<void> {
  const client = await connectToLeader(url, { applicationName: 'shop warehouse' });
  try {
    const known = await client.query('SELECT FROM pg_database WHERE datname = $1', [DATABASE]);
    if (known.rowCount === 0) await client.query(`CREATE DATABASE ${DATABASE}`);
  } finally {
    await client.end();
  }
}

await main();
