import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { LockstepError } from '../model/errors.ts';
import type { PostgresAccount } from './account.ts';
import type { PostgresBinaries } from './binaries.ts';
import { raiseTo, readControlFile } from './control-file.ts';

const run = promisify(execFile);

/**
 * Lets PostgreSQL itself judge values, also of settings that only a start takes: `postgres -C` (documentation
 * of the program postgres) reads the data folder's files and these values, and ends. Throws CONFIG_INVALID
 * with PostgreSQL's words, and for a value below the one that the data folder's log was written with (I5).
 */
export async function checkSettings(options: {
  readonly binaries: PostgresBinaries;
  readonly account: PostgresAccount | null;
  readonly dataDir: string;
  readonly settings: Readonly<Record<string, string>>;
}): Promise<void> {
  const { binaries, account, dataDir, settings } = options;
  const raised = raiseTo(settings, await readControlFile(dataDir));
  for (const [name, value] of Object.entries(settings)) {
    const least = raised[name];
    if (typeof least === 'number') {
      throw new LockstepError(
        'CONFIG_INVALID',
        `${name} cannot be lowered to ${value}: the log was written with ${least}, every node starts as a follower, and a follower must not have less.`,
      );
    }
    try {
      await run(join(binaries.binDir, 'postgres'), ['-D', dataDir, '-C', name, '-c', `${name}=${value}`], {
        cwd: '/',
        timeout: 10_000,
        ...(account === null ? {} : { uid: account.uid, gid: account.gid }),
      });
    } catch (error) {
      const printed = (error as { stderr?: string }).stderr ?? String(error);
      const words = printed
        .split('\n')
        .map((line) => /(?:FATAL|ERROR|LOG|HINT):\s*(.*)/.exec(line)?.[1])
        .filter((line) => line !== undefined);
      throw new LockstepError(
        'CONFIG_INVALID',
        `PostgreSQL does not take ${name} = '${value}': ${words.join(' ') || printed.trim()}`,
        { cause: error },
      );
    }
  }
}
