import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';

/** A program that the bench compares with, and Debian's package of it. */
export interface ProxyProgram {
  readonly name: string;
  readonly program: string;
  readonly debianPackage: string;
}

export const PGBOUNCER: ProxyProgram = {
  name: 'PgBouncer',
  program: 'pgbouncer',
  debianPackage: 'pgbouncer',
};
export const HAPROXY: ProxyProgram = { name: 'HAProxy', program: 'haproxy', debianPackage: 'haproxy' };
export const PGPOOL: ProxyProgram = { name: 'pgpool-II', program: 'pgpool', debianPackage: 'pgpool2' };

export const PROXY_PROGRAMS: readonly ProxyProgram[] = [PGBOUNCER, HAPROXY, PGPOOL];

/** Its path, or null: Debian keeps daemons where an ordinary user's PATH does not look. */
export function findProgram({ program }: ProxyProgram): string | null {
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
