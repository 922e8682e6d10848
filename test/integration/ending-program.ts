import { connect, LockstepClient, LockstepPool } from '../../src/index.ts';

/**
 * A script of an app, run as a process of its own: `node ending-program.ts <what> <url of a cluster> <url of
 * one server>`. It uses the database, ends what it opened, and tells what then still keeps the process alive.
 */
const [, , what = '', clusterUrl = '', serverUrl = ''] = process.argv;

/** Longer than any test waits, so that a timer left behind is seen. */
const idleTimeoutMillis = 3_600_000;

const scripts: Readonly<Record<string, () => Promise<void>>> = {
  async cluster() {
    const pool = connect({ connectionString: clusterUrl, idleTimeoutMillis });
    await pool.topology();
    await pool.query('SELECT 1');
    await pool.transaction(async (tx) => void (await tx.query('SELECT 1')));
    const client = await pool.connect();
    await client.query('BEGIN');
    await client.query('COMMIT');
    client.release();
    await pool.end();
  },

  async server() {
    const pool = new LockstepPool({ connectionString: serverUrl, idleTimeoutMillis });
    await pool.query('SELECT 1');
    await pool.transaction(async (tx) => void (await tx.query('SELECT 1')));
    await pool.end();
  },

  async client() {
    const client = new LockstepClient({ connectionString: clusterUrl, idleTimeoutMillis });
    await client.connect();
    await client.query('SELECT 1');
    await client.end();
  },

  async listen() {
    const pool = connect({ connectionString: clusterUrl, idleTimeoutMillis });
    await pool.listen('news', () => undefined, { keepAlive: true });
    await pool.query('SELECT 1');
    await pool.end();
  },
};

const startedAtMs = performance.now();
await scripts[what]?.();
const endedAtMs = performance.now();
const left = process.getActiveResourcesInfo();
process.on('exit', () => {
  const [workMs, lingerMs] = [endedAtMs - startedAtMs, performance.now() - endedAtMs];
  process.stdout.write(JSON.stringify({ workMs, lingerMs, left }));
});
