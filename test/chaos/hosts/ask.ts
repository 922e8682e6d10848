/**
 * Runs in a host's network, from where alone the superuser may log in: asks the server of a connection string, and prints the
 * first row as JSON, `null` when there is none.
 */
import { Client } from 'pg';

const [connectionString = '', statement = ''] = process.argv.slice(2);
const client = new Client({ connectionString, connectionTimeoutMillis: 2_000, query_timeout: 2_000 });
client.on('error', () => undefined);
try {
  await client.connect();
  const { rows } = await client.query<Readonly<Record<string, unknown>>>(statement);
  process.stdout.write(JSON.stringify(rows[0] ?? null));
} finally {
  await client.end().catch(() => undefined);
}
