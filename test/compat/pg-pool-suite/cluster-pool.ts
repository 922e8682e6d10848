import { connect } from '../../../src/index.ts';
import type { LockstepOptions, LockstepPool } from '../../../src/index.ts';

const { PGHOST: host, PGUSER: user, PGPASSWORD: password, PGDATABASE: database } = process.env;
const hosts = JSON.parse(process.env['LOCKSTEP_SERVERS'] ?? '[]') as LockstepOptions['hosts'];

/** What the tests make with `new`, for all servers of the cluster unless a test names one that is not there. */
export function Pool(options: LockstepOptions = {}): LockstepPool {
  const isElsewhere = options.connectionString !== undefined || options.host !== undefined;
  const where = isElsewhere ? {} : options.port === undefined ? { hosts } : { host };
  return connect({ user, password, database, ...where, ...options });
}
