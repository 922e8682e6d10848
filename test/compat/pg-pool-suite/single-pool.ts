/** Without hosts, in the place of pg.Pool: the server is that of PGHOST and PGPORT, as for pg. */
export { LockstepPool as Pool } from '../../../src/index.ts';
