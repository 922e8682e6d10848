import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';

/** A program that the bench compares with, and Debian's package of it. */
export interface PeerProgram {
  readonly name: string;
  readonly program: string;
  readonly debianPackage: string;
}

export const PGBOUNCER: PeerProgram = {
  name: 'PgBouncer',
  program: 'pgbouncer',
  debianPackage: 'pgbouncer',
};
export const HAPROXY: PeerProgram = { name: 'HAProxy', program: 'haproxy', debianPackage: 'haproxy' };
export const PGPOOL: PeerProgram = { name: 'pgpool-II', program: 'pgpool', debianPackage: 'pgpool2' };

export const PATRONI: PeerProgram = { name: 'Patroni', program: 'patroni', debianPackage: 'patroni' };
export const ETCD: PeerProgram = { name: 'etcd', program: 'etcd', debianPackage: 'etcd-server' };

export const PGCOPYDB: PeerProgram = { name: 'pgcopydb', program: 'pgcopydb', debianPackage: 'pgcopydb' };

export const PEER_PROGRAMS: readonly PeerProgram[] = [PGBOUNCER, HAPROXY, PGPOOL, PATRONI, ETCD, PGCOPYDB];

/** Its path, or null: Debian keeps daemons where an ordinary user's PATH does not look. */
export function findProgram({ program }: PeerProgram): string | null {
  const folders = [...(process.env['PATH'] ?? '').split(delimiter), '/usr/local/sbin', '/usr/sbin', '/sbin'];
  for (const folder of folders) {
    const path = join(folder, program);
    try {
      accessSync(path, constants.X_OK);
      return path;
    } catch {
      continue;
    }
  }
  return null;
}
